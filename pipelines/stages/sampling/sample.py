"""Sampling: from a latent and two conditionings to a finished latent, with one model or two.

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
from . import conditioning, denoiser, known_region, plan
from . import refiner as refiners

ADVICE = "check the conditioning, or lower guidance_scale, sharpness or the weights of the LoRAs"
FEWEST_LEVELS = 2
RESTARTS_FROM = 20  # steps
REFINER_SIGMAS = 1.4  # factor on the schedule when the refiner starts from noise of its own


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
    add_noise: bool = True,
) -> Latent:
    """Sample a latent (`samples` (B, 4, h, w), unscaled; zeros to start from noise alone) and return a new one.

    Each image of a batch has its own seed, counting up, and gets the result that it would get alone. `sigmas` replaces
    the schedule of the settings. A model with a refiner hands over to it; the hints of `control` end there. Where the
    latent's `noise_mask` is 0 it is kept; a model with an inpaint engine requires a mask. Without `add_noise` the
    latent is taken as already noisy at the first level, as an earlier sampler leaves it whose `sigmas` end above 0.
    Raises BadValue for inputs that do not fit the model or are out of range, and BadFile or BadValue when the result is
    not finite.
    """
    settings = plan.with_known_names(settings)
    model = refiners.in_effect(model, settings)
    levels = plan.schedule(model, settings, denoise) if sigmas is None else checked_sigmas(sigmas)
    conditioning.check_options(host, positive, "positive")
    if denoiser.needs_negative(model, settings):
        conditioning.check_options(host, negative, "negative")
    route = refiners.route(model, settings, denoise)
    last = last_model(model, route)
    raw = checked_samples(latent, model, last if route == "refiner" else model)
    seeds = plan.seeds_of(latent, seed)
    known = known_region.known_region_of(latent, raw, model)
    job = Job(host, model, positive, negative, settings, raw, levels, seeds, denoise, control, known, add_noise)
    samples = require_finite(ROUTES[route](job).cpu(), "the sampled latent", networks_of(model), ADVICE)
    return {**latent, "samples": samples, LATENT_FAMILY: latent_family(last)}


def sampling_info(model: Model, positive: Conditioning, latent: Latent, settings: SamplingSettings, seed: int) -> Info:
    """Describe how a latent was sampled; the prompt is known when `positive` comes from an encode node."""
    extra = positive[0][1]
    height, width = (side * latents.CELL for side in latent["samples"].shape[-2:])
    return Info(model, settings, seed, width, height, extra.get(CONDITIONING_PROMPT), extra.get(CONDITIONING_CLIP_SKIP))


@dataclass(frozen=True)
class Job:
    """A sampling run: `raw` (B, C, h, w) float32, unscaled, at the noise `levels`, with one seed for each image."""

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
    known: known_region.KnownRegion | None = None
    add_noise: bool = True

    @property
    def switch(self) -> RefinerSwitch:
        """The refiner and when it takes over, on the routes that have one."""
        return cast(RefinerSwitch, self.model.switch)

    @property
    def switch_step(self) -> int:
        """The step at which the refiner takes over."""
        return refiners.switch_step(self.switch, self.settings.steps)

    def running(self) -> AbstractContextManager[torch.device]:
        """Keep the networks on their device, with the model's patches attached, while the context lasts."""
        return denoiser.running(self.host, self.model, self.settings, self.levels, self.raw.shape, self.control)

    def for_refiner(self) -> Job:
        """Return the run with the refiner in place of the model, its conditioning, and no hints."""
        refiner = self.switch.refiner.model
        sides = [refiners.refiner_conditioning(side, self.model, refiner) for side in (self.positive, self.negative)]
        return replace(self, model=refiner, positive=sides[0], negative=sides[1], control=())


@dataclass(frozen=True)
class RunNoise:
    """The random numbers of a run: unit noise to start from (B, C, h, w), and the noise that the sampler adds."""

    start: Tensor
    steps: noise.Noise


def base_only(job: Job) -> Tensor:
    """Run one model from the first step to the last."""
    with job.running() as device:
        callback = denoiser.step_callback(job.host, job.model)
        return run_sampler(job, denoiser_of(job, device), run_noise(job, device), callback)


def refiner_only(job: Job) -> Tensor:
    """Run the refiner alone, on its own latents."""
    second = job.for_refiner()
    return base_only(replace(second, levels=plan.schedule(second.model, job.settings, job.denoise)))


def joint(job: Job) -> Tensor:
    """Run once, and exchange the network after the first evaluation of the switch step."""
    second, at = job.for_refiner(), job.switch_step
    report = denoiser.step_callback(job.host, job.model)
    with ExitStack() as running:
        device = running.enter_context(job.running())
        current = denoiser_of(job, device)
        refined = denoiser_of(second, device)

        def callback(i: int, total: int, denoised: Tensor, x: Tensor) -> None:
            nonlocal current
            report(i, total, denoised, x)
            if i == at:
                running.close()
                running.enter_context(second.running())
                current = refined

        return run_sampler(job, lambda x, sigma: current(x, sigma), run_noise(job, device), callback)


def separate(job: Job) -> Tensor:
    """Run twice over one schedule: the model to the switch step, then the refiner from its noisy latents."""
    second, at, total = job.for_refiner(), job.switch_step, len(job.levels) - 1
    with job.running() as device:
        random = run_noise(job, device)
        callback = denoiser.step_callback(job.host, job.model, total=total)
        first = replace(job, levels=sigmas.cut(job.levels, last=at))
        halfway = run_sampler(first, denoiser_of(job, device), random, callback)
    second = replace(second, raw=halfway, levels=sigmas.cut(job.levels, start=at))
    no_start = replace(random, start=torch.zeros_like(random.start))
    with second.running() as device:
        callback = denoiser.step_callback(job.host, second.model, first=at, total=total)
        return run_sampler(second, denoiser_of(second, device), no_start, callback)


def through_latents(job: Job) -> Tensor:
    """Run the model to clean latents at the switch step, then the refiner from those with noise of its own.

    The new noise has the next seed, and the channel mean of the last guided noise of the first run.
    """
    second, at, total = job.for_refiner(), job.switch_step, len(job.levels) - 1
    interposer = refiners.interposer(job.host, job.model)
    with job.running() as device:
        random = run_noise(job, device)
        callback = denoiser.step_callback(job.host, job.model, total=total)
        recorder = NoiseRecorder(denoiser_of(job, device))
        first = replace(job, levels=sigmas.cut(job.levels, last=at, full_denoise=True))
        clean = run_sampler(first, recorder, random, callback)
    if interposer is not None:
        job.host.load("vae", interposer)
        clean = interposers.convert(interposer, clean).to(clean)
    levels = sigmas.cut(plan.refiner_schedule(second.model, job.settings, job.denoise), start=at) * REFINER_SIGMAS
    seeds = [(seed + 1) % (MAX_SEED + 1) for seed in job.seeds]
    known = job.known.for_refiner(interposer) if job.known is not None else None
    second = replace(second, raw=clean, levels=levels, seeds=seeds, known=known, add_noise=True)
    with second.running() as device:
        callback = denoiser.step_callback(job.host, second.model, first=at, total=total)
        fresh = recorder.recentred(random, run_noise(second, device))
        return run_sampler(second, denoiser_of(second, device), fresh, callback)


ROUTES: dict[refiners.Route, Callable[[Job], Tensor]] = {
    "base": base_only,
    "refiner": refiner_only,
    "joint": joint,
    "separate": separate,
    "vae": through_latents,
}


class NoiseRecorder:
    """A `denoise` that records the channel mean (B, 1, h, w) of the guided noise of its last call."""

    def __init__(self, denoise: Denoise) -> None:
        self._denoise = denoise
        self._mean: Tensor | None = None

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        denoised = self._denoise(x, sigma)
        self._mean = guidance.guided_eps(x, denoised, sigma).mean(dim=1, keepdim=True)
        return denoised

    def recentred(self, before: RunNoise, fresh: RunNoise) -> RunNoise:
        """Return fresh start noise with the recorded mean. A Brownian path continues; other streams start anew."""
        start = fresh.start if self._mean is None else noise.replace_channel_mean(fresh.start, self._mean)
        return RunNoise(start, before.steps if isinstance(before.steps, noise.BrownianNoise) else fresh.steps)


def denoiser_of(job: Job, device: torch.device, seen: denoiser.Seen | None = None) -> Denoise:
    """Return the guided denoiser of the job's model; `seen` gets the predictions of both sides at each evaluation."""
    sides = job.positive, job.negative
    inpaint = job.known.head_output(job.model, denoiser.own_latent_format(job.model)) if job.known else None
    return denoiser.guided(job.host, job.model, *sides, job.settings, job.raw.shape, device, job.control, inpaint, seen)


def run_sampler(job: Job, denoise: Denoise, random: RunNoise, callback: Callback) -> Tensor:
    """Run the sampler over the job's levels; returns unscaled latents on the device of the noise. Raises BadValue."""
    form, device = denoiser.latent_format(job.model, job.settings), random.start.device
    if job.settings.sampler == "restart" and len(job.levels) > RESTARTS_FROM and job.levels[-1] != 0:
        raise BadValue(
            f"the sampler 'restart' needs noise levels that end in 0, and these end in {float(job.levels[-1]):g}: "
            "choose another sampler, or another swap method than 'separate' for the refiner"
        )
    if job.known is not None:
        denoise = job.known.reimposed(denoise, form, job.seeds, device)
    x = samplers.sample(
        job.settings.sampler,
        denoise,
        random.start,
        form.scaled(job.raw.float()).to(device),
        job.levels,
        denoiser.model_sampling(job.model, job.settings),
        random.steps,
        callback,
    )
    return form.raw(x)


def run_noise(job: Job, device: torch.device) -> RunNoise:
    """Draw each image's start from its seed; steps use a Brownian path each, or the rest of its stream.

    Without `add_noise` the start is zeros. The range of the path is always that of the base model.
    """
    streams = noise.generators(job.seeds)
    shape = tuple(job.raw.shape[1:])
    start = noise.draw(streams, shape).to(device)
    if not job.add_noise:
        start = torch.zeros_like(start)
    settings = job.settings
    if samplers.SAMPLERS[settings.sampler].noise == "brownian":
        low, high = sigmas.brownian_range(settings.scheduler, settings.steps, job.denoise, zero_snr=job.model.zero_snr)
        return RunNoise(start, noise.BrownianNoise(job.seeds, shape, low, high, device))
    return RunNoise(start, noise.GeneratorNoise.continued(streams, shape, device))


def last_model(model: Model, route: refiners.Route) -> Model:
    """Return the model of the last steps."""
    return model if route == "base" or model.switch is None else model.switch.refiner.model


def networks_of(model: Model) -> list[tuple[str, nn.Module]]:
    """Return the networks that a model may call, with the names of their files."""
    models = [model] if model.switch is None else [model, model.switch.refiner.model]
    return [(one.name, one.network.weights) for one in models]


def latent_family(model: Model) -> Family:
    """Return the family whose VAE decodes the model's latents: SD 1.5 or SDXL."""
    return "sd15" if model.family == "sd15" else "sdxl"


def checked_samples(latent: Latent, model: Model, first: Model) -> Tensor:
    """Return the samples (B, C, h, w), float32 on the CPU. Raises BadValue unless they fit `first`, which starts."""
    samples: Tensor = latent["samples"]
    channels = model.network.in_channels
    if samples.ndim != 4 or samples.shape[1] != channels or not samples.numel():
        raise BadValue(
            f"the latent has the shape {tuple(samples.shape)} and the model takes (B, {channels}, h, w): create it "
            "with Fooocus Aspect Ratio or Fooocus VAE Encode"
        )
    if not samples.isfinite().all():
        raise BadValue("the latent contains NaN or infinity: check the node that made it")
    family = latent.get(LATENT_FAMILY, latent_family(first))
    if family != latent_family(first):
        raise BadValue(
            f"the latent was encoded by a VAE of {family}, and at this denoise strength {first.name} starts, which "
            "takes another kind: encode the image with Fooocus Vary or Fooocus Upscale, which choose the VAE"
        )
    return samples.detach().cpu().float()


def checked_sigmas(levels: Tensor) -> Tensor:
    """Return noise levels as a schedule. Raises BadValue unless they are one decreasing row of values >= 0."""
    levels = levels.float().cpu()
    if levels.ndim != 1 or not torch.isfinite(levels).all() or (levels < 0).any() or (levels.diff() >= 0).any():
        raise BadValue(
            f"sigmas must be one decreasing row of noise levels >= 0, got {levels.flatten()[:4].tolist()} …: connect "
            "Fooocus Scheduler, or a scheduler node of ComfyUI"
        )
    if len(levels) < FEWEST_LEVELS:
        raise BadValue(
            f"sigmas has {len(levels)} noise levels and a run needs two, from one to the next: connect a longer "
            "schedule, or split it at another step"
        )
    return levels
