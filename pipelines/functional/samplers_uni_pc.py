"""UniPC (Zhao et al. 2023, arXiv 2302.04867), multistep, data prediction, in variance-preserving coordinates.

alpha = 1/sqrt(1 + tau²), s = tau/sqrt(1 + tau²), lambda = ln alpha - ln s, x_vp = alpha·x. Scalars are float32 tensors
on the CPU, formed from ln alpha as Fooocus forms them: at tau = 0.001 their cancellation moves the result by 6e-5.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .noise import Noise
from .stepping import Callback, Denoise

LAST_TAU = 0.001  # replaces a final sigma of 0, where lambda would be infinite


def vp_scales(sigmas: Sequence[float]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return tau, alpha, s and lambda of a schedule, each (n + 1,) float32."""
    tau = torch.tensor([*sigmas[:-1], sigmas[-1] or LAST_TAU])
    log_alpha = 0.5 * (1 / (tau * tau + 1)).log()
    variance = 1 - (2 * log_alpha).exp()
    return tau, log_alpha.exp(), variance.sqrt(), log_alpha - 0.5 * variance.log()


def uni_pc(
    denoise: Denoise, x: Tensor, sigmas: Sequence[float], noise: Noise, callback: Callback, *, bh2: bool = False
) -> Tensor:
    """UniPC of order 3 with B(h) = hh, or e^hh - 1 for `bh2`; algorithms 1 and 2, hh = -h.

    Takes x in VP coordinates and returns it in those of the schedule. The corrector's evaluation is the next step's
    first, so n steps cost n evaluations. A schedule of one step only converts the coordinates.
    """
    n = len(sigmas) - 1
    highest = min(3, n - 1)
    tau, alpha, s, lam = vp_scales(sigmas)
    if n < 2:
        return x / alpha[-1]
    model = functools.partial(_data_prediction, denoise, tau=tau, alpha=alpha, s=s)
    estimates = [model(x, 0)]  # newest first
    callback(0, n, estimates[0], x)
    for i in range(1, n + 1):
        order = i if i < highest else min(highest, n + 1 - i)
        h = lam[i] - lam[i - 1]
        ratios = [(lam[i - 1 - j] - lam[i - 1]) / h for j in range(1, order)]
        differences = [(estimates[j] - estimates[0]) / r for j, r in enumerate(ratios, start=1)]
        phi = (-h).expm1()
        b_of_h = phi if bh2 else -h
        matrix, right = _conditions(torch.stack([*ratios, torch.ones(())]), -h, b_of_h)

        # predictor, UniP (algorithm 2)
        base = s[i] / s[i - 1] * x - alpha[i] * phi * estimates[0]
        predictor = _solve(matrix[:-1, :-1], right[:-1])
        predicted = base - alpha[i] * b_of_h * _weighted(predictor, differences, like=x)
        if i < n:  # corrector, UniC (algorithm 1)
            corrector = _solve(matrix, right)
            newest = model(predicted, i)
            change = _weighted(corrector, [*differences, newest - estimates[0]], like=x)
            x = base - alpha[i] * b_of_h * change
            estimates = [newest, *estimates[: highest - 1]]
        else:
            x = predicted
        if i < n - 1 or i == n:
            callback(min(i, n - 1), n, estimates[0], x)
    return x / alpha[n]


uni_pc_bh2 = functools.partial(uni_pc, bh2=True)


def _data_prediction(denoise: Denoise, x: Tensor, i: int, *, tau: Tensor, alpha: Tensor, s: Tensor) -> Tensor:
    """Return the clean latents D(x/alpha, tau) for x in VP coordinates."""
    return denoise(x / alpha[i], float(tau[i]))


def _conditions(ratios: Tensor, hh: Tensor, b_of_h: Tensor) -> tuple[Tensor, Tensor]:
    """Return the order conditions R rho = b of equation 8: R_k = r^(k-1), b_k = k!·q_k / B(h), q_1 = phi/hh - 1."""
    order = len(ratios)
    matrix = torch.stack([ratios**k for k in range(order)])
    q = hh.expm1() / hh - 1
    right = []
    for k in range(1, order + 1):
        right.append(q * math.factorial(k) / b_of_h)
        q = q / hh - 1 / math.factorial(k + 1)
    return matrix, torch.stack(right)


def _solve(matrix: Tensor, right: Tensor) -> list[float]:
    """Return rho, one weight for each difference; a single one is ½ by definition."""
    if len(right) < 2:
        return [0.5] * len(right)
    solution: list[float] = torch.linalg.solve(matrix, right).tolist()
    return solution


def _weighted(weights: Sequence[float], terms: Sequence[Tensor], like: Tensor) -> Tensor:
    total = torch.zeros_like(like)
    for weight, term in zip(weights, terms, strict=True):
        total = total + weight * term
    return total
