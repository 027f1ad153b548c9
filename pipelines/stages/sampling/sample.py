"""Sampling: from a latent and two conditionings to a finished latent, by one model or two.

Fooocus modules/core.py: ksampler; modules/default_pipeline.py: process_diffusion.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from ...errors import BadValue
from ...functional import guidance, latents, noise, samplers, sigmas
from ...functional.stepping import Callback, Denoise
from ...host import Host
from ...models import interposer as interposers
from ...models.handles import Hint, Info, Model, RefinerSwitch
from ...models.weights.soundness import require_finite
from ...settings import MAX_SEED
from ...types import (
    CONDITIONING_CLIP_SKIP,
    CONDITIONING_PROMPT,
    LATENT_FAMILY,
    Conditioning,
    Family,
    Latent,
    SamplingSettings,
)
from . import denoiser, known_region, plan
from . import refiner as refiners

LESS = "look at the conditioning wired in, or lower guidance_scale, sharpness or the weights of the LoRAs"
REFINER_SIGMAS = 1.4  # times the schedule, where the refiner begins from noise of its own


def sample(
    host: Host,
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    latent: Latent,
    settings: SamplingSettings,
    seed: int,
    denoise: float = 1.0,
    sigmas: Tensor | None = None,
    control: tuple[Hint, ...] = (),
) -> Latent:
    """Sample a latent (`samples` (B, 4, h, w), unscaled; zeros to begin from nothing); the result is a new dict.

    Each picture of a batch has its own seed, counting up, and gets what it would get alone. `sigmas` replaces the
    schedule of the settings. A model with a refiner hands over to it, and the hints of `control` end there. Where a
    latent's `noise_mask` is 0 it stays as it is; a model with an inpaint engine needs one. Raises BadValue for sockets
    that don't fit the model and for settings out of range, and BadFile or BadValue when the result is no number.
    """
    model = refiners.in_effect(model, settings)
    levels = plan.schedule(model, settings, denoise) if sigmas is None else checked_sigmas(sigmas)
    plan.check_names(settings)
    way = refiners.route(model, settings, denoise)
    final = finisher(model, way)
    raw = checked_samples(latent, model, final if way == "refiner" else model)
    seeds = plan.seeds_of(latent, seed)
    hold = known_region.hold_of(latent, raw, model)
    job = Job(host, model, positive, negative, settings, raw, levels, seeds, denoise, control, hold)
    made = require_finite(WAYS[way](job).cpu(), "the sampled latent", asked_networks(model), LESS)
    return {**latent, "samples": made, LATENT_FAMILY: family_of_latents(final)}


def account(model: Model, positive: Conditioning, latent: Latent, settings: SamplingSettings, seed: int) -> Info:
    """How a latent was sampled; the prompt is known when the positive side comes from an encode node."""
    kept = positive[0][1]
    height, width = (side * latents.CELL for side in latent["samples"].shape[-2:])
    return Info(model, settings, seed, width, height, kept.get(CONDITIONING_PROMPT), kept.get(CONDITIONING_CLIP_SKIP))


@dataclass(frozen=True)
class Job:
    """What is to be sampled: `raw` (B, C, h, w) float32, unscaled, at noise `levels`, with a seed for each picture."""

    host: Host
    model: Model
    positive: Conditioning
    negative: Conditioning
    settings: SamplingSettings
    raw: Tensor
    levels: Tensor
    seeds: list[int]
    denoise: float
    control: tuple[Hint, ...] = ()
    hold: known_region.Hold | None = None

    @property
    def switch(self) -> RefinerSwitch:
        return cast(RefinerSwitch, self.model.switch)

    @property
    def switch_step(self) -> int:
        return refiners.switch_step(self.switch, self.settings.steps)

    def attached(self) -> AbstractContextManager[None]:
        """All that hangs on the job's network while it is asked."""
        form = denoiser.latent_format(self.model, self.settings)
        feature = self.hold.feature(self.model, form) if self.hold is not None else None
        return denoiser.attached(self.model, self.control, feature)

    def for_refiner(self) -> Job:
        """The same with the refiner in the model's place, and what it gets of the conditioning."""
        refiner = self.switch.refiner.model
        sides = [refiners.separated(side, self.model, refiner) for side in (self.positive, self.negative)]
        return replace(self, model=refiner, positive=sides[0], negative=sides[1], control=())


@dataclass(frozen=True)
class Chance:
    """The randomness of a run: unit noise to begin with (B, C, h, w), and what the sampler adds while it steps."""

    start: Tensor
    steps: noise.Noise


def alone(job: Job) -> Tensor:
    """One model from the first step to the last."""
    device = denoiser.ready(job.host, job.model, job.raw.shape, job.control)
    with job.attached():
        return leg(job, asked(job, device), chance_of(job, device), denoiser.watcher(job.host, job.model))


def refiner_alone(job: Job) -> Tensor:
    """Only the refiner, on its own latents."""
    second = job.for_refiner()
    return alone(replace(second, levels=plan.schedule(second.model, job.settings, job.denoise)))


def joint(job: Job) -> Tensor:
    """One run, with another network from the switch on: the change is made after the first look at that step."""
    second, at = job.for_refiner(), job.switch_step
    device = denoiser.ready(job.host, job.model, job.raw.shape, job.control)
    present, refined = asked(job, device), asked(second, device)
    look = denoiser.watcher(job.host, job.model)
    with ExitStack() as base:
        base.enter_context(job.attached())

        def watch(i: int, total: int, denoised: Tensor, x: Tensor) -> None:
            nonlocal present
            look(i, total, denoised, x)
            if i == at:
                base.close()
                denoiser.ready(job.host, second.model, job.raw.shape)
                present = refined

        return leg(job, lambda x, sigma: present(x, sigma), chance_of(job, device), watch)


def separate(job: Job) -> Tensor:
    """Two runs over one schedule: the model to the switch, the refiner goes on from its noisy latents."""
    second, at, total = job.for_refiner(), job.switch_step, len(job.levels) - 1
    device = denoiser.ready(job.host, job.model, job.raw.shape, job.control)
    chance, watch = chance_of(job, device), denoiser.watcher(job.host, job.model, total=total)
    with job.attached():
        halfway = leg(replace(job, levels=sigmas.cut(job.levels, last=at)), asked(job, device), chance, watch)
    denoiser.ready(job.host, second.model, job.raw.shape)
    second = replace(second, raw=halfway, levels=sigmas.cut(job.levels, start=at))
    no_noise = replace(chance, start=torch.zeros_like(chance.start))
    with second.attached():
        watch = denoiser.watcher(job.host, second.model, first=at, total=total)
        return leg(second, asked(second, device), no_noise, watch)


def by_latents(job: Job) -> Tensor:
    """Two whole runs: the model to clean latents at the switch, the refiner from those with noise of its own.

    The new noise has the next seed, and the channel mean of the last guided noise of the first run.
    """
    second, at, total = job.for_refiner(), job.switch_step, len(job.levels) - 1
    interposer = refiners.interposer(job.host, job.model)
    device = denoiser.ready(job.host, job.model, job.raw.shape, job.control)
    chance, watch = chance_of(job, device), denoiser.watcher(job.host, job.model, total=total)
    last = LastNoise(asked(job, device))
    with job.attached():
        clean = leg(replace(job, levels=sigmas.cut(job.levels, last=at, full_denoise=True)), last, chance, watch)
    if interposer is not None:
        interposer.to(job.host.load("vae", interposer))
        clean = interposers.convert(interposer, clean).to(clean)
    denoiser.ready(job.host, second.model, job.raw.shape)
    levels = sigmas.cut(plan.schedule(second.model, job.settings, job.denoise), start=at) * REFINER_SIGMAS
    seeds = [(seed + 1) % (MAX_SEED + 1) for seed in job.seeds]
    hold = job.hold.swapped(interposer) if job.hold is not None else None
    second = replace(second, raw=clean, levels=levels, seeds=seeds, hold=hold)
    with second.attached():
        watch = denoiser.watcher(job.host, second.model, first=at, total=total)
        return leg(second, asked(second, device), last.moved(chance, chance_of(second, device)), watch)


WAYS: dict[refiners.Route, Callable[[Job], Tensor]] = {
    "base": alone,
    "refiner": refiner_alone,
    "joint": joint,
    "separate": separate,
    "vae": by_latents,
}


class LastNoise:
    """`denoise` that remembers the channel mean (B, 1, h, w) of the guided noise at its last call."""

    def __init__(self, denoise: Denoise) -> None:
        self._denoise = denoise
        self._mean: Tensor | None = None

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        denoised = self._denoise(x, sigma)
        self._mean = guidance.guided_eps(x, denoised, sigma).mean(dim=1, keepdim=True)
        return denoised

    def moved(self, before: Chance, fresh: Chance) -> Chance:
        """Fresh noise with that mean. A Brownian path goes on as before; any other stream begins anew."""
        start = fresh.start if self._mean is None else noise.replace_channel_mean(fresh.start, self._mean)
        return Chance(start, before.steps if isinstance(before.steps, noise.BrownianNoise) else fresh.steps)


def asked(job: Job, device: torch.device) -> Denoise:
    """The job's model on both of its sides."""
    return denoiser.guided(
        job.host, job.model, job.positive, job.negative, job.settings, job.raw.shape, device, job.control
    )


def leg(job: Job, denoise: Denoise, chance: Chance, watch: Callback) -> Tensor:
    """Raw latents after the job's levels, where the network is; `denoise` asks the network."""
    form = denoiser.latent_format(job.model, job.settings)
    if job.hold is not None:
        denoise = job.hold.around(denoise, form, job.seeds, chance.start.device)
    x = samplers.sample(
        job.settings.sampler,
        denoise,
        chance.start,
        form.scaled(job.raw.float()).to(chance.start.device),
        job.levels,
        denoiser.reading(job.model, job.settings),
        chance.steps,
        watch,
    )
    return form.raw(x)


def chance_of(job: Job, device: torch.device) -> Chance:
    """The start of every picture from its seed, and one Brownian path each or the rest of its stream.

    The path's range is always that of the base model.
    """
    streams = noise.generators(job.seeds)
    shape = tuple(job.raw.shape[1:])
    start = noise.draw(streams, shape).to(device)
    settings = job.settings
    if samplers.SAMPLERS[settings.sampler].noise == "brownian":
        low, high = sigmas.brownian_range(settings.scheduler, settings.steps, job.denoise, zero_snr=job.model.zero_snr)
        return Chance(start, noise.BrownianNoise(job.seeds, shape, low, high, device))
    return Chance(start, noise.GeneratorNoise.continued(streams, shape, device))


def finisher(model: Model, way: refiners.Route) -> Model:
    """The model that makes the last steps."""
    return model if way == "base" or model.switch is None else model.switch.refiner.model


def asked_networks(model: Model) -> list[tuple[str, nn.Module]]:
    """The networks that a model may ask, by the names of their files."""
    models = [model] if model.switch is None else [model, model.switch.refiner.model]
    return [(one.name, one.network.module) for one in models]


def family_of_latents(model: Model) -> Family:
    """Whose VAE decodes the model's latents: SD 1.5's or SDXL's."""
    return "sd15" if model.family == "sd15" else "sdxl"


def checked_samples(latent: Latent, model: Model, first: Model) -> Tensor:
    """The latent's samples (B, C, h, w), float32 on the CPU. Raises BadValue unless they fit the model that begins."""
    samples: Tensor = latent["samples"]
    channels = denoiser.config_of(model).in_channels
    if samples.ndim != 4 or samples.shape[1] != channels or not samples.numel():
        raise BadValue(
            f"the latent has the shape {tuple(samples.shape)}, the model takes (B, {channels}, h, w): make it with "
            "the aspect ratio node or the VAE encode node"
        )
    if not samples.isfinite().all():
        raise BadValue("the latent wired in holds NaN or infinity: look at the node that made it")
    if latent.get(LATENT_FAMILY, family_of_latents(first)) != family_of_latents(first):
        raise BadValue(
            f"the latent is one of {latent[LATENT_FAMILY]}'s VAE, and at this denoise strength {first.name} begins, "
            "which reads others: encode the picture with Fooocus Vary or Fooocus Upscale, which choose the VAE"
        )
    return samples.detach().cpu().float()


def checked_sigmas(levels: Tensor) -> Tensor:
    """Noise levels as a schedule: one row, falling, none negative. Raises BadValue."""
    levels = levels.float().cpu()
    if levels.ndim != 1 or not torch.isfinite(levels).all() or (levels < 0).any() or (levels.diff() >= 0).any():
        raise BadValue(f"sigmas must be one falling row of noise levels ≥ 0, got {levels.flatten()[:4].tolist()} …")
    return levels
