"""Inpainting in the latents: the known region stays known (Fooocus patch.py KSamplerX0Inpaint).

Masks (B, 1, h, w), 1 = repaint. `known` (B, C, h, w) are the clean latents of the picture in the network's scale.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from .stepping import Denoise


def with_known_region(x: Tensor, sigma: float, known: Tensor, mask: Tensor, noise: Tensor) -> Tensor:
    """What the network sees: x·m + (z_0 + σ·n)·(1 − m). `noise` is drawn afresh for every evaluation."""
    return x * mask + (known + sigma * noise) * (1 - mask)


def keep_known_region(denoised: Tensor, known: Tensor, mask: Tensor) -> Tensor:
    """The estimate that the sampler gets: D·m + z_0·(1 − m)."""
    return denoised * mask + known * (1 - mask)


def holding(denoise: Denoise, known: Tensor, mask: Tensor, fresh: Callable[[], Tensor]) -> Denoise:
    """`denoise` that is shown the known region in new noise at every call, and gives it back as it is.

    `fresh` draws the next unit noise (B, C, h, w), where x is.
    """

    def held(x: Tensor, sigma: float) -> Tensor:
        seen = with_known_region(x, sigma, known, mask, fresh())
        return keep_known_region(denoise(seen, sigma), known, mask)

    return held
