"""A network and the weight patches that are merged into it at this moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Delta = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class WeightPatch:
    """One file's changes to one network: `deltas[parameter name](weight in float32)` is the change at weight 1."""

    name: str
    weight: float
    deltas: Mapping[str, tuple[Delta, ...]]


class Network:
    """A module whose patched weights can be put back exactly; which patches are merged is part of it."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._originals: dict[str, Tensor] = {}
        self._merged: tuple[WeightPatch, ...] = ()

    @property
    def merged(self) -> tuple[WeightPatch, ...]:
        """The patches that are in the weights now, in their order."""
        return self._merged

    def merge(self, patches: tuple[WeightPatch, ...]) -> None:
        """Make exactly these patches the merged ones, in their order; nothing happens when they already are.

        Each weight is patched once: a float32 copy of the original, all deltas, one cast back
        (Fooocus modules/patch.py: calculate_weight_patched). The work is done where the weights are. When it is
        interrupted or fails, the originals are back. They wait on the CPU.
        """
        if patches == self._merged:
            return
        parameters = dict(self.module.named_parameters())
        patched = {name for patch in patches for name in patch.deltas}
        try:
            for name in list(self._originals.keys() - patched):
                _put(parameters[name], self._originals[name])
                del self._originals[name]
            for name in sorted(patched):
                original = self._originals.setdefault(name, parameters[name].data.cpu())
                _put(parameters[name], _patched(name, original.to(parameters[name].device), patches))
        except BaseException:
            for name, original in self._originals.items():
                _put(parameters[name], original)
            self._originals.clear()
            self._merged = ()
            raise
        self._merged = patches


def _put(parameter: nn.Parameter, value: Tensor) -> None:
    parameter.data = value.to(parameter.device)


@torch.no_grad()
def _patched(name: str, original: Tensor, patches: tuple[WeightPatch, ...]) -> Tensor:
    """A new tensor: the original with all patches of that weight, in float32, cast back once."""
    weight = original.to(torch.float32, copy=True)
    for patch in patches:
        for delta in patch.deltas.get(name, ()):
            weight += patch.weight * delta(weight)
    return weight.to(original.dtype)
