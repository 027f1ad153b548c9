"""Image prompt adapters: loading IP-Adapter Plus for SDXL, and its keys and values for each cross-attention.

Fooocus extras/ip_adapter.py.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Linear

from ...errors import BadFile
from ...functional.image_attention import KeyValue
from ..weights.files import Weights, read_content, read_state
from ..weights.filling import build, derive_for_file, fill, raise_for_names, to_dtype
from ..weights.key_names import Part
from ..weights.wrappers import plain_name, unwrapped
from .clip_vision import ClipVision
from .resampler import Resampler, resampler_settings

PLUS = "ip-adapter-plus_sdxl_vit-h or ip-adapter-plus-face_sdxl_vit-h"
NEGATIVE = "fooocus_ip_negative"
_PROJECTION_KEY = re.compile(r"ip_adapter\.(\d+)\.to_(k|v)_ip\.weight")
_PROJECTION = "image_proj."

Shapes = Mapping[str, tuple[int, ...]]


class ImageAdapter(nn.Module):
    """Maps an image's hidden states (B, m, embed) to tokens (B, n, D), and these to keys and values (B, n, C).

    There is one key and one value for each cross-attention of the UNet: those of the down blocks, the up blocks, then
    the middle block.
    """

    def __init__(self, settings: Mapping[str, int], widths: Iterable[int]) -> None:
        super().__init__()
        self.resampler = Resampler(**settings)
        self.embed, self.queries, self.out = settings["embed"], settings["queries"], settings["out"]
        self.widths = tuple(widths)
        self.to_k = nn.ModuleList(Linear(self.out, width, bias=False) for width in self.widths)
        self.to_v = nn.ModuleList(Linear(self.out, width, bias=False) for width in self.widths)

    def forward(self, hidden: Tensor) -> Tensor:
        tokens: Tensor = self.resampler(hidden)
        return tokens

    def keys_and_values(self, tokens: Tensor) -> tuple[KeyValue, ...]:
        """One pair for each cross-attention, in their order."""
        return tuple((k(tokens), v(tokens)) for k, v in zip(self.to_k, self.to_v, strict=True))


@dataclass(frozen=True, eq=False)
class ImagePromptModel:
    """The adapter of the file `name`, its vision encoder, and Fooocus's negative tokens (1, n, D), if they are used.

    `key` identifies the content of the files without keeping it in memory.
    """

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
    """Load the adapter of a .bin or .safetensors file onto the CPU.

    Raises MissingFile, and BadFile for a file that is damaged, not an adapter, or an adapter without a resampler (only
    the 'plus' kind has one).
    """
    state = _named(read_content(path))
    weights = Weights(path, {key: tuple(tensor.shape) for key, tensor in state.items()}, state.__getitem__)
    parts = {f"resampler.{key.removeprefix(_PROJECTION)}": Part(key) for key in state if key.startswith(_PROJECTION)}
    projections = derive_for_file(path, _projections, weights.shapes)
    if not parts or not projections:
        raise BadFile(f"{path.name} is not an image prompt adapter: choose {PLUS}")
    if f"{_PROJECTION}latents" not in state:
        raise BadFile(f"{path.name} is an image prompt adapter without a resampler: choose {PLUS}")
    raise_for_names(path, "the adapter", left_over=state.keys() - {p.key for p in (parts | projections).values()})
    shapes = {name.removeprefix("resampler."): weights.shapes[part.key] for name, part in parts.items()}
    settings = derive_for_file(path, resampler_settings, shapes)
    widths = [weights.shapes[part.key][0] for name, part in projections.items() if name.startswith("to_k.")]
    adapter = build(lambda: ImageAdapter(settings, widths))
    return fill(adapter, weights, parts | projections, to_dtype(dtype), "the adapter")


def load_negative(path: Path, adapter: ImageAdapter) -> Tensor:
    """Load the negative tokens (1, n, D) in float32. Raises MissingFile, and BadFile for other content or sizes."""
    tokens = read_state(path).get("data")
    if not isinstance(tokens, Tensor) or tokens.ndim != 3 or not tokens.is_floating_point():
        raise BadFile(f"{path.name} does not contain the negative tokens of image prompts: choose {NEGATIVE}")
    expected = (1, adapter.queries, adapter.out)
    if tokens.shape != expected:
        raise BadFile(
            f"{path.name} contains negative tokens of shape {tuple(tokens.shape)}, but the adapter needs {expected}: "
            "choose the file that belongs to the adapter"
        )
    if not tokens.isfinite().all():
        raise BadFile(f"{path.name} contains NaN or infinity: download it again")
    return tokens.float()


def _projections(shapes: Shapes) -> dict[str, Part]:
    """The sources of the key and value projections, in the order of their numbers.

    Raises BadFile for a key without a value or a value without a key.
    """
    found = {(int(match[1]), match[2]): key for key in shapes if (match := _PROJECTION_KEY.fullmatch(key))}
    numbers = sorted({number for number, _ in found})
    unpaired = [number for number in numbers if (number, "k") not in found or (number, "v") not in found]
    if unpaired:
        raise BadFile(
            f"{len(unpaired)} of its {len(numbers)} layers have only a key or only a value "
            f"(ip_adapter.{unpaired[0]}, …): download it again"
        )
    return {
        f"to_{which}.{j}.weight": Part(found[number, which]) for j, number in enumerate(numbers) for which in ("k", "v")
    }


def _named(content: Any) -> dict[str, Tensor]:
    """The tensors of a file, by their path through its dictionaries."""
    content = unwrapped(content)
    named = content.items() if isinstance(content, dict) else ()
    return {plain_name(str(key)): value for key, value in named if isinstance(value, Tensor)}
