"""A network and the weight patches that are merged into it at this moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Delta = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class WeightPatch:
    """One file's changes to one network: `deltas[parameter name](weight in float32)` is the change at weight 1."""

    name: str
    weight: float
    deltas: dict[str, tuple[Delta, ...]]


class Network:
    """A module whose patched weights can be put back exactly; which patches are merged is part of it."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._originals: dict[str, Tensor] = {}
        self._merged: tuple[WeightPatch, ...] = ()

    def merge(self, patches: tuple[WeightPatch, ...]) -> None:
        """Make exactly these patches the merged ones, in their order; nothing happens when they already are.

        Each weight is patched once: a float32 copy of the original, all deltas, one cast back
        (Fooocus modules/patch.py: calculate_weight_patched).
        """
        if patches == self._merged:
            return
        raise AssertionError("to be written with models/lora.py")
