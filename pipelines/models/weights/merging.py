"""Weight patches, and a network that they are merged into while a context lasts."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor, nn

from .deltas import Delta, LowRank

Step = tuple[float, Delta]


@dataclass(frozen=True, eq=False)
class WeightPatch:
    """The changes of one file to one network: `deltas[parameter name](weight in float32)` is the change at weight 1.

    `source` identifies the content of the file: patches with equal source, weight and parameters are equal. A patch
    without a source equals only itself.
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
    """A module and the patches that are merged into its weights.

    Merging takes seconds, and consecutive runs mostly need the same patches. So leaving `patched` keeps the merged
    weights: the next `patched` merges only the difference, and `restore` restores the originals bit for bit. Until then
    a copy of each patched weight, and of no other, is kept on the CPU. Subtracting a patch would not be exact in half
    precision, and reading the originals from the checkpoint again would need the disk for every change of a LoRA's
    weight, and a file that has not been replaced since (benchmarks/README.md has the time that restoring takes).
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._originals: dict[str, Tensor] = {}
        self._merged: tuple[WeightPatch, ...] = ()

    @property
    def patcher(self) -> object | None:
        """ComfyUI's ModelPatcher of the module, or None outside ComfyUI."""
        return getattr(self.module, "patcher", None)

    @property
    def merged(self) -> tuple[WeightPatch, ...]:
        """The patches that are merged at the moment, in their order."""
        return self._merged

    @contextmanager
    def patched(self, patches: tuple[WeightPatch, ...]) -> Iterator[nn.Module]:
        """Merge exactly these patches into the module's weights while the context lasts."""
        self.merge(patches)
        yield self.module

    def restore(self) -> None:
        """Restore the original weights bit for bit and free their copies."""
        parameters = dict(self.module.named_parameters())
        for name, original in self._originals.items():
            _put(parameters[name], original)
        self._originals.clear()
        self._merged = ()

    def merge(self, patches: tuple[WeightPatch, ...]) -> None:
        """Merge exactly these patches, in their order; weights whose patches are unchanged are not touched.

        All deltas are added to a float32 copy of the original on the weight's device, which is cast back once (Fooocus
        modules/patch.py: calculate_weight_patched). Any exception, also an interrupt, restores all originals.
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
            self.restore()
            raise
        self._merged = patches

    def _original(self, name: str, parameter: nn.Parameter) -> Tensor:
        """Return the unpatched weight on the parameter's device, and keep it from now on."""
        if name in self._originals:
            return self._originals[name].to(parameter.data.device)
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
    parameter.data = value.to(parameter.data.device)  # not `device`: a parameter may run elsewhere


class _Scratch:
    """A float32 buffer shared by all weights: allocating one for each costs more than the copy itself."""

    def __init__(self) -> None:
        self._room = torch.empty(0)

    def copy(self, weight: Tensor) -> Tensor:
        """Return the weight in float32, valid until the next call."""
        if self._room.device != weight.device or self._room.numel() < weight.numel():
            self._room = torch.empty(weight.numel(), device=weight.device)
        return self._room[: weight.numel()].view(weight.shape).copy_(weight)


@torch.no_grad()
def _add(weight: Tensor, steps: Iterable[Step]) -> None:
    """Add the changes to a float32 weight, in their order."""
    for is_low_rank, run in groupby(steps, key=lambda step: isinstance(step[1], LowRank)):
        if is_low_rank:
            _add_products(weight, list(run))
        else:
            for strength, delta in run:
                weight.add_(delta(weight), alpha=strength)


def _add_products(weight: Tensor, steps: Iterable[Step]) -> None:
    """Add consecutive low-rank changes in one product: W += [s1·up1 s2·up2 …] · [down1; down2; …]."""
    factors = [(strength, *delta.factors(weight)) for strength, delta in steps if isinstance(delta, LowRank)]
    ups = torch.cat([strength * up for strength, up, _ in factors], dim=1)
    downs = torch.cat([down for _, _, down in factors])
    weight.flatten(1).addmm_(ups, downs)
