"""Sampling: from a latent and two conditionings to a finished latent (Fooocus modules/core.py: ksampler)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from ..errors import BadValue
from ..functional import guidance, latents, noise, samplers, sigmas
from ..functional.adm import SizeIds, size_ids
from ..functional.model_sampling import ModelSampling
from ..host import Host
from ..models import unet
from ..types import Info, Model, SamplingSettings
from . import encode, plan, preview

Latent = dict[str, Any]
BYTES_PER_CELL = 8 * 1024  # of activations, per latent cell and byte of the dtype


def sample(
    host: Host,
    model: Model,
    positive: list[list[Any]],
    negative: list[list[Any]],
    latent: Latent,
    settings: SamplingSettings,
    seed: int,
    denoise: float = 1.0,
    sigmas: Tensor | None = None,
) -> Latent:
    """Sample a latent (`samples` (B, 4, h, w), unscaled; zeros to begin from nothing); the result is a new dict.

    Each picture of a batch has its own seed, counting up, and gets what it would get alone. `sigmas` replaces the
    schedule of the settings. Raises BadValue for sockets that don't fit the model and for settings out of range.
    """
    levels = plan.schedule(model, settings, denoise) if sigmas is None else checked_sigmas(sigmas)
    plan.check_names(settings)
    sampling = reading(model, settings)
    form = latent_format(model, settings)
    raw = checked_samples(latent, model)
    device = ready(host, model, batch=2 * len(raw), cells=raw.shape[-2] * raw.shape[-1])

    seeds = plan.seeds_of(latent, seed)
    streams = noise.generators(seeds)
    start = noise.draw(streams, raw.shape[1:]).to(device)
    step_noise = noise_source(settings, model, seeds, streams, tuple(raw.shape[1:]), denoise, device)
    network = guided(host, model, sampling, positive, negative, settings, raw.shape, device)
    with unet.freeu_attached(model.network.module, model.freeu):
        x = samplers.sample(
            settings.sampler,
            network,
            start,
            form.scaled(raw.float()).to(device),
            levels,
            sampling,
            step_noise,
            watcher(host, model),
        )
    return {**latent, "samples": form.raw(x).cpu()}


def account(model: Model, positive: list[list[Any]], latent: Latent, settings: SamplingSettings, seed: int) -> Info:
    """How a latent was sampled; the prompt is known when the positive side comes from an encode node."""
    kept = positive[0][1]
    height, width = (side * latents.CELL for side in latent["samples"].shape[-2:])
    return Info(model, settings, seed, width, height, kept.get(encode.PROMPT), kept.get(encode.CLIP_SKIP))


def ready(host: Host, model: Model, batch: int, cells: int) -> torch.device:
    """The network on its device with its patches merged, and room beside it for a batch of that many latent cells."""
    module = model.network.module
    itemsize = next(module.parameters()).element_size()
    device = host.load("unet", module, memory=batch * cells * BYTES_PER_CELL * itemsize)
    model.network.merge(model.patches)
    return device


def reading(model: Model, settings: SamplingSettings) -> ModelSampling:
    """How the network is read: by its own kind, or as the schedulers lcm, tcd and edm_playground_v2.5 say."""
    return sigmas.effective(settings.scheduler, model.prediction)[1]


def latent_format(model: Model, settings: SamplingSettings) -> latents.LatentFormat:
    """The scale of the network's latents; Playground's own with its scheduler."""
    if settings.scheduler == "edm_playground_v2.5":
        return latents.PLAYGROUND
    return latents.SD15 if model.family == "sd15" else latents.SDXL


def noise_source(
    settings: SamplingSettings,
    model: Model,
    seeds: list[int],
    streams: list[torch.Generator],
    shape: tuple[int, ...],
    denoise: float,
    device: torch.device,
) -> noise.Noise:
    """The noise that the sampler adds while it steps: one Brownian path a picture, or the rest of its stream."""
    if samplers.SAMPLERS[settings.sampler].noise == "brownian":
        sdxl = model.family != "sd15"
        low, high = sigmas.brownian_range(settings.scheduler, settings.steps, denoise, sdxl)
        return noise.BrownianNoise(seeds, shape, low, high, device)
    return noise.GeneratorNoise.continued(streams, shape, device)


def guided(
    host: Host,
    model: Model,
    sampling: ModelSampling,
    positive: list[list[Any]],
    negative: list[list[Any]],
    settings: SamplingSettings,
    shape: torch.Size,
    device: torch.device,
) -> Callable[[Tensor, float], Tensor]:
    """`denoise(x, sigma)`: the network on both sides with their timed sizes, then Fooocus's guidance.

    With guidance 1 only the positive side is run.
    """
    height, width = shape[-2] * latents.CELL, shape[-1] * latents.CELL
    sides = [
        side_of(positive, model, "positive", size_ids(width, height, settings.adm_positive), shape[0], device),
        side_of(negative, model, "negative", size_ids(width, height, settings.adm_negative), shape[0], device),
    ]
    if guidance.without_negative(settings.cfg):
        sides = sides[:1]
    dtype = next(model.network.module.parameters()).dtype

    def denoise(x: Tensor, sigma: float) -> Tensor:
        host.check_interrupted()
        t = sampling.timestep(sigma)
        x_in = sampling.scaled_input(x, sigma)
        outputs = unet.predict(model.network.module, x_in, t, [side.at(t, settings.adm_end) for side in sides])
        estimates = [sampling.denoised(x, output, sigma) for output in outputs]
        return guidance.combine(
            x,
            estimates[0],
            estimates[1] if len(estimates) > 1 else None,
            settings.cfg,
            settings.sharpness,
            settings.adaptive_cfg,
            guidance.progress(t, dtype),
        )

    return denoise


@dataclass(frozen=True)
class Side:
    """One side of guidance: tokens (B, n, D), pooled (B, P), and the sizes it is told as the run goes on."""

    tokens: Tensor
    pooled: Tensor | None
    sizes: SizeIds

    def at(self, timestep: float, adm_end: float) -> unet.Condition:
        return unet.Condition(self.tokens, self.pooled, self.sizes.at(timestep, adm_end))


def side_of(
    conditioning: list[list[Any]], model: Model, what: str, sizes: SizeIds, batch: int, device: torch.device
) -> Side:
    """A native conditioning as one side of guidance for a batch. Raises BadValue for one that doesn't fit the model."""
    if len(conditioning) != 1:
        raise BadValue(
            f"the {what} conditioning has {len(conditioning)} parts, Fooocus's sampler takes one: wire it straight "
            "from an encode node"
        )
    tokens, extra = conditioning[0]
    pooled = extra.get("pooled_output")
    width = config_of(model).cross_attention_dim
    if tokens.shape[-1] != width:
        raise BadValue(
            f"the {what} conditioning is {tokens.shape[-1]} wide, {model.name or 'the model'} reads {width}: encode "
            "the prompt with the text encoders of the same checkpoint"
        )
    if pooled is None and unet.reads_sizes(model.network.module):
        raise BadValue(f"the {what} conditioning has no pooled vector: encode the prompt with Fooocus Encode Prompt")
    pooled = None if pooled is None else fitted(pooled, batch, what).to(device)
    return Side(fitted(tokens, batch, what).to(device), pooled, sizes)


def config_of(model: Model) -> Any:
    """The configuration of the model's UNet."""
    return cast(Any, model.network.module).config


def fitted(values: Tensor, batch: int, what: str) -> Tensor:
    """One row for all pictures, or one row each."""
    if len(values) not in (1, batch):
        raise BadValue(f"the {what} conditioning is for {len(values)} pictures, the latent holds {batch}")
    return values.expand(batch, *values.shape[1:])


def checked_samples(latent: Latent, model: Model) -> Tensor:
    """The latent's samples (B, C, h, w). Raises BadValue when they don't fit the model."""
    samples: Tensor = latent["samples"]
    channels = config_of(model).in_channels
    if samples.ndim != 4 or samples.shape[1] != channels:
        raise BadValue(
            f"the latent has the shape {tuple(samples.shape)}, the model takes (B, {channels}, h, w): make it with "
            "the aspect ratio node or the VAE encode node"
        )
    return samples


def checked_sigmas(levels: Tensor) -> Tensor:
    """Noise levels as a schedule: one row, falling, none negative. Raises BadValue."""
    levels = levels.float().cpu()
    if levels.ndim != 1 or not torch.isfinite(levels).all() or (levels < 0).any() or (levels.diff() >= 0).any():
        raise BadValue(f"sigmas must be one falling row of noise levels ≥ 0, got {levels.flatten()[:4].tolist()} …")
    return levels


def watcher(host: Host, model: Model) -> Callable[[int, int, Tensor, Tensor], None]:
    """What the sampler calls at every step: stop if asked to, and show how far it is."""
    look = preview.viewer(host, model)

    def watch(i: int, total: int, denoised: Tensor, x: Tensor) -> None:
        host.check_interrupted()
        host.progress(i + 1, total, lambda: look(denoised))

    return watch
