"""The layout of ComfyUI's UNet in diffusers' names, by which LoRAs, control networks and image prompts are matched."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from ....pipelines.errors import BadValue
from ....pipelines.models.checkpoint import empty_unet
from ....pipelines.models.weights import key_names
from ....pipelines.models.weights.configs import unet_config
from ....pipelines.types import Family

PREFIX = "diffusion_model."  # of the UNet in ComfyUI's model
TO_K = ".attn2.to_k.weight"


@dataclass(frozen=True, eq=False)
class Layout:
    """A UNet of diffusers on the meta device, and the parameter of ComfyUI's UNet for each of its own."""

    module: nn.Module
    native: dict[str, str]

    def key(self, name: str) -> str:
        """Return the key in ComfyUI's model of a parameter in diffusers' names."""
        return PREFIX + self.native[name]

    def attention_place(self, name: str) -> tuple[str, int, int]:
        """Return the place of a cross-attention in ComfyUI's patches: side, number of the block, and index in it.

        `name` is that of its `to_k` weight in diffusers' names.
        """
        side, number, *rest = self.native[name].split(".")
        index = int(rest[rest.index("transformer_blocks") + 1]) if "transformer_blocks" in rest else int(rest[1])
        return ("middle", 0, index) if side == "middle_block" else (side.removesuffix("_blocks"), int(number), index)


def layout_of(parameters: Iterable[tuple[str, tuple[int, ...]]], family: Family, dtype: torch.dtype) -> Layout:
    """Return the layout of a UNetModel of ComfyUI with those names and shapes. Raises BadValue for other networks."""
    shapes = dict(parameters)
    to_diffusers = key_names.unet_to_diffusers(shapes)
    config, middle = unet_config({new: shapes[old] for old, new in to_diffusers.items()}, family)
    module = nn.Module.to(empty_unet(config, middle), dtype)
    native = {new: old for old, new in to_diffusers.items()}
    if missing := [name for name, _ in module.named_parameters() if name not in native]:
        raise BadValue(f"the MODEL is no UNet of SDXL or SD 1.5: it has no {missing[0]}; load an SDXL checkpoint")
    return Layout(module, native)
