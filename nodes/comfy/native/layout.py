"""The layout of ComfyUI's UNet in diffusers' names, by which LoRAs, control networks and image prompts are matched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ....pipelines.errors import BadValue
from ....pipelines.models.checkpoint import empty_unet
from ....pipelines.models.weights import key_names
from ....pipelines.models.weights.configs import unet_config
from ....pipelines.types import Family

UNET = "diffusion_model"  # in ComfyUI's model
PREFIX = f"{UNET}."
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


def own_modules(patcher: Any) -> dict[str, nn.Module]:
    """Return the modules of a MODEL's UNet by name: those that object patches of other nodes replace at the moment too.

    Modules that such patches have put in are not among them.
    """
    backup = {name: one for name, one in patcher.object_patches_backup.items() if isinstance(one, nn.Module)}
    unet: nn.Module = backup.get(UNET, patcher.model.diffusion_model)
    replaced = {name.removeprefix(PREFIX): one for name, one in backup.items() if name.startswith(PREFIX)}
    roots = tuple(f"{name}." for name in replaced)
    found = {name: one for name, one in unet.named_modules() if not f"{name}.".startswith(roots)}
    for root, module in replaced.items():
        found |= {f"{root}.{name}".removesuffix("."): one for name, one in module.named_modules()}
    return found


def shapes_of(modules: Mapping[str, nn.Module]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Return the names and shapes of the parameters of modules by name."""
    return tuple(
        (f"{name}.{leaf}".removeprefix("."), tuple(weight.shape))
        for name, module in modules.items()
        for leaf, weight in module.named_parameters(recurse=False)
    )


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
