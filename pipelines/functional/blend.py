"""Inpainting in latent space, which keeps the known region (Fooocus patch.py: KSamplerX0Inpaint).

Masks are (B, 1, h, w), 1 = repaint; `known` (B, C, h, w) are the image's clean latents in the network's scale.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from .stepping import Denoise


def with_known_region(x: Tensor, sigma: float, known: Tensor, mask: Tensor, noise: Tensor) -> Tensor:
    """Return the network's input x·m + (z_0 + sigma·n)·(1 - m); `noise` is new in every evaluation."""
    return x * mask + (known + sigma * noise) * (1 - mask)


def keep_known_region(denoised: Tensor, known: Tensor, mask: Tensor) -> Tensor:
    """Return the sampler's estimate D·m + z_0·(1 - m)."""
    return denoised * mask + known * (1 - mask)


def known_region_reimposed(denoise: Denoise, known: Tensor, mask: Tensor, fresh: Callable[[], Tensor]) -> Denoise:
    """Wrap `denoise` so that each call sees the known region under new noise and returns it unchanged.

    `fresh` draws the next unit noise (B, C, h, w) on the device of x.
    """

    def reimposed(x: Tensor, sigma: float) -> Tensor:
        noisy = with_known_region(x, sigma, known, mask, fresh())
        return keep_known_region(denoise(noisy, sigma), known, mask)

    return reimposed
