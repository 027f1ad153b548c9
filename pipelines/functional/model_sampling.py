"""Noise parameterisation of a network: noise levels, timesteps, prediction type (Fooocus model_sampling.py).

sigma and t are Python floats and tables are on the CPU, so nothing waits for a device. The conversion between sigma and
t is in float32 as in Fooocus: at t = 499.5, a timestep of `sgm_uniform`, its rounding decides the nearest timestep.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Prediction = Literal["eps", "v", "edm", "lcm"]

TIMESTEPS = 1000
TIE = 1e-6  # in ln sigma; neighbours in the table are 3e-3 or more apart
ALPHA_OF_ZERO_SNR = 4.8973451890853435e-08  # for alpha_bar = 0, whose sigma is infinite; the value in common use
BEFORE_ALL = 999999999.9  # sigma above every schedule


@cache
def alphas_cumprod() -> Tensor:
    """Return alpha_bar of the "scaled linear" beta schedule of SDXL and SD 1.5: (1000,) float64, 0.99915 … 0.00466.

    Computed in float64, because a float32 product is off by 1e-6.
    """
    betas = np.linspace(math.sqrt(0.00085), math.sqrt(0.012), TIMESTEPS, dtype=np.float64) ** 2
    return torch.from_numpy(np.cumprod(1.0 - betas))


@cache
def sigma_table() -> Tensor:
    """Return sigma_k = sqrt((1 - alpha_bar_k) / alpha_bar_k): (1000,) float32, 0.02917 … 14.61464."""
    alphas = alphas_cumprod()
    return ((1 - alphas) / alphas).sqrt().float()


@cache
def zero_snr_table() -> Tensor:
    """Return sigma with sqrt(alpha_bar) shifted and scaled to end in 0: (1000,) float32, 0.02917 … 4518.757.

    Lin et al. 2023, arXiv 2305.08891, algorithm 1.
    """
    roots = alphas_cumprod().sqrt()
    alphas = ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])) ** 2
    alphas[-1] = ALPHA_OF_ZERO_SNR
    return ((1 - alphas) / alphas).sqrt().float()


@dataclass(frozen=True, eq=False)
class ModelSampling:
    """A network trained at discrete noise levels. `table` (n,) increases; entry k has timestep first + k·stride."""

    table: Tensor
    prediction: Prediction = "eps"
    sigma_data: float = 1.0
    stride: int = 1
    first: int = 0

    @cached_property
    def log_table(self) -> Tensor:
        return self.table.log()

    @property
    def sigma_min(self) -> float:
        return float(self.table[0])

    @property
    def sigma_max(self) -> float:
        return float(self.table[-1])

    def timestep(self, sigma: float) -> float:
        """Return the table's timestep nearest in ln sigma; midway between two, the one with the even index.

        Distances within TIE count as equal, because processors round the float32 logarithm of a midpoint differently.
        """
        distance = (torch.tensor(sigma, dtype=torch.float32).log() - self.log_table).abs()
        nearest = (distance <= distance.min() + TIE).nonzero().flatten().tolist()
        index = min(nearest, key=lambda place: place % 2)
        return float(index * self.stride + self.first)

    def sigmas_at(self, timesteps: Tensor) -> Tensor:
        """Return float32 sigma at timesteps of any shape, log-linear within the table and clamped to its ends."""
        index = ((timesteps.float() - self.first) / self.stride).clamp(0, len(self.table) - 1)
        low, high, weight = index.floor().long(), index.ceil().long(), index.frac()
        return ((1 - weight) * self.log_table[low] + weight * self.log_table[high]).exp()

    def percent_to_sigma(self, percent: float) -> float:
        """Return sigma after a fraction of the timesteps: above every schedule for 0, no noise for 1."""
        if percent <= 0:
            return BEFORE_ALL
        if percent >= 1:
            return 0.0
        return float(self.sigmas_at(torch.tensor((1 - percent) * (TIMESTEPS - 1))))

    def scaled_input(self, x: Tensor, sigma: float) -> Tensor:
        """Return the network's input x / sqrt(sigma² + sigma_d²)."""
        return x / math.sqrt(sigma**2 + self.sigma_data**2)

    def denoised(self, x: Tensor, output: Tensor, sigma: float) -> Tensor:
        """Return the estimate D from the network's output at x (not scaled), both (B, C, h, w); computed in float32.

        eps  x - sigma·o
        v    x·sigma_d²/(sigma² + sigma_d²) - o·sigma·sigma_d/sqrt(sigma² + sigma_d²)
        edm  the same with plus
        lcm  c_out·(x - sigma·o) + c_skip·x  with tau = 10·t, c_skip = ¼/(tau² + ¼), c_out = tau/sqrt(tau² + ¼)
        """
        output = output.float()
        if self.prediction == "eps":
            return x - sigma * output
        if self.prediction == "lcm":
            tau = 10 * self.timestep(sigma)
            return (x - sigma * output) * (tau / math.sqrt(tau**2 + 0.25)) + x * (0.25 / (tau**2 + 0.25))
        total = sigma**2 + self.sigma_data**2
        sign = 1 if self.prediction == "edm" else -1
        return x * (self.sigma_data**2 / total) + output * (sign * sigma * self.sigma_data / math.sqrt(total))


@dataclass(frozen=True, eq=False)
class ContinuousSampling(ModelSampling):
    """A network conditioned on t = ¼ ln sigma for any sigma of its range (EDM, Karras et al. 2022)."""

    def timestep(self, sigma: float) -> float:
        return 0.25 * math.log(sigma) if sigma > 0 else -math.inf

    def sigmas_at(self, timesteps: Tensor) -> Tensor:
        return (timesteps.float() * 4).exp()

    def percent_to_sigma(self, percent: float) -> float:
        if percent <= 0:
            return BEFORE_ALL
        if percent >= 1:
            return 0.0
        return math.exp((1 - percent) * math.log(self.sigma_max) + percent * math.log(self.sigma_min))


@cache
def discrete(prediction: Prediction = "eps", zero_snr: bool = False) -> ModelSampling:
    """Return the 1000 timesteps of SDXL, its refiner and SD 1.5, or those of zero terminal SNR."""
    return ModelSampling(zero_snr_table() if zero_snr else sigma_table(), prediction)


@cache
def distilled(prediction: Prediction) -> ModelSampling:
    """Return the 50 timesteps 19, 39 … 999 of consistency-distilled networks (schedulers `lcm` and `tcd`)."""
    return ModelSampling(sigma_table()[19::20].contiguous(), prediction, stride=20, first=19)


@cache
def playground() -> ModelSampling:
    """Return Playground v2.5's EDM over sigma 0.002 … 120 with sigma_d = ½ (scheduler `edm_playground_v2.5`)."""
    table = torch.linspace(math.log(0.002), math.log(120), TIMESTEPS).exp()
    return ContinuousSampling(table, "edm", sigma_data=0.5)
