"""Asking a model at every step: both sides of guidance, their timed sizes, and the guided estimate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from ...errors import BadValue
from ...functional import guidance, latents, sigmas
from ...functional.adm import SizeIds, refiner_ids, size_ids
from ...functional.model_sampling import ModelSampling
from ...functional.stepping import Denoise
from ...host import Host
from ...models import unet
from ...models.handles import Hint, Model
from ...models.hints import inpaint_patch
from ...models.weights.merging import WeightPatch
from ...types import Conditioning, SamplingSettings
from . import control_hints, image_hints, preview

BYTES_PER_CELL = 8 * 1024  # of activations, per latent cell and byte of the dtype


def ready(host: Host, model: Model, shape: torch.Size, control: Sequence[Hint] = ()) -> torch.device:
    """The network on its device with its patches merged and what the hints need beside it, and room for latents
    (B, C, h, w) of that shape."""
    module = model.network.module
    cells = 2 * shape[0] * shape[-2] * shape[-1]
    itemsize = next(module.parameters()).element_size()
    device = host.load("unet", module, *control_hints.modules_of(control), memory=cells * BYTES_PER_CELL * itemsize)
    model.network.merge(weights_of(model))
    return device


def weights_of(model: Model) -> tuple[WeightPatch, ...]:
    """All that is merged into the network: its LoRAs, then the inpaint engine's patch."""
    return model.patches if model.inpaint is None else (*model.patches, model.inpaint.patch)


@contextmanager
def attached(model: Model, control: Sequence[Hint] = (), inpaint: Tensor | None = None) -> Iterator[None]:
    """All that hangs on the network beside its weights, while the context lasts. `inpaint`: what the engine's head
    adds."""
    module = model.network.module
    with inpaint_patch.head_attached(module, inpaint), unet.freeu_attached(module, model.freeu):
        yield


def reading(model: Model, settings: SamplingSettings) -> ModelSampling:
    """How the network is read: by its own kind, or as the schedulers lcm, tcd and edm_playground_v2.5 say."""
    return sigmas.effective(settings.scheduler, model.prediction, zero_snr=model.zero_snr)[1]


def latent_format(model: Model, settings: SamplingSettings) -> latents.LatentFormat:
    """The scale of the network's latents; Playground's own with its scheduler."""
    if model.family == "sd15":
        return latents.SD15
    return latents.PLAYGROUND if settings.scheduler == "edm_playground_v2.5" else latents.SDXL


def guided(
    host: Host,
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    settings: SamplingSettings,
    shape: torch.Size,
    device: torch.device,
    control: Sequence[Hint] = (),
) -> Denoise:
    """`denoise(x, sigma)`: the network on both sides with their timed sizes, then Fooocus's guidance.

    With guidance 1 only the positive side is run. Raises BadValue for conditioning that doesn't fit the model.
    """
    sampling = reading(model, settings)
    sides = [side_of(positive, model, "positive", sizes_of(model, settings, shape, False), shape[0], device)]
    if not guidance.without_negative(settings.cfg):
        sides += [side_of(negative, model, "negative", sizes_of(model, settings, shape, True), shape[0], device)]
    steered = control_hints.steering(model, control, sampling, shape)
    look = image_hints.reading(model, control, len(sides), shape[0], device)
    dtype = next(model.network.module.parameters()).dtype

    def denoise(x: Tensor, sigma: float) -> Tensor:
        host.check_interrupted()
        t = sampling.timestep(sigma)
        x_in = sampling.scaled_input(x, sigma)
        conditions = [side.at(t, settings.adm_end) for side in sides]
        p = guidance.progress(t, dtype)
        residuals = control_hints.residuals(steered, sigma)
        outputs = unet.predict(model.network.module, x_in, t, conditions, residuals, look(p))
        estimates = [sampling.denoised(x, output, sigma) for output in outputs]
        return guidance.combine(
            x,
            estimates[0],
            estimates[1] if len(estimates) > 1 else None,
            settings.cfg,
            settings.sharpness,
            settings.adaptive_cfg,
            p,
        )

    return denoise


def sizes_of(model: Model, settings: SamplingSettings, shape: torch.Size, negative: bool) -> SizeIds:
    """What the network is told of the picture's size: SDXL the scaled sizes, its refiner the size and a score."""
    height, width = shape[-2] * latents.CELL, shape[-1] * latents.CELL
    if model.family == "sdxl-refiner":
        ids = refiner_ids(width, height, negative)
        return SizeIds(ids, ids)
    return size_ids(width, height, settings.adm_negative if negative else settings.adm_positive)


@dataclass(frozen=True)
class Side:
    """One side of guidance: tokens (B, n, D), pooled (B, P), and the sizes it is told as the run goes on."""

    tokens: Tensor
    pooled: Tensor | None
    sizes: SizeIds

    def at(self, timestep: float, adm_end: float) -> unet.Condition:
        return unet.Condition(self.tokens, self.pooled, self.sizes.at(timestep, adm_end))


def side_of(
    conditioning: Conditioning, model: Model, what: str, sizes: SizeIds, batch: int, device: torch.device
) -> Side:
    """A native conditioning as one side of guidance for a batch. Raises BadValue for one that doesn't fit the model."""
    tokens, extra = only_part(conditioning, what)
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


def only_part(conditioning: Conditioning, what: str) -> tuple[Tensor, dict[str, Any]]:
    """Tokens (B, n, D) and further entries of a conditioning of one part. Raises BadValue for one of another count."""
    if len(conditioning) != 1:
        raise BadValue(
            f"the {what} conditioning has {len(conditioning)} parts, Fooocus's sampler takes one: wire it straight "
            "from an encode node"
        )
    tokens, extra = conditioning[0]
    return tokens, extra


def config_of(model: Model) -> Any:
    """The configuration of the model's UNet."""
    return cast(Any, model.network.module).config


def fitted(values: Tensor, batch: int, what: str) -> Tensor:
    """One row for all pictures, or one row each."""
    if len(values) not in (1, batch):
        raise BadValue(f"the {what} conditioning is for {len(values)} pictures, the latent holds {batch}")
    return values.expand(batch, *values.shape[1:])


def watcher(host: Host, model: Model, first: int = 0, total: int = 0) -> Callable[[int, int, Tensor, Tensor], None]:
    """What the sampler calls at every step: stop if asked to, and show how far it is.

    `first`, `total`: where these steps lie in a longer run; 0: they are all of it.
    """
    look = preview.viewer(host, model)

    def watch(i: int, steps: int, denoised: Tensor, x: Tensor) -> None:
        host.check_interrupted()
        host.progress(first + i + 1, total or steps, lambda: look(denoised))

    return watch
