"""The denoiser of a run: the network on both sides of guidance, with timed sizes and hints, then the guidance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from ...functional import guidance, latents, sigmas
from ...functional.model_sampling import ModelSampling
from ...functional.regions import Area
from ...functional.stepping import Callback, Denoise
from ...host import Host
from ...models.handles import Hint, Model
from ...models.protocols import Evaluation, Part, Run
from ...models.weights.merging import WeightPatch
from ...types import Conditioning, SamplingSettings
from . import control_hints, image_hints, preview
from .conditioning import Reader
from .entries import Entry, acting_at, are_plain, estimates, matched

Seen = Callable[[Sequence[Tensor]], None]


def running(
    host: Host,
    model: Model,
    settings: SamplingSettings,
    levels: Tensor,
    shape: torch.Size,
    hints: Sequence[Hint] = (),
) -> AbstractContextManager[torch.device]:
    """Keep the model's network and those of the hints on the device, patches attached, while the context lasts.

    `shape` (B, C, h, w) is that of the latents, `levels` are the noise levels of the run.
    """
    run = Run(tuple(shape), levels, model_sampling(model, settings))

    def load(modules: Sequence[nn.Module], memory: int) -> torch.device:
        return host.load("unet", *modules, memory=memory)

    return model.network.running(load, run, patches_of(model), model.freeu, control_hints.modules_of(hints))


def patches_of(model: Model) -> tuple[WeightPatch, ...]:
    """The patches of the network: those of its LoRAs, then the inpaint engine's."""
    return model.patches if model.inpaint is None else (*model.patches, model.inpaint.patch)


def model_sampling(model: Model, settings: SamplingSettings) -> ModelSampling:
    """The network's noise levels and prediction type; the schedulers lcm, tcd and edm_playground_v2.5 replace them."""
    return sigmas.effective(settings.scheduler, model.prediction, zero_snr=model.zero_snr)[1]


def latent_format(model: Model, settings: SamplingSettings) -> latents.LatentFormat:
    """The scale of the network's latents; the scheduler edm_playground_v2.5 selects Playground's."""
    is_playground = model.family != "sd15" and settings.scheduler == "edm_playground_v2.5"
    return latents.PLAYGROUND if is_playground else own_latent_format(model)


def own_latent_format(model: Model) -> latents.LatentFormat:
    """The scale of the network's latents whatever the scheduler: that of the inpaint head's input in Fooocus."""
    return latents.SD15 if model.family == "sd15" else latents.SDXL


def guided(
    host: Host,
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    settings: SamplingSettings,
    shape: torch.Size,
    device: torch.device,
    hints: Sequence[Hint] = (),
    inpaint: Tensor | None = None,
    seen: Seen | None = None,
) -> Denoise:
    """Return `denoise(x, sigma)`: the network on both sides with their timed sizes, then Fooocus's guidance.

    Guidance scale 1 runs the positive side only, unless functions of other nodes read both, or `seen`, which gets the
    predictions at each evaluation. An entry with an area is predicted on its crop of x, and sees the same crop of the
    control images and of `inpaint` (1 or B, C, h, w), the output of the inpaint head. Call it while `running` is open:
    control-LoRAs share the network's patched weights. Raises BadValue for conditioning or hints that do not fit the
    model.
    """
    network, sampling = model.network, model_sampling(model, settings)
    dtype = network.dtype
    reader = Reader(network, sampling, model, settings, shape, device)
    sides = [reader.entries(positive, "positive")]
    if seen or needs_negative(model, settings):
        sides = matched([*sides, reader.entries(negative, "negative")])
    controls = control_hints.attach(network, model.name, hints, sampling, shape)
    prompts_at = image_hints.prompts_by_progress(network, model.name, hints, len(sides), shape[0], device)
    inpaint = None if inpaint is None else inpaint.to(device, dtype)

    def denoise(x: Tensor, sigma: float) -> Tensor:
        host.check_interrupted()
        t = sampling.timestep(sigma)
        p = guidance.progress(t, dtype)
        images = prompts_at(p)

        def evaluate(x: Tensor, area: Area, entries: Sequence[tuple[int, Entry]]) -> list[Tensor]:
            return network.denoised(
                x,
                sigma,
                sampling,
                [entry.at(t, settings.adm_end) for _, entry in entries],
                control_hints.residuals_at(sigma, controls, area),
                images and images.of_sides([side for side, _ in entries]),
                None if inpaint is None else area.crop(inpaint),
            )

        def part(entry: Entry, weights: Tensor | None) -> Part:
            residuals = control_hints.residuals_at(sigma, controls, entry.area)
            return Part(entry.at(t, settings.adm_end), entry.area, weights, residuals)

        def parts() -> list[list[Part]]:
            if are_plain(sides):
                return [[part(side[0], None)] for side in sides]
            return [[part(*acting) for acting in acting_at(side, x, sigma)] for side in sides]

        def combine(predictions: Sequence[Tensor]) -> Tensor:
            if seen:
                seen(predictions)
            positive, negative = predictions[0], predictions[1] if len(predictions) > 1 else None
            return guidance.combine(x, positive, negative, settings.cfg, settings.sharpness, settings.adaptive_cfg, p)

        evaluation = Evaluation(x, sigma, sampling, settings.cfg, parts, images, inpaint)
        return network.guided(estimates(sides, x, sigma, evaluate), combine, evaluation)

    return denoise


def needs_negative(model: Model, settings: SamplingSettings) -> bool:
    """True unless the guidance scale is 1 and nothing else reads the negative side."""
    return model.network.reads_negative or not guidance.without_negative(settings.cfg)


def step_callback(host: Host, model: Model, first: int = 0, total: int = 0) -> Callback:
    """Return the sampler's callback: it stops when the user interrupts, and reports progress with a preview.

    `first` and `total` place these steps in a longer run; total 0 means that they are all of it.
    """
    preview_of = preview.previewer(host, model)

    def after_first_evaluation(i: int, steps: int, denoised: Tensor, x: Tensor) -> None:
        host.check_interrupted()
        host.progress(first + i + 1, total or steps, lambda: preview_of(denoised))

    return after_first_evaluation
