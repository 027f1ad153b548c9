"""Our changes to a UNet in the forms in which ComfyUI's ModelPatcher attaches them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import comfy.weight_adapter
import torch
from torch import Tensor

from ....pipelines.errors import BadValue
from ....pipelines.functional import freeu as freeu_maths
from ....pipelines.functional.image_attention import ImagePrompts, LayerImages, image_attention
from ....pipelines.functional.regions import Area
from ....pipelines.models.weights.deltas import Delta
from ....pipelines.models.weights.merging import WeightPatch
from ....pipelines.types import FreeU
from .layout import TO_K, Layout

Options = dict[str, Any]


class Deltas(comfy.weight_adapter.WeightAdapterBase):  # type: ignore[misc]
    """The changes of a WeightPatch to one weight.

    ComfyUI makes copies with the same two arguments, when it prepares weights that are not on the device.
    """

    name = "fooocus"

    def __init__(self, loaded_keys: set[str], weights: Sequence[Delta]) -> None:
        self.loaded_keys, self.weights = loaded_keys, tuple(weights)

    @torch.no_grad()
    def calculate_weight(
        self, weight: Tensor, key: str, strength: float, strength_model: float, *_: object, **__: object
    ) -> Tensor:
        """Add the changes to a weight, in their order; they are computed in float32."""
        changed = weight.float()
        for delta in self.weights:
            changed = changed.add_(delta(changed), alpha=strength)
        return weight if changed is weight else weight.copy_(changed)


def add_weight_patch(patcher: Any, layout: Layout, patch: WeightPatch) -> None:
    """Add a patch to a clone of a ModelPatcher."""
    patcher.add_patches(
        {layout.key(name): Deltas(set(), deltas) for name, deltas in patch.deltas.items()}, patch.weight
    )


def without_deltas(patches: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """Return a patcher's patches without ours."""
    kept = {key: [one for one in of_key if not isinstance(one[1], Deltas)] for key, of_key in patches.items()}
    return {key: of_key for key, of_key in kept.items() if of_key}


@dataclass(frozen=True)
class FreeUPatch:
    """FreeU V2 on a decoder block's hidden state and skip; `base` is the number of channels of the first level."""

    base: int
    freeu: FreeU

    def __call__(self, hidden: Tensor, skip: Tensor, options: Options) -> tuple[Tensor, Tensor]:
        gains = self.freeu
        found = freeu_maths.gains(hidden.shape[1], self.base, gains.b1, gains.b2, gains.s1, gains.s2)
        if found is None:
            return hidden, skip
        b, s = found
        return freeu_maths.backbone(hidden, b), freeu_maths.thinned(skip, s)


@dataclass(frozen=True, eq=False)
class HeadPatch:
    """The output (1 or B, C, h, w) of the inpaint head, added after the UNet's first convolution.

    `areas` are those of the conditions that are for a part of the latents.
    """

    output: Tensor
    areas: Mapping[UUID, Area]

    def __call__(self, hidden: Tensor, options: Options) -> Tensor:
        if options["block"] != ("input", 0):
            return hidden
        crops = [self.areas[one].crop(self.output) if one in self.areas else self.output for one in options["uuids"]]
        if hidden.shape[-2:] != crops[0].shape[-2:]:
            raise BadValue(
                f"the inpaint engine is for a latent of {tuple(crops[0].shape[-2:])} and another node draws a part of "
                f"{tuple(hidden.shape[-2:])}: remove that node, or use Fooocus Sampler"
            )
        rows = len(hidden) // len(crops)
        return hidden + torch.cat([crop.expand(rows, -1, -1, -1) for crop in crops]).to(hidden)


def with_head(options: Mapping[str, Any], output: Tensor, areas: Mapping[UUID, Area]) -> dict[str, Any]:
    """Return transformer options with the output (1 or B, C, h, w) of the inpaint head added; see `HeadPatch`."""
    patches = dict(options.get("patches", {}))
    patches["input_block_patch"] = [*patches.get("input_block_patch", []), HeadPatch(output, areas)]
    return {**options, "patches": patches}


@dataclass(frozen=True, eq=False)
class ImageAttention:
    """Cross-attention to the text and to image prompts; `rows` picks those of the conditions in the batch."""

    rows: Callable[[tuple[UUID, ...]], ImagePrompts]
    layer: int

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, options: Options) -> Tensor:
        images: LayerImages = self.rows(tuple(options["uuids"])).layers[self.layer]
        return image_attention(query, key, value, images, options["n_heads"])


def attention_patches(
    layout: Layout, images: ImagePrompts, sides: Mapping[UUID, int]
) -> dict[tuple[str, int, int], ImageAttention]:
    """Return the replacement of each cross-attention, by its place in ComfyUI's patches.

    `sides` gives the rows of `images` that each condition reads; conditions of other nodes read the first.
    """
    rows: dict[tuple[UUID, ...], ImagePrompts] = {}

    def chosen(conditions: tuple[UUID, ...]) -> ImagePrompts:
        if conditions not in rows:
            rows[conditions] = images.of_sides([sides.get(one, 0) for one in conditions])
        return rows[conditions]

    return {layout.attention_place(name): ImageAttention(chosen, i) for i, name in enumerate(cross_attentions(layout))}


def cross_attentions(layout: Layout) -> list[str]:
    """Return the names of the cross-attentions' `to_k` weights, in the order of image prompt adapters."""
    names = [name for name in layout.native if name.endswith(TO_K)]
    sides = ("down_blocks.", "up_blocks.", "mid_block.")
    return sorted(
        names, key=lambda name: (next(i for i, side in enumerate(sides) if name.startswith(side)), _numbers(name))
    )


def _numbers(name: str) -> list[int]:
    return [int(part) for part in name.split(".") if part.isdecimal()]
