"""Planning a run: performance mode, image size and noise levels (Fooocus async_worker.py: handler)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...errors import BadValue, chosen
from ...functional import latents, samplers, sigmas
from ...functional.model_sampling import discrete
from ...models.handles import Model
from ...names import same
from ...settings import ASPECT_RATIOS, CUSTOM_SIZE, MAX_SEED, PERFORMANCES, SAMPLERS, SCHEDULERS, SIZE_OF_SDXL
from ...types import Lora, SamplingSettings

LATENT_CHANNELS = 4


def performance(
    name: str, settings: SamplingSettings, loras: tuple[Lora, ...], overwrite_step: int = -1
) -> tuple[SamplingSettings, tuple[Lora, ...]]:
    """Apply a performance mode to the settings, and append its LoRA to `loras`.

    The distilled modes force sampler, scheduler, guidance 1, sharpness 0 and unscaled sizes (Fooocus set_lcm_defaults,
    set_lightning_defaults, set_hyper_sd_defaults). A positive `overwrite_step` replaces the mode's number of steps.
    Raises UnknownName.
    """
    name = chosen("performance", name, PERFORMANCES)
    mode = PERFORMANCES[name]
    steps = overwrite_step if overwrite_step > 0 else mode.steps
    plain = replace(settings, performance=name, steps=steps)
    if not mode.distilled:
        return plain, loras
    forced = replace(
        plain,
        sampler=mode.sampler,
        scheduler=mode.scheduler,
        cfg=1.0,
        adaptive_cfg=1.0,
        sharpness=0.0,
        adm_positive=1.0,
        adm_negative=1.0,
        adm_end=0.0,
    )
    return forced, (*loras, Lora(mode.lora, mode.lora_weight, required=True))


def empty_latent(
    aspect_ratio: str, width: int, height: int, batch_size: int, model: Model | None = None
) -> tuple[dict[str, Tensor], int, int]:
    """Return latents of zeros (B, 4, H/8, W/8), and their width and height in pixels.

    A listed ratio is for networks trained at 1024 pixels; for a smaller `model` it is scaled down, to multiples of 8.
    With 'custom', `width` and `height` are rounded down to multiples of 8. Raises UnknownName, and BadValue for sizes
    below 8 pixels.
    """
    if not same(aspect_ratio, CUSTOM_SIZE):
        hint = "or choose custom, with a width and a height"
        aspect_ratio = chosen("aspect ratio", aspect_ratio.replace("*", "×"), ASPECT_RATIOS, hint)
        scale = (model.native_size if model else SIZE_OF_SDXL) / SIZE_OF_SDXL
        width, height = (8 * round(int(side) * scale / 8) for side in aspect_ratio.split("×"))
    rows, columns = latents.latent_size(width, height)
    if rows < 1 or columns < 1 or batch_size < 1:
        raise BadValue(
            f"{width}×{height} pixels times {batch_size} is too small: choose sides of 64 or more, and a batch of 1 or "
            "more"
        )
    samples = torch.zeros((batch_size, LATENT_CHANNELS, rows, columns))
    return {"samples": samples}, columns * latents.CELL, rows * latents.CELL


def schedule(model: Model, settings: SamplingSettings, denoise: float = 1.0) -> Tensor:
    """Return the decreasing noise levels of a run, ending in 0: (steps + 1,) float32 for most schedulers."""
    settings = with_known_names(settings)
    if not 0 < denoise <= 1:
        raise BadValue(f"denoise is {denoise}: choose a value above 0, up to 1")
    if settings.steps < 1:
        raise BadValue(f"steps is {settings.steps}: choose 1 or more")
    generator, sampling = sigmas.effective(
        settings.scheduler, model.prediction, settings.as_fooocus, zero_snr=model.zero_snr
    )
    discards = samplers.SAMPLERS[settings.sampler].discards
    return sigmas.schedule(generator, sampling, settings.steps, denoise, discards, sdxl=model.family != "sd15")


def refiner_schedule(refiner: Model, settings: SamplingSettings, denoise: float) -> Tensor:
    """Return the noise levels from which swap method 'vae' takes those of the refiner (Fooocus calculate_sigmas_all).

    Fooocus reads them from the network's plain table even for `lcm`, `tcd` and `edm_playground_v2.5`, from the true
    lists of `turbo` and `align_your_steps`, and leaves out the last level before 0 for dpm_2 alone.
    """
    sampler = samplers.SAMPLERS[settings.sampler]
    generator, _ = sigmas.effective(settings.scheduler)
    table = discrete(refiner.prediction, refiner.zero_snr)
    discards = sampler.discards and not sampler.vp
    return sigmas.schedule(generator, table, settings.steps, denoise, discards, sdxl=refiner.family != "sd15")


def with_known_names(settings: SamplingSettings) -> SamplingSettings:
    """Return the settings with sampler and scheduler as they are spelled here. Raises UnknownName."""
    sampler = chosen("sampler", settings.sampler, SAMPLERS)
    return replace(settings, sampler=sampler, scheduler=chosen("scheduler", settings.scheduler, SCHEDULERS))


def seeds_of(latent: dict[str, Any], seed: int) -> list[int]:
    """Return one seed for each image of a batch: counting up from `seed`, or offset by the latent's `batch_index`."""
    indices = latent.get("batch_index") or range(len(latent["samples"]))
    return [(seed + i) % (MAX_SEED + 1) for i in indices]
