"""Regional conditioning: the predictions of several prompts, each weighted over a part of the latent, as one.

The weights are those of ComfyUI: a feathered area or a mask, times a strength, normalised where they overlap.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

FEATHER = 8  # cells over which the weight of an area without a mask rises from its edge
UNCOVERED = 1e-37  # total weight where no prediction applies, which makes the result 0 there
SMALLEST_BOUNDS = 8  # least side of the area around a mask, in cells


@dataclass(frozen=True)
class Area:
    """A rectangle of a latent, in latent cells."""

    height: int
    width: int
    top: int = 0
    left: int = 0

    @property
    def cells(self) -> int:
        """The number of cells."""
        return self.height * self.width

    def crop(self, x: Tensor) -> Tensor:
        """Return the view of x (…, h, w) inside the area."""
        return x[..., self.top : self.top + self.height, self.left : self.left + self.width]

    def contains(self, other: Area) -> bool:
        """True when the other area lies inside this one."""
        return (
            self.top <= other.top
            and self.left <= other.left
            and self.top + self.height >= other.top + other.height
            and self.left + self.width >= other.left + other.width
        )

    def clipped(self, height: int, width: int) -> Area:
        """Return the part inside a latent of that size; its sides are 0 or less for an area outside."""
        return Area(min(self.height, height - self.top), min(self.width, width - self.left), self.top, self.left)


def fractional_area(height: float, width: float, top: float, left: float, size: tuple[int, int]) -> Area:
    """Return the area given by fractions of a latent of `size` (h, w): rounded to cells, at least one cell large."""
    rows, columns = size
    return Area(max(1, round(height * rows)), max(1, round(width * columns)), round(top * rows), round(left * columns))


def fitted_mask(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize a mask ((n,) H, W) bilinearly to a latent of `size` (h, w): (n, h, w) float32."""
    rows = mask.reshape(-1, *mask.shape[-2:]).float()
    if tuple(rows.shape[1:]) == size:
        return rows
    return interpolate(rows[:, None], size=size, mode="bilinear")[:, 0]


def bounds(mask: Tensor) -> Area:
    """Return the area around the cells of a mask (n, h, w) that are not 0, with sides of at least 8 cells."""
    rows, columns = torch.where(mask.abs().amax(dim=0) != 0)
    if not len(rows):
        return Area(SMALLEST_BOUNDS, SMALLEST_BOUNDS)
    top, left = int(rows.min()), int(columns.min())
    height, width = int(rows.max()) - top + 1, int(columns.max()) - left + 1
    return Area(max(SMALLEST_BOUNDS, height), max(SMALLEST_BOUNDS, width), top, left)


def weights(size: tuple[int, int], area: Area, mask: Tensor | None, strength: float) -> Tensor:
    """Return the weights (n, 1, h, w) of a prediction in an area of a latent of `size`.

    They are `strength` times the mask (n, h, w of the latent), or times a ramp of 8 cells, or a quarter of the area,
    at each edge of the area that is not an edge of the latent.
    """
    if mask is not None:
        return area.crop(mask)[:, None] * strength
    rows = _ramps(area.height, area.top, size[0])
    columns = _ramps(area.width, area.left, size[1])
    return (strength * rows[:, None] * columns[None, :])[None, None]


def _ramps(length: int, start: int, total: int) -> Tensor:
    """The weights (length,) along one side of an area that begins at `start` of `total` cells."""
    steps = min(FEATHER, length // 4)
    ramp = (torch.arange(steps, dtype=torch.float32) + 1) / max(steps, 1)
    result = torch.ones(length)
    if start != 0:
        result[:steps] *= ramp
    if start + length < total:
        result[length - steps :] *= ramp.flip(0)
    return result


def remaining(x: Tensor, parts: Iterable[tuple[Area, Tensor]]) -> Tensor:
    """Return max(0, 1 - sum of the weights) of areas and weights (n, 1, h, w), like x (B, C, h, w)."""
    rest = torch.ones_like(x)
    for area, weight in parts:
        area.crop(rest).sub_(weight)
    return rest.relu()


def blended(x: Tensor, parts: Iterable[tuple[Area, Tensor, Tensor]]) -> Tensor:
    """Return sum(w·p) / sum(w), like x (B, C, h, w), of areas, weights w (n, 1, h, w) and predictions p in each area.

    It is 0 where no prediction applies.
    """
    total, weight_sum = torch.zeros_like(x), torch.full_like(x, UNCOVERED)
    for area, weight, prediction in parts:
        area.crop(total).add_(prediction * weight)
        area.crop(weight_sum).add_(weight)
    return total / weight_sum
