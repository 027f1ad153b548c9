"""Schedules: the noise levels of a run (Fooocus samplers.py, sample_hijack.py, default_pipeline.py).

A schedule is a decreasing float32 tensor on the CPU that normally ends in 0; step i goes from sigma_i to sigma_{i+1}.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from .model_sampling import ModelSampling, Prediction, discrete, distilled, playground

# NVIDIA's "Align Your Steps" (Sabour et al. 2024): the ten-step schedules as published.
ALIGN_YOUR_STEPS_SDXL = (
    14.6146412293, 6.3184485287, 3.7681790315, 2.1811480769, 1.3405244945, 0.8620721141,
    0.5550693289, 0.3798540708, 0.2332364134, 0.1114188177, 0.0291671582,
)  # fmt: skip
ALIGN_YOUR_STEPS_SD15 = (
    14.6146412293, 6.4745760956, 3.8636745985, 2.6946151520, 1.8841921177, 1.3943805092,
    0.9642583904, 0.6523686016, 0.3977456272, 0.1515232662, 0.0291671582,
)  # fmt: skip

# Fooocus lists these two, but its KSampler does not know them and falls back to `normal`.
READ_AS_NORMAL = ("turbo", "align_your_steps")


def karras(steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Tensor:
    """Evenly spaced in sigma^(1/rho), then 0: (steps + 1,). Karras et al. 2022, equation 5."""
    ramp = torch.linspace(0, 1, steps)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return _then_zero((high + ramp * (low - high)) ** rho)


def exponential(steps: int, sigma_min: float, sigma_max: float) -> Tensor:
    """Evenly spaced in ln sigma, then 0: (steps + 1,)."""
    return _then_zero(torch.linspace(math.log(sigma_max), math.log(sigma_min), steps).exp())


def normal(steps: int, sampling: ModelSampling) -> Tensor:
    """Evenly spaced timesteps from the first to the last, then 0: (steps + 1,)."""
    first, last = sampling.timestep(sampling.sigma_max), sampling.timestep(sampling.sigma_min)
    return _then_zero(sampling.sigmas_at(torch.linspace(first, last, steps)))


def sgm_uniform(steps: int, sampling: ModelSampling) -> Tensor:
    """Evenly spaced timesteps without the last one, then 0: (steps + 1,). Stability AI's generative-models."""
    first, last = sampling.timestep(sampling.sigma_max), sampling.timestep(sampling.sigma_min)
    return _then_zero(sampling.sigmas_at(torch.linspace(first, last, steps + 1)[:-1]))


def simple(steps: int, sampling: ModelSampling) -> Tensor:
    """Every (n/steps)-th entry of the table from its end, then 0: (steps + 1,)."""
    stride = len(sampling.table) / steps
    return _then_zero(torch.stack([sampling.table[-(1 + int(i * stride))] for i in range(steps)]))


def ddim_uniform(steps: int, sampling: ModelSampling) -> Tensor:
    """Table entries 1, 1 + s, 1 + 2s … with s = floor(n/steps), reversed, then 0: often longer than steps + 1."""
    return _then_zero(sampling.table[1 :: max(1, len(sampling.table) // steps)].flip(0))


def turbo(steps: int, sampling: ModelSampling) -> Tensor:
    """Timesteps 999, 899 … 99, the first `steps` of them, then 0: at most 11 entries (SDXL Turbo)."""
    return _then_zero(sampling.sigmas_at(torch.arange(999, 0, -100)[:steps]))


def align_your_steps(steps: int, sdxl: bool) -> Tensor:
    """The published ten steps, log-linear in between for another count; the last level becomes 0: (steps + 1,)."""
    levels = np.array(ALIGN_YOUR_STEPS_SDXL if sdxl else ALIGN_YOUR_STEPS_SD15)
    if steps + 1 != len(levels):
        grid = np.linspace(0, 1, len(levels))
        levels = np.exp(np.interp(np.linspace(0, 1, steps + 1), grid, np.log(levels[::-1])))[::-1]
    sigmas = torch.from_numpy(levels.astype(np.float32))
    sigmas[-1] = 0
    return sigmas


def _then_zero(sigmas: Tensor) -> Tensor:
    return torch.cat([sigmas, sigmas.new_zeros(1)])


_GENERATORS: dict[str, Callable[[int, ModelSampling, bool], Tensor]] = {
    "normal": lambda n, sampling, sdxl: normal(n, sampling),
    "karras": lambda n, sampling, sdxl: karras(n, sampling.sigma_min, sampling.sigma_max),
    "exponential": lambda n, sampling, sdxl: exponential(n, sampling.sigma_min, sampling.sigma_max),
    "sgm_uniform": lambda n, sampling, sdxl: sgm_uniform(n, sampling),
    "simple": lambda n, sampling, sdxl: simple(n, sampling),
    "ddim_uniform": lambda n, sampling, sdxl: ddim_uniform(n, sampling),
    "turbo": lambda n, sampling, sdxl: turbo(n, sampling),
    "align_your_steps": lambda n, sampling, sdxl: align_your_steps(n, sdxl),
}

_SPECIAL: dict[str, tuple[str, Callable[[], ModelSampling]]] = {
    "lcm": ("sgm_uniform", lambda: distilled("lcm")),
    "tcd": ("sgm_uniform", lambda: distilled("eps")),
    "edm_playground_v2.5": ("karras", playground),
}

SCHEDULERS = (*_GENERATORS, *_SPECIAL)


def effective(
    scheduler: str, prediction: Prediction = "eps", as_fooocus: bool = False, zero_snr: bool = False
) -> tuple[str, ModelSampling]:
    """Return the generator of a scheduler's noise levels, and the noise parameterisation of the networks in the run.

    `lcm`, `tcd` and `edm_playground_v2.5` replace the parameterisation of the base and the refiner, whatever their
    `prediction`. `as_fooocus` samples `turbo` and `align_your_steps` as `normal`, as Fooocus does.
    """
    if scheduler not in SCHEDULERS:
        raise ValueError(f"unknown scheduler {scheduler!r}; known: {', '.join(SCHEDULERS)}")
    if scheduler in _SPECIAL:
        generator, sampling = _SPECIAL[scheduler]
        return generator, sampling()
    if as_fooocus and scheduler in READ_AS_NORMAL:
        scheduler = "normal"
    return scheduler, discrete(prediction, zero_snr)


def schedule(
    generator: str,
    sampling: ModelSampling,
    steps: int,
    denoise: float = 1.0,
    discard_penultimate: bool = False,
    sdxl: bool = True,
) -> Tensor:
    """Return the schedule of a run: the last steps + 1 levels of the one for int(steps / denoise) steps.

    `generator` comes from `effective`; `discard_penultimate` from the sampler (`samplers.SAMPLERS`); `sdxl` chooses the
    table of `align_your_steps`. A denoise strength below 1 shortens the range, never the number of steps.
    Raises ValueError for steps below 1 or denoise outside 0 < denoise <= 1.
    """
    if steps < 1 or not 0 < denoise <= 1:
        raise ValueError(f"expected steps >= 1 and 0 < denoise <= 1, got steps {steps} and denoise {denoise}")
    total = steps if denoise > 0.9999 else int(steps / denoise)
    sigmas = _GENERATORS[generator](total + discard_penultimate, sampling, sdxl)
    if discard_penultimate:
        sigmas = torch.cat([sigmas[:-2], sigmas[-1:]])
    if denoise <= 0.9999:
        sigmas = sigmas[-(steps + 1) :]
    # `simple` repeats levels for more steps than the table has entries; a step of length 0 has no slope.
    distinct: Tensor = torch.unique_consecutive(sigmas)
    return distinct


def cut(sigmas: Tensor, start: int = 0, last: int | None = None, full_denoise: bool = False) -> Tensor:
    """Return the part of a schedule from step `start` to step `last`; `full_denoise` ends a shortened one in 0.

    With fewer than two levels there is nothing to sample.
    """
    if last is not None and last < len(sigmas) - 1:
        sigmas = sigmas[: last + 1].clone()
        if full_denoise:
            sigmas[-1] = 0
    return sigmas[min(start, len(sigmas) - 1) :]


def brownian_range(
    scheduler: str, steps: int, denoise: float = 1.0, sdxl: bool = True, zero_snr: bool = False
) -> tuple[float, float]:
    """Return the smallest positive and the largest sigma of a run, the range of its Brownian tree.

    Fooocus reads them before it changes the network's parameterisation, from the plain table even for `lcm`, `tcd` and
    `edm_playground_v2.5`, and from the true lists of `turbo` and `align_your_steps`.
    """
    generator, _ = effective(scheduler)
    sigmas = schedule(generator, discrete(zero_snr=zero_snr), steps, denoise, sdxl=sdxl)
    return float(sigmas[sigmas > 0].min()), float(sigmas.max())


def max_denoise(sigmas: Tensor, sampling: ModelSampling) -> bool:
    """Return True when a run starts at the network's highest noise level."""
    first = float(sigmas[0])
    return math.isclose(sampling.sigma_max, first, rel_tol=1e-5) or first > sampling.sigma_max


def starting_scale(sigmas: Tensor, sampling: ModelSampling) -> float:
    """Return the factor of the initial noise: sqrt(1 + sigma_0²) at full denoise, sigma_0 otherwise."""
    first = float(sigmas[0])
    return math.sqrt(1 + first**2) if max_denoise(sigmas, sampling) else first
