"""Samplers that follow the slope d = (x - D) / sigma: Euler, Heun, DPM2, LMS, and DDPM, LCM and TCD.

`stepping` describes their arguments; `eta` and `s_noise` scale the noise of ancestral steps, as in k-diffusion.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor

from .model_sampling import ModelSampling, alphas_cumprod
from .noise import Noise
from .stepping import Callback, Denoise, ancestral, geometric_mean, slope, steps


def euler(denoise: Denoise, x: Tensor, sigmas: Sequence[float], noise: Noise, callback: Callback) -> Tensor:
    """Euler's method, which is also DDIM. Karras et al. 2022, algorithm 2 without churn."""
    for i, a, b in steps(sigmas):
        denoised = denoise(x, a)
        callback(i, len(sigmas) - 1, denoised, x)
        x = x + slope(x, a, denoised) * (b - a)
    return x


def euler_ancestral(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sequence[float],
    noise: Noise,
    callback: Callback,
    *,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Tensor:
    """Ancestral sampling with Euler steps: a step to a lower noise level, then noise up to the next one."""
    for i, a, b in steps(sigmas):
        denoised = denoise(x, a)
        callback(i, len(sigmas) - 1, denoised, x)
        down, up = ancestral(a, b, eta)
        x = x + slope(x, a, denoised) * (down - a)
        if up > 0:
            x = x + up * s_noise * noise(a, b)
    return x


def heun_step(denoise: Denoise, x: Tensor, denoised: Tensor, a: float, b: float) -> Tensor:
    """Take one step of Heun's method from a to b, given D(x, a). Karras et al. 2022, algorithm 1."""
    d = slope(x, a, denoised)
    x2 = x + d * (b - a)  # Euler's method
    if b == 0:
        return x2
    d2 = slope(x2, b, denoise(x2, b))
    return x + (d + d2) / 2 * (b - a)  # trapezoidal rule


def heun(denoise: Denoise, x: Tensor, sigmas: Sequence[float], noise: Noise, callback: Callback) -> Tensor:
    """Heun's second-order method. Karras et al. 2022, algorithm 1 without churn."""
    for i, a, b in steps(sigmas):
        denoised = denoise(x, a)
        callback(i, len(sigmas) - 1, denoised, x)
        x = heun_step(denoise, x, denoised, a, b)
    return x


def heunpp2(denoise: Denoise, x: Tensor, sigmas: Sequence[float], noise: Noise, callback: Callback) -> Tensor:
    """Heun's method with slopes from up to two steps ahead, weighted by noise level (Carlos Lizarraga's heunpp2)."""
    first, end = sigmas[0], sigmas[-1]
    for i, a, b in steps(sigmas):
        denoised = denoise(x, a)
        callback(i, len(sigmas) - 1, denoised, x)
        d = slope(x, a, denoised)
        x2 = x + d * (b - a)
        if b == end:  # Euler's method
            x = x2
            continue
        d2 = slope(x2, b, denoise(x2, b))
        c = sigmas[i + 2]
        if c == end:  # Heun's method, weighted
            w2 = b / (2 * first)
            mean = (1 - w2) * d + w2 * d2
        else:
            x3 = x2 + d2 * (c - b)
            d3 = slope(x3, c, denoise(x3, c))
            w2, w3 = b / (3 * first), c / (3 * first)
            mean = (1 - w2 - w3) * d + w2 * d2 + w3 * d3
        x = x + mean * (b - a)
    return x


def dpm_2(denoise: Denoise, x: Tensor, sigmas: Sequence[float], noise: Noise, callback: Callback) -> Tensor:
    """The midpoint method with the midpoint in ln sigma, as in DPM-Solver-2. Lu et al. 2022, algorithm 1."""
    for i, a, b in steps(sigmas):
        denoised = denoise(x, a)
        callback(i, len(sigmas) - 1, denoised, x)
        d = slope(x, a, denoised)
        if b > 0:
            d = _slope_at_midpoint(denoise, x, d, a, b)
        x = x + d * (b - a)
    return x


def dpm_2_ancestral(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sequence[float],
    noise: Noise,
    callback: Callback,
    *,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Tensor:
    """Ancestral sampling with steps of `dpm_2`."""
    for i, a, b in steps(sigmas):
        denoised = denoise(x, a)
        callback(i, len(sigmas) - 1, denoised, x)
        down, up = ancestral(a, b, eta)
        d = slope(x, a, denoised)
        if down > 0:
            d = _slope_at_midpoint(denoise, x, d, a, down)
        x = x + d * (down - a)
        if up > 0:
            x = x + up * s_noise * noise(a, b)
    return x


def _slope_at_midpoint(denoise: Denoise, x: Tensor, d: Tensor, a: float, b: float) -> Tensor:
    middle = geometric_mean(a, b)
    x2 = x + d * (middle - a)
    return slope(x2, middle, denoise(x2, middle))


def lms(denoise: Denoise, x: Tensor, sigmas: Sequence[float], noise: Noise, callback: Callback) -> Tensor:
    """The linear multistep method of order 4: integrate the polynomial through the last four slopes."""
    history: deque[Tensor] = deque(maxlen=4)  # newest first
    for i, a, b in steps(sigmas):
        denoised = denoise(x, a)
        callback(i, len(sigmas) - 1, denoised, x)
        history.appendleft(slope(x, a, denoised))
        nodes = [sigmas[i - j] for j in range(len(history))]
        for j, d in enumerate(history):
            x = x + _lagrange_integral(nodes, j, a, b) * d
    return x


def _lagrange_integral(nodes: Sequence[float], j: int, a: float, b: float) -> float:
    """Integrate the j-th Lagrange basis polynomial from a to b, with two Gauss points: exact up to degree 3."""
    others = [node for k, node in enumerate(nodes) if k != j]
    middle, offset = (a + b) / 2, (b - a) / (2 * math.sqrt(3))
    return sum(
        (b - a) / 2 * math.prod((tau - other) / (nodes[j] - other) for other in others)
        for tau in (middle - offset, middle + offset)
    )


def ddpm(denoise: Denoise, x: Tensor, sigmas: Sequence[float], noise: Noise, callback: Callback) -> Tensor:
    """DDPM's ancestral sampling, in variance-preserving coordinates z. Ho et al. 2020, algorithm 2."""
    for i, a, b in steps(sigmas):
        denoised = denoise(x, a)
        callback(i, len(sigmas) - 1, denoised, x)
        alpha_bar, alpha_bar_next = 1 / (1 + a**2), 1 / (1 + b**2)
        alpha = alpha_bar / alpha_bar_next
        eps = slope(x, a, denoised)
        z = x / math.sqrt(1 + a**2)
        z = (z - (1 - alpha) / math.sqrt(1 - alpha_bar) * eps) / math.sqrt(alpha)  # posterior mean
        if b > 0:
            z = z + math.sqrt((1 - alpha) * (1 - alpha_bar_next) / (1 - alpha_bar)) * noise(a, b)
        x = z * math.sqrt(1 + b**2)
    return x


def lcm(denoise: Denoise, x: Tensor, sigmas: Sequence[float], noise: Noise, callback: Callback) -> Tensor:
    """Multistep consistency sampling: the estimate, then fresh noise. Luo et al. 2023, algorithm 3."""
    for i, a, b in steps(sigmas):
        denoised = denoise(x, a)
        callback(i, len(sigmas) - 1, denoised, x)
        x = denoised + b * noise(a, b) if b > 0 else denoised
    return x


def tcd(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sequence[float],
    noise: Noise,
    callback: Callback,
    *,
    sampling: ModelSampling,
    gamma: float = 0.3,
) -> Tensor:
    """Trajectory consistency sampling: a step to the timestep s = floor((1 - gamma)·t(sigma')), then noise to sigma'.

    Zheng et al. 2024, algorithm 2. The callback receives the latents at s, not the estimate. On schedules of other
    tables the variance of the last step can be slightly negative, where Fooocus returns NaN; here it becomes 0.
    """
    targets = [_alpha_bar(math.floor((1 - gamma) * sampling.timestep(s))) for s in sigmas[1:-1]] + [_alpha_bar(0)]
    for i, a, b in steps(sigmas):
        denoised = denoise(x, a)
        alpha_bar = targets[i]
        at_s = math.sqrt(alpha_bar) * denoised + math.sqrt(1 - alpha_bar) * slope(x, a, denoised)
        callback(i, len(sigmas) - 1, at_s, x)
        x = at_s
        if b > 0:
            variance = max(0.0, b**2 + 1 - 1 / alpha_bar)
            x = x / math.sqrt(alpha_bar) + math.sqrt(variance) * noise(a, b)
    return x


def _alpha_bar(timestep: float) -> float:
    table = alphas_cumprod()
    return float(table[int(min(max(timestep, 0), len(table) - 1))].to(torch.float32))
