"""The samplers by name, and the function that runs them (Fooocus flags.py KSAMPLER_NAMES)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import Tensor

from . import samplers_dpm_solver, samplers_dpmpp, samplers_euler, samplers_restart, samplers_uni_pc
from .model_sampling import ModelSampling
from .noise import Noise
from .sigmas import max_denoise, starting_scale
from .stepping import Callback, Denoise, ignore

NoiseKind = Literal["none", "generator", "brownian"]


@dataclass(frozen=True)
class Sampler:
    """A sampler and its properties.

    noise     source of its noise: `noise.GeneratorNoise` or `noise.BrownianNoise`
    discards  True when its schedule leaves out the last sigma before 0 (`sigmas.schedule`)
    vp        True when it runs in variance-preserving coordinates
    reads_t   True when it needs the network's timesteps
    """

    run: Callable[..., Tensor]
    noise: NoiseKind = "none"
    discards: bool = False
    vp: bool = False
    reads_t: bool = False


SAMPLERS: dict[str, Sampler] = {
    "euler": Sampler(samplers_euler.euler),
    "euler_ancestral": Sampler(samplers_euler.euler_ancestral, "generator"),
    "heun": Sampler(samplers_euler.heun),
    "heunpp2": Sampler(samplers_euler.heunpp2),
    "dpm_2": Sampler(samplers_euler.dpm_2, discards=True),
    "dpm_2_ancestral": Sampler(samplers_euler.dpm_2_ancestral, "generator", discards=True),
    "lms": Sampler(samplers_euler.lms),
    "dpm_fast": Sampler(samplers_dpm_solver.dpm_fast),
    "dpm_adaptive": Sampler(samplers_dpm_solver.dpm_adaptive),
    "dpmpp_2s_ancestral": Sampler(samplers_dpmpp.dpmpp_2s_ancestral, "generator"),
    "dpmpp_sde": Sampler(samplers_dpmpp.dpmpp_sde, "brownian"),
    "dpmpp_sde_gpu": Sampler(samplers_dpmpp.dpmpp_sde, "brownian"),
    "dpmpp_2m": Sampler(samplers_dpmpp.dpmpp_2m),
    "dpmpp_2m_sde": Sampler(samplers_dpmpp.dpmpp_2m_sde, "brownian"),
    "dpmpp_2m_sde_gpu": Sampler(samplers_dpmpp.dpmpp_2m_sde, "brownian"),
    "dpmpp_3m_sde": Sampler(samplers_dpmpp.dpmpp_3m_sde, "brownian"),
    "dpmpp_3m_sde_gpu": Sampler(samplers_dpmpp.dpmpp_3m_sde, "brownian"),
    "ddpm": Sampler(samplers_euler.ddpm, "generator"),
    "lcm": Sampler(samplers_euler.lcm, "generator"),
    "tcd": Sampler(samplers_euler.tcd, "generator", reads_t=True),
    "restart": Sampler(samplers_restart.restart, "generator"),
    "ddim": Sampler(samplers_euler.euler),
    "uni_pc": Sampler(samplers_uni_pc.uni_pc, discards=True, vp=True),
    "uni_pc_bh2": Sampler(samplers_uni_pc.uni_pc_bh2, discards=True, vp=True),
}


def sample(
    sampler: str,
    denoise: Denoise,
    noise: Tensor,
    latents: Tensor,
    sigmas: Tensor,
    sampling: ModelSampling,
    step_noise: Noise | None = None,
    callback: Callback = ignore,
) -> Tensor:
    """Run a sampler from latents with noise at sigma_0 to the end of the schedule; returns latents (B, C, h, w).

    `noise` (unit normal) and `latents`, in the network's scale, are (B, C, h, w) float32. Zero latents start from noise
    alone; zero noise continues from latents that are already noisy. `sigmas` comes from `sigmas.schedule` and
    `sigmas.cut`; with fewer than two levels the latents are returned unchanged. `step_noise` is of the kind that the
    sampler names. Raises ValueError for an unknown name and for missing step noise.
    """
    if sampler not in SAMPLERS:
        raise ValueError(f"unknown sampler {sampler!r}; known: {', '.join(SAMPLERS)}")
    chosen = SAMPLERS[sampler]
    if step_noise is None:
        if chosen.noise != "none":
            raise ValueError(f"sampler {sampler!r} needs step noise of kind {chosen.noise!r}, got None")
        step_noise = _no_noise
    if len(sigmas) < 2:
        return latents
    x = start(noise, latents, sigmas, sampling, chosen.vp)
    run = partial(chosen.run, sampling=sampling) if chosen.reads_t else chosen.run
    return run(denoise, x, sigmas.tolist(), step_noise, callback)


def start(noise: Tensor, latents: Tensor, sigmas: Tensor, sampling: ModelSampling, vp: bool = False) -> Tensor:
    """Return x at sigma_0: latents + scale·noise.

    In VP coordinates alpha_0·latents + m·noise, with m = 1 at full denoise, else s_0.
    """
    if not vp:
        return latents + starting_scale(sigmas, sampling) * noise
    _, alpha, s, _ = samplers_uni_pc.vp_scales(sigmas.tolist())
    m = 1.0 if max_denoise(sigmas, sampling) else float(s[0])
    return float(alpha[0]) * latents + m * noise


def _no_noise(sigma: float, sigma_next: float) -> Tensor:
    raise AssertionError("a deterministic sampler drew noise")
