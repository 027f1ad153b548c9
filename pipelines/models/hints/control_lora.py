"""Layers of a control-LoRA: those of a UNet with a low-rank change.

Fooocus ldm_patched/modules/controlnet.py: load_controlnet, ControlLora.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear

UP, DOWN = ".up", ".down"


class LowRankLayer(nn.Module):
    """A linear layer or a convolution with the weight W + up·down, computed at each call.

    W is shared with the UNet and not changed. The sum takes memory only while this layer runs.
    """

    def __init__(self, layer: nn.Linear | nn.Conv2d, up: Tensor, down: Tensor) -> None:
        super().__init__()
        self.layer, self.up, self.down = layer, up, down

    def forward(self, x: Tensor) -> Tensor:
        weight = low_rank_sum(self.layer.weight, self.up, self.down)
        if isinstance(self.layer, nn.Conv2d):
            return conv2d(x, weight, self.layer.bias, self.layer.stride, cast(tuple[int, int], self.layer.padding))
        return linear(x, weight, self.layer.bias)


def low_rank_sum(weight: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """W + up·down, with all axes after the first flattened: up (out, r, …), down (r, in, …)."""
    return torch.addmm(weight.flatten(1), up.flatten(1), down.flatten(1)).view_as(weight)


def changed_layers(names: Iterable[str]) -> list[str]:
    """The layers that have both factors of a low-rank change among these names."""
    names = set(names)
    return sorted(
        name.removesuffix(UP) for name in names if name.endswith(UP) and name.removesuffix(UP) + DOWN in names
    )


def set_parameter(network: nn.Module, name: str, value: nn.Parameter) -> None:
    """Replace a parameter of a network by one that it shares with another network."""
    path, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(path), leaf, value)


def attach_low_rank(network: nn.Module, layer: str, up: Tensor, down: Tensor) -> None:
    """Replace a layer of a network by one with a low-rank change."""
    path, _, leaf = layer.rpartition(".")
    parent = network.get_submodule(path)
    setattr(parent, leaf, LowRankLayer(cast(nn.Linear, parent.get_submodule(leaf)), up, down))
