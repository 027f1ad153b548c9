"""Restart sampling (Xu et al. 2023, arXiv 2306.14878)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from .noise import Noise
from .samplers_euler import heun, heun_step
from .sigmas import karras
from .stepping import Callback, Denoise, steps

RESTART_LOW, RESTART_HIGH = 0.1, 2.0


def restart(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sequence[float],
    noise: Noise,
    callback: Callback,
    *,
    s_noise: float = 1.0,
) -> Tensor:
    """Heun's method with restarts from sigma about 0.1 back to sigma about 2 by fresh noise, algorithm 1.

    Runs of 20 steps or more use some of them for restarts, and a Karras schedule between the ends of the given one;
    shorter runs are plain Heun. The number of steps stays the same. `s_noise` scales the noise. Raises ValueError for a
    schedule of 20 steps or more that does not end in 0.
    """
    total = len(sigmas) - 1
    if total < 20:
        return heun(denoise, x, sigmas, noise, callback)
    if sigmas[-1] != 0:
        raise ValueError(f"restart needs a schedule that ends in 0, got one that ends in {sigmas[-1]}")
    inner, passes = (total // 4, 2) if total >= 36 else (9, 1)
    done = 0

    def walk(x: Tensor, levels: Sequence[float]) -> Tensor:
        nonlocal done
        for _, a, b in steps(levels):
            denoised = denoise(x, a)
            callback(done, total, denoised, x)
            x = heun_step(denoise, x, denoised, a, b)
            done += 1
        return x

    outer = karras(total - inner * passes, sigmas[-2], sigmas[0]).tolist()
    low, high = _nearest(outer, RESTART_LOW), _nearest(outer, RESTART_HIGH)
    if not 1 <= high + 1 <= low:
        return walk(x, outer)
    x = walk(x, outer[: low + 1])
    climb = math.sqrt(outer[high] ** 2 - outer[low] ** 2)
    for _ in range(passes):
        x = x + climb * s_noise * noise(outer[low], outer[high])
        x = walk(x, karras(inner + 1, outer[low], outer[high]).tolist()[:-1])
    return walk(x, outer[low:])


def _nearest(levels: Sequence[float], sigma: float) -> int:
    return min(range(len(levels)), key=lambda k: abs(levels[k] - sigma))
