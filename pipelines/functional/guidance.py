"""Guidance: from the two estimates of a step to one (Fooocus patch.py patched_sampling_function, compute_cfg)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .anisotropic import joint_bilateral_blur


def progress(timestep: float, dtype: torch.dtype = torch.float32) -> float:
    """p = 1 − t/999, computed in the network's dtype as Fooocus does; 0 at the start of a run, 1 at its end."""
    return float(1.0 - torch.tensor(timestep, dtype=dtype) / 999.0)


def without_negative(cfg: float) -> bool:
    """Whether the negative estimate, the sharpness and the guidance are all left out."""
    return math.isclose(cfg, 1.0)


def sharpened(e_positive: Tensor, positive: Tensor, sharpness: float, p: float) -> Tensor:
    """α·F(e⁺; P) + (1 − α)·e⁺ with α = 0.001·sharpness·p: smooth the noise where the estimate is even."""
    alpha = 0.001 * sharpness * p
    if alpha == 0:
        return e_positive
    return alpha * joint_bilateral_blur(e_positive, positive) + (1 - alpha) * e_positive


def adaptive_cfg(e_positive: Tensor, e_negative: Tensor, cfg: float, mimic: float, p: float) -> Tensor:
    """e⁻ + c·(e⁺ − e⁻), c = cfg; above `mimic`, c = p·cfg + (1 − p)·mimic: gentle early, full strength late.

    Fooocus's "CFG mimicking from TSNR".
    """
    scale = p * cfg + (1 - p) * mimic if cfg > mimic else cfg
    return e_negative + scale * (e_positive - e_negative)


def combine(
    x: Tensor,
    positive: Tensor,
    negative: Tensor | None,
    cfg: float,
    sharpness: float,
    mimic: float,
    p: float,
) -> Tensor:
    """The guided estimate D = x − e, from P = `positive` and U = `negative` (B, C, h, w) at the noisy x.

    e⁺ = x − P and e⁻ = x − U are not divided by σ. `mimic` is Fooocus's adaptive CFG, `p` its `progress`.
    At cfg 1 it is P itself, and `negative` may be None.
    """
    if without_negative(cfg):
        return positive
    if negative is None:
        raise ValueError(f"guidance at cfg {cfg} needs the negative estimate, got None")
    e = adaptive_cfg(sharpened(x - positive, positive, sharpness, p), x - negative, cfg, mimic, p)
    return x - e


def guided_eps(x: Tensor, denoised: Tensor, sigma: float) -> Tensor:
    """The guided noise in unit scale, ε = (x − D)/σ; its channel mean feeds the second run of refiner method `vae`."""
    return (x - denoised) / sigma
