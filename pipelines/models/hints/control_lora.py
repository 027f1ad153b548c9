"""Low-rank changes of a UNet's layers, as a control-LoRA makes them.

Fooocus ldm_patched/modules/controlnet.py: load_controlnet, ControlLora.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear

UP, DOWN = ".up", ".down"


class Changed(nn.Module):
    """A linear layer or a convolution with a low-rank change: W + up·down, made anew at each call.

    The layer's weight is the UNet's own and stays as it is; only this layer's sum takes memory, while it runs.
    """

    def __init__(self, layer: nn.Linear | nn.Conv2d, up: Tensor, down: Tensor) -> None:
        super().__init__()
        self.layer, self.up, self.down = layer, up, down

    def forward(self, x: Tensor) -> Tensor:
        weight = changed(self.layer.weight, self.up, self.down)
        if isinstance(self.layer, nn.Conv2d):
            return conv2d(x, weight, self.layer.bias, self.layer.stride, cast(Any, self.layer.padding))
        return linear(x, weight, self.layer.bias)


def changed(weight: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """W + up·down, with all axes behind the first as one: up (out, r, …), down (r, in, …)."""
    return torch.addmm(weight.flatten(1), up.flatten(1), down.flatten(1)).view_as(weight)


def layers_changed(names: Iterable[str]) -> list[str]:
    """The layers that have both factors of a change among these names."""
    names = set(names)
    return sorted(
        name.removesuffix(UP) for name in names if name.endswith(UP) and name.removesuffix(UP) + DOWN in names
    )


def put(network: nn.Module, name: str, value: nn.Parameter) -> None:
    """Give a weight of a network a value that it shares with others."""
    path, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(path), leaf, value)


def change(network: nn.Module, layer: str, up: Tensor, down: Tensor) -> None:
    """Put a low-rank change on a layer of a network."""
    path, _, leaf = layer.rpartition(".")
    parent = network.get_submodule(path)
    setattr(parent, leaf, Changed(cast(nn.Linear, parent.get_submodule(leaf)), up, down))
