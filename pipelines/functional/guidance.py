"""Guidance: combines the two estimates of a step into one (Fooocus patch.py patched_sampling_function, compute_cfg)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .anisotropic import joint_bilateral_blur


def progress(timestep: float, dtype: torch.dtype = torch.float32) -> float:
    """Return p = 1 - t/999, 0 at the start of a run and 1 at its end; computed in the network's dtype as in Fooocus."""
    return float(1.0 - torch.tensor(timestep, dtype=dtype) / 999.0)


def without_negative(cfg: float) -> bool:
    """Return True when `cfg` is 1: no negative estimate, no sharpness, no guidance."""
    return math.isclose(cfg, 1.0)


def sharpened(e_positive: Tensor, positive: Tensor, sharpness: float, p: float) -> Tensor:
    """Return a·F(e_pos; P) + (1 - a)·e_pos with a = 0.001·sharpness·p: noise blurred where the estimate is smooth."""
    alpha = 0.001 * sharpness * p
    if alpha == 0:
        return e_positive
    return alpha * joint_bilateral_blur(e_positive, positive) + (1 - alpha) * e_positive


def adaptive_cfg(e_positive: Tensor, e_negative: Tensor, cfg: float, mimic: float, p: float) -> Tensor:
    """Return e_neg + c·(e_pos - e_neg) with c = cfg; above `mimic`, c = p·cfg + (1 - p)·mimic, growing over the run.

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
    """Return the guided estimate D = x - e, from P = `positive` and U = `negative` (B, C, h, w) at the noisy x.

    e_pos = x - P and e_neg = x - U are not divided by sigma. `mimic` is Fooocus's adaptive CFG, `p` its `progress`.
    At cfg 1 it returns P, and `negative` may be None.
    """
    if without_negative(cfg):
        return positive
    if negative is None:
        raise ValueError(f"guidance at cfg {cfg} needs the negative estimate, got None")
    e = adaptive_cfg(sharpened(x - positive, positive, sharpness, p), x - negative, cfg, mimic, p)
    return x - e


def guided_eps(x: Tensor, denoised: Tensor, sigma: float) -> Tensor:
    """Return the guided noise eps = (x - D)/sigma; refiner method `vae` starts its second run from its channel mean."""
    return (x - denoised) / sigma
