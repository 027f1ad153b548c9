"""The picture size that SDXL is told (Fooocus patch.py sdxl_encode_adm_patched, timed_adm).

Ids are (height, width, top, left, target height, target width); diffusers takes them as `time_ids`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

FOURIER_WIDTH = 256
AESTHETIC_POSITIVE, AESTHETIC_NEGATIVE = 6.0, 2.5

Ids = tuple[float, ...]


class SizeIds(NamedTuple):
    """What the network is told while t > 999·(1 − end), and after."""

    emphasised: Ids
    consistent: Ids

    def at(self, timestep: float, end: float) -> Ids:
        """The ids for a timestep; `end` 0 is never emphasised, 1 always (but for t = 0)."""
        return self.emphasised if timestep > 999.0 * (1.0 - end) else self.consistent


def size_ids(width: int, height: int, scale: float) -> SizeIds:
    """Ids of a picture in pixels (8 × its latents), its original size scaled by the positive or negative ADM scale.

    Targets are rounded to 64, halves to even; the consistent ids give the rounded size as the original one too.
    """
    target = (64 * round(height / 64), 64 * round(width / 64))
    scaled = (int(height * scale), int(width * scale))
    return SizeIds((*scaled, 0, 0, *target), (*target, 0, 0, *target))


def refiner_ids(width: int, height: int, negative: bool) -> Ids:
    """The five ids of SDXL's refiner: height, width, top, left, aesthetic score."""
    return (height, width, 0, 0, AESTHETIC_NEGATIVE if negative else AESTHETIC_POSITIVE)


def fourier(values: Tensor) -> Tensor:
    """(…,) -> (…, 256): cos and then sin of v·f_k, f_k = 10000^(−k/128), float32."""
    half = FOURIER_WIDTH // 2
    frequencies = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32, device=values.device) / half)
    angles = values.float()[..., None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def vector(pooled: Tensor, ids: Ids) -> Tensor:
    """The whole vector that the network embeds: (B, 1280) pooled text, then 256 per id: (B, 2816), refiner 2560."""
    sizes = fourier(torch.tensor(ids, dtype=torch.float32, device=pooled.device)).flatten()
    return torch.cat([pooled, sizes.to(pooled).expand(len(pooled), -1)], dim=1)
