"""What every sampler is made of: the signature, the ancestral split, the exponentials."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

Denoise = Callable[[Tensor, float], Tensor]
"""(x (B, C, h, w) float32, σ > 0) -> the network's guided estimate of the clean latents, same shape."""

Callback = Callable[[int, int, Tensor, Tensor], None]
"""(i, total, denoised, x), called after the first evaluation of step i and before its update. May raise to stop."""


def ignore(i: int, total: int, denoised: Tensor, x: Tensor) -> None:
    """The callback of someone who does not look."""


def steps(sigmas: Sequence[float]) -> Iterator[tuple[int, float, float]]:
    """(i, σ_i, σ_{i+1}) for every step."""
    return ((i, sigmas[i], sigmas[i + 1]) for i in range(len(sigmas) - 1))


def slope(x: Tensor, sigma: float, denoised: Tensor) -> Tensor:
    """d = (x − D) / σ, the direction of the probability flow. Karras et al. 2022, equation 1."""
    return (x - denoised) / sigma


def ancestral(a: float, b: float) -> tuple[float, float]:
    """(down, up): go from a down to `down`, then add noise `up`, to stand at b: down² + up² = b²."""
    up = min(b, math.sqrt(b**2 * (a**2 - b**2) / a**2))
    return math.sqrt(b**2 - up**2), up


def geometric_mean(a: float, b: float) -> float:
    """The noise level halfway in ln σ."""
    return math.sqrt(a * b)
