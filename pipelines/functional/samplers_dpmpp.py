"""DPM-Solver++ (Lu et al. 2022, arXiv 2211.01095): samplers in terms of the estimate D and of λ = −ln σ."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .noise import Noise
from .stepping import Callback, Denoise, ancestral, geometric_mean, slope, steps


def dpmpp_2s_ancestral(
    denoise: Denoise, x: Tensor, sigmas: Sequence[float], noise: Noise, callback: Callback
) -> Tensor:
    """DPM-Solver++(2S), algorithm 1 with r = ½, to a lower level than asked for, then noise up to it."""
    for i, a, b in steps(sigmas):
        denoised = denoise(x, a)
        callback(i, len(sigmas) - 1, denoised, x)
        down, up = ancestral(a, b)
        if down == 0:
            x = x + slope(x, a, denoised) * (down - a)
        else:
            h = math.log(a / down)
            middle = geometric_mean(a, down)
            x2 = middle / a * x - math.expm1(-h / 2) * denoised
            x = down / a * x - math.expm1(-h) * denoise(x2, middle)
        if b > 0:
            x = x + up * noise(a, b)
    return x


def dpmpp_sde(denoise: Denoise, x: Tensor, sigmas: Sequence[float], noise: Noise, callback: Callback) -> Tensor:
    """The stochastic DPM-Solver++(2S) with r = ½ and η = 1: the second estimate alone decides the step."""
    for i, a, b in steps(sigmas):
        denoised = denoise(x, a)
        callback(i, len(sigmas) - 1, denoised, x)
        if b == 0:
            x = denoised
            continue
        a, middle, b = _through_float32(a, b)
        x2 = _towards(x, denoised, a, middle) + ancestral(a, middle)[1] * noise(a, middle)
        x = _towards(x, denoise(x2, middle), a, b) + ancestral(a, b)[1] * noise(a, b)
    return x


def _through_float32(a: float, b: float) -> tuple[float, float, float]:
    """(a, √(ab), b) by way of t = −ln σ in float32.

    A Brownian path is rough: a middle that is off in the seventh digit meets noise that is off in the third.
    """
    t, t_next = -torch.tensor(a).log(), -torch.tensor(b).log()
    return float((-t).exp()), float((-(t + (t_next - t) * 0.5)).exp()), float((-t_next).exp())


def _towards(x: Tensor, denoised: Tensor, a: float, b: float) -> Tensor:
    down, _ = ancestral(a, b)
    return down / a * x + (1 - down / a) * denoised


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
        ahead = denoised
        if previous is not None:
            r = math.log(sigmas[i - 1] / a) / h
            ahead = (1 + 1 / (2 * r)) * denoised - 1 / (2 * r) * previous
        x = b / a * x - math.expm1(-h) * ahead
        previous = denoised
    return x


def dpmpp_2m_sde(denoise: Denoise, x: Tensor, sigmas: Sequence[float], noise: Noise, callback: Callback) -> Tensor:
    """The stochastic DPM-Solver++(2M), midpoint form, η = 1; g = h + η·h is the step of the SDE."""
    previous: Tensor | None = None
    h_previous = 0.0
    for i, a, b in steps(sigmas):
        denoised = denoise(x, a)
        callback(i, len(sigmas) - 1, denoised, x)
        if b == 0:
            x = denoised
            continue
        h = math.log(a / b)
        g = 2 * h
        x = b / a * math.exp(-h) * x - math.expm1(-g) * denoised
        if previous is not None:
            x = x - 0.5 * math.expm1(-g) * (h / h_previous) * (denoised - previous)
        x = x + b * math.sqrt(-math.expm1(-2 * h)) * noise(a, b)
        previous, h_previous = denoised, h
    return x


def dpmpp_3m_sde(denoise: Denoise, x: Tensor, sigmas: Sequence[float], noise: Noise, callback: Callback) -> Tensor:
    """The stochastic DPM-Solver++(3M), η = 1; φ2 and φ3 are the exponential integrators' functions of g = 2h."""
    history: list[tuple[float, Tensor]] = []  # (h, D) of the earlier steps, newest first
    for i, a, b in steps(sigmas):
        denoised = denoise(x, a)
        callback(i, len(sigmas) - 1, denoised, x)
        if b == 0:
            x = denoised
            continue
        h = math.log(a / b)
        g = 2 * h
        phi2 = math.expm1(-g) / g + 1
        phi3 = phi2 / g - 0.5
        x = math.exp(-g) * x - math.expm1(-g) * denoised
        if len(history) == 1:
            ((h1, d1),) = history
            x = x + phi2 / (h1 / h) * (denoised - d1)
        elif history:
            (h1, d1), (h2, d2) = history
            r0, r1 = h1 / h, h2 / h
            p, q = (denoised - d1) / r0, (d1 - d2) / r1
            x = x + phi2 * (p + (p - q) * (r0 / (r0 + r1))) - phi3 / (r0 + r1) * (p - q)
        x = x + b * math.sqrt(-math.expm1(-2 * h)) * noise(a, b)
        history = [(h, denoised), *history[:1]]
    return x
