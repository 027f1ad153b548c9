"""Fooocus's guidance and size conditioning as patches on a MODEL, for any sampler of ComfyUI."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import comfy.conds
import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ....pipelines.functional import guidance
from ....pipelines.functional.adm import size_ids
from ....pipelines.functional.latents import CELL
from ....pipelines.stages.sampling.conditioning import SIZES
from ....pipelines.types import LATENT_KNOWN, Latent, SamplingSettings
from .network import KEY, KNOWN
from .recognise import dtype_of, family_of

EMBEDDED = 6 * 256  # channels of the six size ids behind the pooled text
NAMES = "fooocus_stages.sides"  # the key of the wrapper that marks the negative conditions
NEGATIVE = 1  # the place of the negative side in ComfyUI's lists

Conds = Sequence["list[dict[str, Any]] | None"]


def patched(patcher: Any, settings: SamplingSettings, latent: Latent | None = None) -> Any:
    """Return a clone of a MODEL with Fooocus's sharpness, adaptive CFG and ADM scaling.

    The guidance scale is that of the sampler that uses it. An inpaint engine of the MODEL reads what is known from the
    `latent` of Fooocus Inpaint Encode. Raises BadValue for a MODEL that is not SDXL or SD 1.5.
    """
    family = family_of(patcher)
    clone = patcher.clone()
    clone.set_model_sampler_cfg_function(Guidance(settings))
    if latent is not None and (known := latent.get(LATENT_KNOWN)):
        clone.set_attachments(KNOWN, known)
    if family == "sdxl":
        clone.remove_wrappers_with_key(WrappersMP.CALC_COND_BATCH, KEY)
        clone.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, KEY, TimedSizes(settings))
        clone.remove_wrappers_with_key(WrappersMP.SAMPLER_SAMPLE, NAMES)
        clone.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, NAMES, with_named_sides)
    return clone


def guidance_of(patcher: Any) -> SamplingSettings | None:
    """Return the settings with which `patched` made a MODEL; None for another."""
    found = patcher.model_options.get("sampler_cfg_function")
    return found.settings if isinstance(found, Guidance) else None


def timestep_of(model: Any, sigma: Tensor) -> float:
    """Return the timestep of a noise level, the same for all rows."""
    return float(model.model_sampling.timestep(sigma.flatten()[:1])[0])


def with_named_sides(execute: Callable[..., Any], guider: Any, *given: Any, **named: Any) -> Any:
    """Wrap a sampler of ComfyUI, to mark the negative conditions of the run.

    Functions of other nodes around the guidance also let the network predict for them alone.
    """
    if negative := guider.conds.get("negative"):
        guider.conds["negative"] = [{"prompt_type": "negative", **cond} for cond in negative]
    return execute(guider, *given, **named)


@dataclass(frozen=True)
class Guidance:
    """Fooocus's guidance, in the form of ComfyUI's `sampler_cfg_function`: it returns x minus the prediction."""

    settings: SamplingSettings

    def __call__(self, args: dict[str, Any]) -> Tensor:
        x: Tensor = args["input"]
        cfg, model = float(args["cond_scale"]), args["model"]
        progress = guidance.progress(timestep_of(model, args["sigma"]), dtype_of(model))
        negative = None if guidance.without_negative(cfg) else args["uncond_denoised"]
        sharpness, adaptive = self.settings.sharpness, self.settings.adaptive_cfg
        return x - guidance.combine(x, args["cond_denoised"], negative, cfg, sharpness, adaptive, progress)


@dataclass(frozen=True)
class TimedSizes:
    """Wraps ComfyUI's prediction of the conditions, to give SDXL the image size as Fooocus scales it over the run.

    Conditions that state sizes themselves keep them.
    """

    settings: SamplingSettings

    def __call__(
        self, execute: Callable[..., Any], model: Any, conds: Conds, x: Tensor, sigma: Tensor, options: dict[str, Any]
    ) -> Any:
        timestep = timestep_of(model, sigma)
        sides = [self._side(model, side, i == NEGATIVE, x, timestep) for i, side in enumerate(conds)]
        return execute(model, sides, x, sigma, options)

    def _side(
        self, model: Any, side: list[dict[str, Any]] | None, second: bool, x: Tensor, timestep: float
    ) -> list[dict[str, Any]] | None:
        if side is None:
            return None
        return [self._sized(model, cond, second, x, timestep) for cond in side]

    def _sized(self, model: Any, cond: dict[str, Any], second: bool, x: Tensor, timestep: float) -> dict[str, Any]:
        given = cond["model_conds"].get("y")
        if given is None or any(key in cond for key in SIZES):
            return cond
        negative = cond.get("prompt_type", "negative" if second else "") == "negative"
        scale = self.settings.adm_negative if negative else self.settings.adm_positive
        ids = size_ids(x.shape[-1] * CELL, x.shape[-2] * CELL, scale).at(timestep, self.settings.adm_end)
        y = given.cond
        embedded = model.embedder(torch.tensor(ids, dtype=torch.float32, device=y.device)).flatten().to(y)
        sized = torch.cat([y[:, :-EMBEDDED], embedded.expand(len(y), -1)], dim=1)
        return {**cond, "model_conds": {**cond["model_conds"], "y": comfy.conds.CONDRegular(sized)}}
