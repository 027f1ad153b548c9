"""The denoiser of a run: the network on both sides of guidance, with timed sizes and hints, then the guidance."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...errors import BadValue
from ...functional import guidance, latents, sigmas
from ...functional.adm import SizeIds, refiner_ids, size_ids
from ...functional.model_sampling import ModelSampling
from ...functional.stepping import Callback, Denoise
from ...host import Host
from ...models.handles import Hint, Model
from ...models.protocols import Condition, DenoisingNetwork
from ...models.unet import UNet
from ...models.weights.merging import WeightPatch
from ...types import Conditioning, SamplingSettings
from . import control_hints, image_hints, preview

BYTES_PER_CELL = 8 * 1024  # of activations, per latent cell and byte of the dtype


def network_of(model: Model) -> DenoisingNetwork:
    """The model's network, as the sampler calls it."""
    return UNet(model.network)


def load(host: Host, model: Model, shape: torch.Size, hints: Sequence[Hint] = ()) -> torch.device:
    """Move the network and the hints' networks to the device, with memory free for latents of `shape` (B, C, h, w)."""
    cells = 2 * shape[0] * shape[-2] * shape[-1]
    memory = cells * BYTES_PER_CELL * network_of(model).dtype.itemsize
    return host.load("unet", model.network.module, *control_hints.modules_of(hints), memory=memory)


def attached(model: Model, inpaint: Tensor | None = None) -> AbstractContextManager[None]:
    """Attach the model's patches and FreeU, and the output of its inpaint head, while the context lasts."""
    return network_of(model).attached(patches_of(model), model.freeu, inpaint)


def patches_of(model: Model) -> tuple[WeightPatch, ...]:
    """The patches of the network: those of its LoRAs, then the inpaint engine's."""
    return model.patches if model.inpaint is None else (*model.patches, model.inpaint.patch)


def model_sampling(model: Model, settings: SamplingSettings) -> ModelSampling:
    """The network's noise levels and prediction type; the schedulers lcm, tcd and edm_playground_v2.5 replace them."""
    return sigmas.effective(settings.scheduler, model.prediction, zero_snr=model.zero_snr)[1]


def latent_format(model: Model, settings: SamplingSettings) -> latents.LatentFormat:
    """The scale of the network's latents; the scheduler edm_playground_v2.5 selects Playground's."""
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
    hints: Sequence[Hint] = (),
) -> Denoise:
    """Return `denoise(x, sigma)`: the network on both sides with their timed sizes, then Fooocus's guidance.

    Guidance scale 1 runs the positive side only. Call it while `attached` is open: control-LoRAs share the network's
    patched weights. Raises BadValue for conditioning or hints that do not fit the model.
    """
    network, sampling = network_of(model), model_sampling(model, settings)
    dtype = network.dtype
    sides = [side_of(positive, model, "positive", sizes_of(model, settings, shape, False), shape[0], device)]
    if not guidance.without_negative(settings.cfg):
        sides += [side_of(negative, model, "negative", sizes_of(model, settings, shape, True), shape[0], device)]
    controls = control_hints.attach(network, model.name, hints, sampling, shape)
    prompts_at = image_hints.prompts_by_progress(network, model.name, hints, len(sides), shape[0], device)

    def denoise(x: Tensor, sigma: float) -> Tensor:
        host.check_interrupted()
        t = sampling.timestep(sigma)
        p = guidance.progress(t, dtype)
        outputs = network.predict(
            sampling.scaled_input(x, sigma),
            t,
            [side.at(t, settings.adm_end) for side in sides],
            control_hints.residuals_at(sigma, controls),
            prompts_at(p),
        )
        estimates = [sampling.denoised(x, output, sigma) for output in outputs]
        unconditional = estimates[1] if len(estimates) > 1 else None
        return guidance.combine(
            x, estimates[0], unconditional, settings.cfg, settings.sharpness, settings.adaptive_cfg, p
        )

    return denoise


def sizes_of(model: Model, settings: SamplingSettings, shape: torch.Size, negative: bool) -> SizeIds:
    """Size ids for latents of `shape`: scaled sizes for SDXL, size and aesthetic score for its refiner."""
    height, width = shape[-2] * latents.CELL, shape[-1] * latents.CELL
    if model.family == "sdxl-refiner":
        ids = refiner_ids(width, height, negative)
        return SizeIds(ids, ids)
    return size_ids(width, height, settings.adm_negative if negative else settings.adm_positive)


@dataclass(frozen=True)
class Side:
    """One side of guidance: tokens (B, n, D), pooled text (B, P), and the size ids over the run."""

    tokens: Tensor
    pooled: Tensor | None
    sizes: SizeIds

    def at(self, timestep: float, adm_end: float) -> Condition:
        """Return the condition for a timestep."""
        return Condition(self.tokens, self.pooled, self.sizes.at(timestep, adm_end))


def side_of(
    conditioning: Conditioning, model: Model, name: str, sizes: SizeIds, batch: int, device: torch.device
) -> Side:
    """Convert ComfyUI conditioning, called `name`, to one side of guidance. Raises BadValue when it does not fit."""
    tokens, extra = only_part(conditioning, name)
    pooled, network = extra.get("pooled_output"), network_of(model)
    if tokens.shape[-1] != network.token_width:
        raise BadValue(
            f"the {name} conditioning is {tokens.shape[-1]} wide and {model.name or 'the model'} takes "
            f"{network.token_width}: encode the prompt with the text encoders of the same checkpoint"
        )
    if pooled is None and network.takes_sizes:
        raise BadValue(f"the {name} conditioning has no pooled output: encode the prompt with Fooocus Encode Prompt")
    pooled = None if pooled is None else expanded(pooled, batch, name).to(device)
    return Side(expanded(tokens, batch, name).to(device), pooled, sizes)


def only_part(conditioning: Conditioning, name: str) -> tuple[Tensor, dict[str, Any]]:
    """Return the tokens (B, n, D) and the options of conditioning with one part. Raises BadValue for other counts."""
    if len(conditioning) != 1:
        raise BadValue(
            f"the {name} conditioning has {len(conditioning)} parts and Fooocus's sampler takes one: connect an encode "
            "node directly"
        )
    tokens, extra = conditioning[0]
    return tokens, extra


def expanded(values: Tensor, batch: int, name: str) -> Tensor:
    """Expand one row to the batch, or return one row for each latent. Raises BadValue for other counts."""
    if len(values) not in (1, batch):
        raise BadValue(
            f"the {name} conditioning has {len(values)} rows and the latent has {batch}: give one, or one for each"
        )
    return values.expand(batch, *values.shape[1:])


def step_callback(host: Host, model: Model, first: int = 0, total: int = 0) -> Callback:
    """Return the sampler's callback: it stops when the user interrupts, and reports progress with a preview.

    `first` and `total` place these steps in a longer run; total 0 means that they are all of it.
    """
    preview_of = preview.previewer(host, model)

    def after_first_evaluation(i: int, steps: int, denoised: Tensor, x: Tensor) -> None:
        host.check_interrupted()
        host.progress(first + i + 1, total or steps, lambda: preview_of(denoised))

    return after_first_evaluation
