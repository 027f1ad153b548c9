"""DPM-Solver++ (Lu et al. 2022, arXiv 2211.01095): samplers in terms of the estimate D and of lambda = -ln sigma.

`eta` scales the noise of the stochastic ones (0 is deterministic, 1 the full SDE) and `s_noise` its standard deviation,
as in k-diffusion.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .noise import Noise
from .stepping import Callback, Denoise, ancestral, geometric_mean, slope, steps


def dpmpp_2s_ancestral(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sequence[float],
    noise: Noise,
    callback: Callback,
    *,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Tensor:
    """Ancestral sampling with steps of DPM-Solver++(2S), algorithm 1 with r = ½."""
    for i, a, b in steps(sigmas):
        denoised = denoise(x, a)
        callback(i, len(sigmas) - 1, denoised, x)
        down, up = ancestral(a, b, eta)
        if down == 0:  # Euler's method
            x = x + slope(x, a, denoised) * (down - a)
        else:
            h = math.log(a / down)
            middle = geometric_mean(a, down)
            x2 = middle / a * x - math.expm1(-h / 2) * denoised  # u in the paper
            x = down / a * x - math.expm1(-h) * denoise(x2, middle)
        if up > 0:
            x = x + up * s_noise * noise(a, b)
    return x


def dpmpp_sde(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sequence[float],
    noise: Noise,
    callback: Callback,
    *,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Tensor:
    """SDE-DPM-Solver++ of order 2 as a single step, r = ½: only the second estimate enters the result."""
    for i, a, b in steps(sigmas):
        denoised = denoise(x, a)
        callback(i, len(sigmas) - 1, denoised, x)
        if b == 0:
            x = denoised
            continue
        a, middle, b = _through_float32(a, b)
        x2 = _ancestral_step(x, denoised, a, middle, noise, eta, s_noise)
        x = _ancestral_step(x, denoise(x2, middle), a, b, noise, eta, s_noise)
    return x


def _through_float32(a: float, b: float) -> tuple[float, float, float]:
    """Return (a, sqrt(ab), b), computed from t = -ln sigma in float32 as Fooocus does.

    A Brownian path is rough: an error in the seventh digit of the midpoint changes the third digit of the noise.
    """
    t, t_next = -torch.tensor(a).log(), -torch.tensor(b).log()
    return float((-t).exp()), float((-(t + (t_next - t) * 0.5)).exp()), float((-t_next).exp())


def _ancestral_step(
    x: Tensor, denoised: Tensor, a: float, b: float, noise: Noise, eta: float, s_noise: float
) -> Tensor:
    down, up = ancestral(a, b, eta)
    x = down / a * x + (1 - down / a) * denoised
    return x + up * s_noise * noise(a, b) if up > 0 else x


def dpmpp_2m(denoise: Denoise, x: Tensor, sigmas: Sequence[float], noise: Noise, callback: Callback) -> Tensor:
    """DPM-Solver++(2M), algorithm 2."""
    previous: Tensor | None = None
    for i, a, b in steps(sigmas):
        denoised = denoise(x, a)
        callback(i, len(sigmas) - 1, denoised, x)
        if b == 0:
            x = denoised
            continue
        h = math.log(a / b)
        extrapolated = denoised  # to the middle of the step
        if previous is not None:
            r = math.log(sigmas[i - 1] / a) / h
            extrapolated = (1 + 1 / (2 * r)) * denoised - 1 / (2 * r) * previous
        x = b / a * x - math.expm1(-h) * extrapolated
        previous = denoised
    return x


def dpmpp_2m_sde(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sequence[float],
    noise: Noise,
    callback: Callback,
    *,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Tensor:
    """SDE-DPM-Solver++(2M), midpoint form; g = h + eta·h is the step of the SDE in lambda."""
    previous: Tensor | None = None
    h_previous = 0.0
    for i, a, b in steps(sigmas):
        denoised = denoise(x, a)
        callback(i, len(sigmas) - 1, denoised, x)
        if b == 0:
            x = denoised
            continue
        h = math.log(a / b)
        g = h + eta * h
        x = b / a * math.exp(-eta * h) * x - math.expm1(-g) * denoised  # order 1
        if previous is not None:
            x = x - 0.5 * math.expm1(-g) * (h / h_previous) * (denoised - previous)  # order 2
        if eta > 0:
            x = x + b * math.sqrt(-math.expm1(-2 * eta * h)) * s_noise * noise(a, b)
        previous, h_previous = denoised, h
    return x


def dpmpp_3m_sde(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sequence[float],
    noise: Noise,
    callback: Callback,
    *,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Tensor:
    """SDE-DPM-Solver++(3M); g = h + eta·h is the SDE's step in lambda, phi2 and phi3 are its integrator's factors."""
    history: list[tuple[float, Tensor]] = []  # (h, D) of the earlier steps, newest first
    for i, a, b in steps(sigmas):
        denoised = denoise(x, a)
        callback(i, len(sigmas) - 1, denoised, x)
        if b == 0:
            x = denoised
            continue
        h = math.log(a / b)
        g = h + eta * h
        phi2 = math.expm1(-g) / g + 1
        phi3 = phi2 / g - 0.5
        x = math.exp(-g) * x - math.expm1(-g) * denoised  # order 1
        if len(history) == 1:  # order 2
            ((h1, d1),) = history
            x = x + phi2 / (h1 / h) * (denoised - d1)
        elif history:  # order 3
            (h1, d1), (h2, d2) = history
            r0, r1 = h1 / h, h2 / h
            p, q = (denoised - d1) / r0, (d1 - d2) / r1
            x = x + phi2 * (p + (p - q) * (r0 / (r0 + r1))) - phi3 / (r0 + r1) * (p - q)
        if eta > 0:
            x = x + b * math.sqrt(-math.expm1(-2 * eta * h)) * s_noise * noise(a, b)
        history = [(h, denoised), *history[:1]]
    return x
