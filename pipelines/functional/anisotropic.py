"""The edge-preserving blur behind Fooocus's sharpness (Fooocus anisotropic.py)."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import pad

RADIUS = 6  # of the 13 × 13 window, in latent cells
SIGMA_SPACE = 3.0
SIGMA_COLOUR = 3.0


@cache
def gaussian_taps() -> tuple[float, ...]:
    """Return the 13 normalised taps of a Gaussian of sigma = 3."""
    taps = (torch.arange(-RADIUS, RADIUS + 1) / SIGMA_SPACE).square().mul(-0.5).exp()
    return tuple((taps / taps.sum()).tolist())


@cache
def taps_on(device: torch.device) -> Tensor:
    """Return the taps (13,) float32 on a device, copied there once: a copy at every step would stall a GPU."""
    with torch.inference_mode(False):
        return torch.tensor(gaussian_taps(), device=device)


def joint_bilateral_blur(e: Tensor, guide: Tensor) -> Tensor:
    """Blur `e` where `guide` is smooth: F(e)(q) = sum_o w·e(q + o) / sum_o w. Both and the result are (B, C, H, W).

    w = gauss(o)·exp(-½ (sum_c |g(q + o) - g(q)|)² / 3²), with g the guide normalised per image and edges reflected.
    Latents with a side below 7 cells, at which Fooocus stops, repeat their edge cells instead.

    The window is processed row by row as views: 13 passes, and memory for 13 images. One pass per offset would be 169
    passes; the whole window at once, memory for 169 images.
    """
    height, width = e.shape[-2:]
    std, mean = torch.std_mean(guide, dim=(1, 2, 3), keepdim=True)
    g = (guide - mean) / (std + 1e-5)
    mode = "reflect" if min(height, width) > RADIUS else "replicate"
    rows_e, rows_g = (pad(t, (RADIUS,) * 4, mode=mode).unfold(-1, width, 1) for t in (e, g))  # (B, C, H + 12, 13, W)
    centre = g.unsqueeze(-2)
    taps = taps_on(e.device)[:, None]

    blurred = torch.zeros_like(e)
    total = torch.zeros_like(e[:, :1])
    for i, tap in enumerate(gaussian_taps()):
        row = slice(i, i + height)
        distance = (rows_g[:, :, row] - centre).abs().sum(dim=1, keepdim=True)  # (B, 1, H, 13, W)
        weight = distance.square_().mul_(-0.5 / SIGMA_COLOUR**2).exp_().mul_(taps * tap)
        blurred.add_((weight * rows_e[:, :, row]).sum(dim=-2))
        total.add_(weight.sum(dim=-2))
    return blurred / total
