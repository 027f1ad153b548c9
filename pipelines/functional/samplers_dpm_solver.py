"""DPM-Solver (Lu et al. 2022, arXiv 2206.00927), fast and adaptive: single steps in t = -ln sigma.

Both read only the ends of the schedule and stop at its last positive sigma, so that much noise stays in the result.
Scalars are 0-dim float32 tensors on the CPU: the adaptive step size follows their rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from .noise import Noise
from .stepping import Callback, Denoise

R_TOL, A_TOL, FIRST_H, ACCEPT = 0.05, 0.0078, 0.05, 0.81


def dpm_fast(denoise: Denoise, x: Tensor, sigmas: Sequence[float], noise: Noise, callback: Callback) -> Tensor:
    """DPM-Solver-fast: one evaluation for each step of the schedule, in steps of order 3 and one or two lower."""
    evaluations = len(sigmas) - 1
    count = evaluations // 3 + 1
    rest = [2, 1] if evaluations % 3 == 0 else [evaluations % 3]
    orders = [3] * (count - len(rest)) + rest
    start, end = _ends(sigmas)
    times = torch.linspace(float(start), float(end), count + 1)
    for i, order in enumerate(orders):
        t, t_next = times[i], times[i + 1]
        eps, denoised = _eps(denoise, x, t)
        callback(i, count, denoised, x)
        x = (_first, _second, _third)[order - 1](denoise, x, eps, t, t_next)
    return x


def dpm_adaptive(denoise: Denoise, x: Tensor, sigmas: Sequence[float], noise: Noise, callback: Callback) -> Tensor:
    """DPM-Solver-23 with an adaptive step size that follows the local error.

    Every image of a batch takes its own steps: attempt i of all of them runs, then callback i, whose total is the
    number of attempts so far. Each call of the network takes the whole batch and uses one row of its result, so B
    images cost B² times the work of one.
    """
    rows = [x[k : k + 1] for k in range(len(x))]
    runs = [_adaptive_attempts(_only(denoise, x, k), rows[k], sigmas) for k in range(len(x))]
    estimates = list(rows)
    live = list(range(len(x)))
    i = 0
    while live:
        for k in list(live):
            attempt = next(runs[k], None)
            if attempt is None:
                live.remove(k)
            else:
                estimates[k], rows[k] = attempt
        if live:
            callback(i, i + 1, torch.cat(estimates), torch.cat(rows))
            i += 1
    return torch.cat(rows)


def _only(denoise: Denoise, batch: Tensor, k: int) -> Denoise:
    """Return the denoiser of row k, which passes the other rows of `batch` along."""

    def denoise_row(row: Tensor, sigma: float) -> Tensor:
        return denoise(torch.cat([batch[:k], row, batch[k + 1 :]]), sigma)[k : k + 1]

    return denoise_row


def _adaptive_attempts(denoise: Denoise, x: Tensor, sigmas: Sequence[float]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (denoised, x) after every attempted step, accepted or not."""
    s, end = _ends(sigmas)
    previous, h = x, FIRST_H
    while s < end - 1e-5:
        t = torch.minimum(end, s + h)
        eps, denoised = _eps(denoise, x, s)
        low, high = _second_and_third(denoise, x, eps, s, t)
        delta = (R_TOL * torch.maximum(low.abs(), previous.abs())).clamp(min=A_TOL)
        error = float(torch.linalg.norm((low - high) / delta) / x.numel() ** 0.5)
        if not math.isfinite(error):  # no step size would ever be accepted again
            yield denoised, high
            return
        factor = 1 + math.atan((1 / (error + 1e-8)) ** (1 / 3) - 1)
        h *= factor
        if factor >= ACCEPT:
            previous, x, s = low, high, t
        yield denoised, x


def _ends(sigmas: Sequence[float]) -> tuple[Tensor, Tensor]:
    last = sigmas[-1] if sigmas[-1] > 0 else sigmas[-2]
    return -torch.tensor(sigmas[0]).log(), -torch.tensor(last).log()


def _eps(denoise: Denoise, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Return eps = (x - D)/sigma and D at sigma = e^-t."""
    sigma = float((-t).exp())
    denoised = denoise(x, sigma)
    return (x - denoised) / sigma, denoised


def _first(denoise: Denoise, x: Tensor, eps: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
    """DPM-Solver-1, equation 3.7."""
    return x - (-t_next).exp() * (t_next - t).expm1() * eps


def _second(denoise: Denoise, x: Tensor, eps: Tensor, t: Tensor, t_next: Tensor, r1: float = 1 / 2) -> Tensor:
    """DPM-Solver-2, algorithm 1."""
    h = t_next - t
    eps1 = _eps_at(denoise, x, eps, t, h, r1)
    return _first(denoise, x, eps, t, t_next) - (-t_next).exp() / (2 * r1) * h.expm1() * (eps1 - eps)


def _third(denoise: Denoise, x: Tensor, eps: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
    """DPM-Solver-3, algorithm 2."""
    return _second_and_third(denoise, x, eps, t, t_next)[1]


def _second_and_third(denoise: Denoise, x: Tensor, eps: Tensor, t: Tensor, t_next: Tensor) -> tuple[Tensor, Tensor]:
    """Return the results of DPM-Solver-2 (r1 = 1/3) and DPM-Solver-3 (r2 = 2/3), which share two evaluations."""
    r1, r2 = 1 / 3, 2 / 3
    h = t_next - t
    sigma_next = (-t_next).exp()
    eps1 = _eps_at(denoise, x, eps, t, h, r1)
    s2 = t + r2 * h
    u2 = (
        x
        - (-s2).exp() * (r2 * h).expm1() * eps
        - (-s2).exp() * (r2 / r1) * ((r2 * h).expm1() / (r2 * h) - 1) * (eps1 - eps)
    )
    eps2, _ = _eps(denoise, u2, s2)
    first = _first(denoise, x, eps, t, t_next)
    low = first - sigma_next / (2 * r1) * h.expm1() * (eps1 - eps)
    high = first - sigma_next / r2 * (h.expm1() / h - 1) * (eps2 - eps)
    return low, high


def _eps_at(denoise: Denoise, x: Tensor, eps: Tensor, t: Tensor, h: Tensor, r: float) -> Tensor:
    """Return eps at t + r·h, reached by a step of order 1."""
    s = t + r * h
    return _eps(denoise, x - (-s).exp() * (r * h).expm1() * eps, s)[0]
