"""FreeU V2 (Si et al. 2023, arXiv 2309.11497): amplify the decoder's backbone, attenuate its skips.

Both act on the two inputs that a decoder block concatenates, after ControlNet residuals were added to the skip.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fft import fftn, fftshift, ifftn, ifftshift


def gains(channels: int, base: int, b1: float, b2: float, s1: float, s2: float) -> tuple[float, float] | None:
    """Return (b, s) for a decoder layer whose hidden state has `channels` channels, None for a layer without gains.

    Layers of four times the network's `base` channels have (b1, s1), of twice (b2, s2): 1280 and 640 in SDXL.
    """
    return {4 * base: (b1, s1), 2 * base: (b2, s2)}.get(channels)


def backbone(h: Tensor, b: float) -> Tensor:
    """Multiply the first C/2 channels of h (B, C, H, W) by (b - 1)·M + 1, M the channel mean scaled to 0…1."""
    mean = h.mean(dim=1, keepdim=True)
    low, high = mean.amin(dim=(2, 3), keepdim=True), mean.amax(dim=(2, 3), keepdim=True)
    half = h.shape[1] // 2
    factor = (b - 1) * ((mean - low) / (high - low)) + 1
    return torch.cat([h[:, :half] * factor, h[:, half:]], dim=1)


def thinned(skip: Tensor, s: float) -> Tensor:
    """Multiply the lowest frequencies of the skip (B, C, H, W), the central 2 × 2 of its spectrum, by s."""
    height, width = skip.shape[-2:]
    spectrum = fftshift(fftn(skip.float(), dim=(-2, -1)), dim=(-2, -1))
    mask = torch.ones((height, width), device=skip.device)
    row, column = height // 2, width // 2
    mask[max(row - 1, 0) : row + 1, max(column - 1, 0) : column + 1] = s
    filtered: Tensor = ifftn(ifftshift(spectrum * mask, dim=(-2, -1)), dim=(-2, -1)).real
    return filtered.to(skip.dtype)
