"""Inpainting in the latents: the known region stays known (Fooocus patch.py KSamplerX0Inpaint).

Masks (B, 1, h, w), 1 = repaint. `known` (B, C, h, w) are the clean latents of the picture in the network's scale.
"""

from __future__ import annotations

from torch import Tensor


def with_known_region(x: Tensor, sigma: float, known: Tensor, mask: Tensor, noise: Tensor) -> Tensor:
    """What the network sees: x·m + (z_0 + σ·n)·(1 − m). `noise` is drawn afresh for every evaluation."""
    return x * mask + (known + sigma * noise) * (1 - mask)


def keep_known_region(denoised: Tensor, known: Tensor, mask: Tensor) -> Tensor:
    """The estimate that the sampler gets: D·m + z_0·(1 − m)."""
    return denoised * mask + known * (1 - mask)
