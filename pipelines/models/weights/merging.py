"""A network and the weight patches that are merged into it at this moment."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor, nn

from .deltas import Delta, LowRank

Step = tuple[float, Delta]


@dataclass(frozen=True, eq=False)
class WeightPatch:
    """One file's changes to one network: `deltas[parameter name](weight in float32)` is the change at weight 1.

    `source` stands for the content of the file: patches of equal source, weight and parameters are the same patch. A
    patch without one is the same only as itself.
    """

    name: str
    weight: float
    deltas: Mapping[str, tuple[Delta, ...]]
    source: Hashable | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, WeightPatch) or self.source is None:
            return self is other
        return (self.source, self.weight, self.deltas.keys()) == (other.source, other.weight, other.deltas.keys())

    def __hash__(self) -> int:
        return hash((self.name, self.weight))


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
        """Make exactly these patches the merged ones, in their order; weights whose patches stay are left as they are.

        Each weight is patched once: a float32 copy of the original, all deltas, one cast back
        (Fooocus modules/patch.py: calculate_weight_patched). The work is done where the weights are. When it is
        interrupted or fails, the originals are back. They wait on the CPU.
        """
        if patches == self._merged:
            return
        parameters = dict(self.module.named_parameters())
        before, after = _by_parameter(self._merged), _by_parameter(patches)
        try:
            for name in before.keys() - after.keys():
                _put(parameters[name], self._originals[name])
                del self._originals[name]
            scratch = _Scratch()
            for name in sorted(name for name, of_it in after.items() if of_it != before.get(name)):
                weight = scratch.copy(self._original(name, parameters[name]))
                _add(weight, _steps(name, after[name]))
                _put(parameters[name], weight.to(parameters[name].dtype, copy=True))
        except BaseException:
            for name, original in self._originals.items():
                _put(parameters[name], original)
            self._originals.clear()
            self._merged = ()
            raise
        self._merged = patches

    def _original(self, name: str, parameter: nn.Parameter) -> Tensor:
        """The weight without patches, where the parameter is; from now on it is kept."""
        if name in self._originals:
            return self._originals[name].to(parameter.device)
        self._originals[name] = parameter.data.cpu()
        return parameter.data


def _by_parameter(patches: Iterable[WeightPatch]) -> dict[str, tuple[WeightPatch, ...]]:
    found: dict[str, tuple[WeightPatch, ...]] = {}
    for patch in patches:
        for name in patch.deltas:
            found[name] = (*found.get(name, ()), patch)
    return found


def _steps(name: str, patches: Iterable[WeightPatch]) -> list[Step]:
    return [(patch.weight, delta) for patch in patches for delta in patch.deltas[name]]


def _put(parameter: nn.Parameter, value: Tensor) -> None:
    parameter.data = value.to(parameter.device)


class _Scratch:
    """Room for one weight in float32, used again for the next: fresh memory costs more than the copy itself."""

    def __init__(self) -> None:
        self._room = torch.empty(0)

    def copy(self, weight: Tensor) -> Tensor:
        """The weight in float32, until the next call."""
        if self._room.device != weight.device or self._room.numel() < weight.numel():
            self._room = torch.empty(weight.numel(), device=weight.device)
        return self._room[: weight.numel()].view(weight.shape).copy_(weight)


@torch.no_grad()
def _add(weight: Tensor, steps: Iterable[Step]) -> None:
    """Add all changes in their order to a weight in float32."""
    for is_low_rank, run in groupby(steps, key=lambda step: isinstance(step[1], LowRank)):
        if is_low_rank:
            _add_products(weight, list(run))
        else:
            for strength, delta in run:
                weight.add_(delta(weight), alpha=strength)


def _add_products(weight: Tensor, steps: Iterable[Step]) -> None:
    """Low-rank changes that follow each other in one product: W += [s₁·up₁ s₂·up₂ …] · [down₁; down₂; …]."""
    factors = [(strength, *delta.factors(weight)) for strength, delta in steps if isinstance(delta, LowRank)]
    ups = torch.cat([strength * up for strength, up, _ in factors], dim=1)
    downs = torch.cat([down for _, _, down in factors])
    weight.flatten(1).addmm_(ups, downs)
