"""Image prompt adapters: IP-Adapter Plus for SDXL, from the file to keys and values for every cross-attention.

Fooocus extras/ip_adapter.py.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import Linear

from ...errors import BadFile
from ...functional.image_attention import KeyValue
from ..weights.files import Weights, read_content, read_state
from ..weights.filling import build, explained, fill, raise_for_names, to_dtype
from ..weights.key_names import Part
from ..weights.wrappers import plain_name, unwrapped
from .clip_vision import ClipVision
from .resampler import Resampler, resampler_settings

PLUS = "ip-adapter-plus_sdxl_vit-h or ip-adapter-plus-face_sdxl_vit-h"
NEGATIVE = "fooocus_ip_negative"
_MAP = re.compile(r"ip_adapter\.(\d+)\.to_(k|v)_ip\.weight")
_PROJECTION = "image_proj."

Shapes = Mapping[str, tuple[int, ...]]


class ImageAdapter(nn.Module):
    """A picture's hidden states (B, m, embed) to tokens (B, n, D), and tokens to a key and a value (B, n, C) for each
    cross-attention of the UNet that it was made for: those on the way down, on the way up, then the middle's."""

    def __init__(self, settings: Mapping[str, int], widths: Iterable[int]) -> None:
        super().__init__()
        self.resampler = Resampler(**settings)
        self.embed, self.queries, self.out = settings["embed"], settings["queries"], settings["out"]
        self.widths = tuple(widths)
        self.to_k = nn.ModuleList(Linear(self.out, width, bias=False) for width in self.widths)
        self.to_v = nn.ModuleList(Linear(self.out, width, bias=False) for width in self.widths)

    def forward(self, hidden: Tensor) -> Tensor:
        return cast(Tensor, self.resampler(hidden))

    def keys_and_values(self, tokens: Tensor) -> tuple[KeyValue, ...]:
        """One pair for each cross-attention, in their order."""
        return tuple((k(tokens), v(tokens)) for k, v in zip(self.to_k, self.to_v, strict=True))


@dataclass(frozen=True, eq=False)
class ImagePromptModel:
    """An adapter of the file `name`, its vision encoder, and Fooocus's tokens (1, n, D) for the negative side, None
    without their file. `key` identifies what the files hold without keeping it in memory."""

    name: str
    adapter: ImageAdapter
    vision: ClipVision
    negative: Tensor | None
    key: Hashable = field(default_factory=object)

    @property
    def patcher(self) -> object | None:
        """ComfyUI's ModelPatcher of the adapter, by which its cache recognises a value that holds a network."""
        return getattr(self.adapter, "patcher", None)


def load_adapter(path: Path, dtype: torch.dtype) -> ImageAdapter:
    """The adapter of a .bin or .safetensors file, on the CPU. Raises MissingFile, and BadFile for a file that is
    damaged, no adapter, or one without a resampler (only the 'plus' kind has it)."""
    state = _named(read_content(path))
    weights = Weights(path, {key: tuple(tensor.shape) for key, tensor in state.items()}, state.__getitem__)
    parts = {f"resampler.{key.removeprefix(_PROJECTION)}": Part(key) for key in state if key.startswith(_PROJECTION)}
    maps = explained(path, _maps, weights.shapes)
    if not parts or not maps:
        raise BadFile(f"{path.name} is no image prompt adapter: choose {PLUS}")
    if f"{_PROJECTION}latents" not in state:
        raise BadFile(f"{path.name} is an image prompt adapter without a resampler: choose {PLUS}")
    raise_for_names(path, "the adapter", left_over=state.keys() - {p.key for p in (parts | maps).values()})
    shapes = {name.removeprefix("resampler."): weights.shapes[part.key] for name, part in parts.items()}
    settings = explained(path, resampler_settings, shapes)
    widths = [weights.shapes[part.key][0] for name, part in maps.items() if name.startswith("to_k.")]
    made = build(lambda: ImageAdapter(settings, widths))
    return fill(made, weights, parts | maps, to_dtype(dtype), "the adapter")


def load_negative(path: Path, adapter: ImageAdapter) -> Tensor:
    """The tokens (1, n, D) of the negative side, float32. Raises MissingFile, and BadFile for what is none."""
    tokens = read_state(path).get("data")
    if not isinstance(tokens, Tensor) or tokens.ndim != 3 or not tokens.is_floating_point():
        raise BadFile(f"{path.name} does not hold the negative tokens of image prompts: choose {NEGATIVE}")
    wanted = (1, adapter.queries, adapter.out)
    if tokens.shape != wanted:
        raise BadFile(
            f"{path.name} holds negative tokens of shape {tuple(tokens.shape)}, the adapter reads {wanted}: choose the "
            "file that belongs to it"
        )
    if not tokens.isfinite().all():
        raise BadFile(f"{path.name} holds NaN or infinity: download it again")
    return tokens.float()


def _maps(shapes: Shapes) -> dict[str, Part]:
    """The source of each map to keys and values, in the order of their numbers; BadFile for one without the other."""
    found = {(int(match[1]), match[2]): key for key in shapes if (match := _MAP.fullmatch(key))}
    numbers = sorted({number for number, _ in found})
    alone = [number for number in numbers if (number, "k") not in found or (number, "v") not in found]
    if alone:
        raise BadFile(
            f"{len(alone)} of its {len(numbers)} layers have a key or a value only (ip_adapter.{alone[0]}, …)"
        )
    return {
        f"to_{which}.{j}.weight": Part(found[number, which]) for j, number in enumerate(numbers) for which in ("k", "v")
    }


def _named(content: Any) -> dict[str, Tensor]:
    """The tensors of a file, by their path through its dictionaries."""
    content = unwrapped(content)
    named = content.items() if isinstance(content, dict) else ()
    return {plain_name(str(key)): value for key, value in named if isinstance(value, Tensor)}
