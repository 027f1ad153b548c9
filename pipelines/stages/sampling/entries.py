"""The entries of conditioning during a run: which apply at a noise level, and their predictions blended into one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from ...functional import regions
from ...functional.adm import SizeIds
from ...functional.regions import Area
from ...models.protocols import Condition

PAIR = 2  # conditions in one batch, for which memory is reserved


@dataclass(frozen=True, eq=False)
class Entry:
    """One entry of conditioning: tokens (B, n, D), pooled text (B, P), the size ids, and where and when it applies.

    `weights` (1 or B, 1, h, w) are those in `area`, which is `restricted` when the entry names one; None is weight 1 in
    the whole latent. The entry applies while `last` <= sigma <= `first`. A `default` entry applies where the others
    leave weight over.
    """

    tokens: Tensor
    pooled: Tensor | None
    sizes: SizeIds
    area: Area
    restricted: bool = False
    weights: Tensor | None = None
    first: float = float("inf")
    last: float = 0.0
    default: bool = False

    @property
    def is_plain(self) -> bool:
        """True when it applies in the whole latent and at every step."""
        return self.weights is None and not self.default and self.first == float("inf") and self.last == 0

    def acts_at(self, sigma: float) -> bool:
        """True when it applies at noise level sigma."""
        return self.last <= sigma <= self.first

    def at(self, timestep: float, adm_end: float) -> Condition:
        """Return the condition for a timestep."""
        return Condition(self.tokens, self.pooled, self.sizes.at(timestep, adm_end))


Evaluate = Callable[[Tensor, Area, Sequence[tuple[int, Entry]]], list[Tensor]]
"""The crop of x (B, C, h, w), its area, side and entry of each condition -> the denoised prediction for each."""


def matched(sides: Sequence[list[Entry]]) -> list[list[Entry]]:
    """Give each area of one side a counterpart on the other, so that guidance compares predictions of the same part.

    The counterpart has the tokens and sizes of the smallest entry around it, and the weights and range of the area, as
    in ComfyUI.
    """
    result = [list(side) for side in sides]
    for side in result:
        for entry in list(side):
            for other in result:
                if other is not side and (around := _counterpart(entry, other)) is not None:
                    other.append(replace(entry, tokens=around.tokens, pooled=around.pooled, sizes=around.sizes))
    return result


def _counterpart(entry: Entry, others: Sequence[Entry]) -> Entry | None:
    """Return the smallest of the others around a restricted area; None if there is none, or one of the same area."""
    if not entry.restricted:
        return None
    around = [other for other in others if other.area.contains(entry.area)]
    smallest = min(around, key=lambda other: (not other.restricted, other.area.cells), default=None)
    same = smallest is not None and smallest.restricted and smallest.area == entry.area
    return None if same else smallest


def estimates(sides: Sequence[Sequence[Entry]], x: Tensor, sigma: float, evaluate: Evaluate) -> list[Tensor]:
    """Return one denoised prediction for each side at noise level sigma, like x (B, C, h, w), blended from its entries.

    The network sees the area of an entry alone. Where no entry of a side applies, its prediction is 0.
    """
    if are_plain(sides):
        return evaluate(x, sides[0][0].area, [(i, side[0]) for i, side in enumerate(sides)])
    acting = [acting_at(side, x, sigma) for side in sides]
    all_acting = [(i, entry) for i, side in enumerate(acting) for entry, _ in side]
    predictions = evaluated(all_acting, x, evaluate)
    blended = []
    for side in acting:
        parts = [(entry.area, weight, predictions.pop(0)) for entry, weight in side]
        blended.append(regions.blended(x, parts))
    return blended


def are_plain(sides: Sequence[Sequence[Entry]]) -> bool:
    """True when each side has one entry, which applies in the whole latent and at every step."""
    return all(len(side) == 1 and side[0].is_plain for side in sides)


def acting_at(side: Sequence[Entry], x: Tensor, sigma: float) -> list[tuple[Entry, Tensor]]:
    """Return the entries of a side that apply at sigma and their weights; default entries share what others leave."""
    one = x.new_ones(())
    acting = [(e, one if e.weights is None else e.weights) for e in side if e.acts_at(sigma) and not e.default]
    defaults = [entry for entry in side if entry.acts_at(sigma) and entry.default]
    if not defaults:
        return acting
    rest = regions.remaining(x, [(entry.area, weight) for entry, weight in acting])
    if not rest.any():
        return acting
    whole = Area(x.shape[-2], x.shape[-1])
    return [*acting, *((replace(entry, area=whole), rest) for entry in defaults)]


def evaluated(entries: Sequence[tuple[int, Entry]], x: Tensor, evaluate: Evaluate) -> list[Tensor]:
    """Return the prediction of each entry in its area, evaluating those of one area two at a time."""
    results: dict[int, Tensor] = {}
    groups: dict[Area, list[int]] = {}
    for i, (_, entry) in enumerate(entries):
        groups.setdefault(entry.area, []).append(i)
    for area, group in groups.items():
        seen = area.crop(x)
        for start in range(0, len(group), PAIR):
            pair = group[start : start + PAIR]
            results |= zip(pair, evaluate(seen, area, [entries[i] for i in pair]), strict=True)
    return [results[i] for i in range(len(entries))]
