"""Size conditioning of SDXL (Fooocus patch.py: sdxl_encode_adm_patched, timed_adm).

Ids are (height, width, top, left, target height, target width), which diffusers takes as `time_ids`.
"""

from __future__ import annotations

from typing import NamedTuple

AESTHETIC_POSITIVE, AESTHETIC_NEGATIVE = 6.0, 2.5

Ids = tuple[float, ...]


class SizeIds(NamedTuple):
    """The ids while t > 999·(1 - end), and those after."""

    emphasised: Ids
    consistent: Ids

    def at(self, timestep: float, end: float) -> Ids:
        """Return the ids for a timestep; `end` 0 never gives the emphasised ones, 1 always does except at t = 0."""
        return self.emphasised if timestep > 999.0 * (1.0 - end) else self.consistent


def size_ids(width: int, height: int, scale: float) -> SizeIds:
    """Return the ids of an image of that size in pixels, with its original size scaled by an ADM scale.

    Target sizes are rounded to multiples of 64, halves to even; the consistent ids have the target as original size.
    """
    target = (64 * round(height / 64), 64 * round(width / 64))
    scaled = (int(height * scale), int(width * scale))
    return SizeIds((*scaled, 0, 0, *target), (*target, 0, 0, *target))


def refiner_ids(width: int, height: int, negative: bool) -> Ids:
    """Return the five ids of SDXL's refiner: height, width, top, left, aesthetic score."""
    return (height, width, 0, 0, AESTHETIC_NEGATIVE if negative else AESTHETIC_POSITIVE)
