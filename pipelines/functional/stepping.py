"""Parts that all samplers share: their signature, the slope of the flow, the ancestral split of a step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

Denoise = Callable[[Tensor, float], Tensor]
"""(x (B, C, h, w) float32, sigma > 0) -> guided estimate of the clean latents, same shape."""

Callback = Callable[[int, int, Tensor, Tensor], None]
"""(i, total, denoised, x), called after the first evaluation of step i and before its update. May raise to stop."""


def ignore(i: int, total: int, denoised: Tensor, x: Tensor) -> None:
    """A callback that does nothing."""


def steps(sigmas: Sequence[float]) -> Iterator[tuple[int, float, float]]:
    """Iterate over (i, sigma_i, sigma_{i+1}) of every step."""
    return ((i, sigmas[i], sigmas[i + 1]) for i in range(len(sigmas) - 1))


def slope(x: Tensor, sigma: float, denoised: Tensor) -> Tensor:
    """Return d = (x - D) / sigma, the slope of the probability flow. Karras et al. 2022, equation 1."""
    return (x - denoised) / sigma


def ancestral(a: float, b: float, eta: float = 1.0) -> tuple[float, float]:
    """Split a step from a to b into a step to sigma = `down` and noise of sigma = `up`, with down² + up² = b².

    `eta` scales the noise; 0 makes the step deterministic.
    """
    up = min(b, eta * math.sqrt(b**2 * (a**2 - b**2) / a**2))
    return math.sqrt(b**2 - up**2), up


def geometric_mean(a: float, b: float) -> float:
    """Return the noise level halfway between a and b in ln sigma."""
    return math.sqrt(a * b)
