"""The functions of other nodes around ComfyUI's guidance (pre-CFG and post-CFG), called around Fooocus's.

They get what ComfyUI's own sampling gives them (comfy/samplers.py: sampling_function, cfg_function).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

import comfy.samplers
import torch
from torch import Tensor

from ....pipelines.functional.regions import Area
from ....pipelines.models.protocols import Combine

Conds = Sequence[Sequence[dict[str, Any]]]
"""The conditions of each side of guidance, as ComfyUI's samplers hold them."""

BEFORE, AFTER = "sampler_pre_cfg_function", "sampler_post_cfg_function"
PREDICTION = "sampler_calc_cond_batch_function"  # takes the place of the network's call for all conditions
BOTH = 2  # sides


def has_any(options: Mapping[str, Any]) -> bool:
    """True when the options of a MODEL have functions around guidance."""
    return bool(options.get(BEFORE) or options.get(AFTER))


def prediction(options: Mapping[str, Any]) -> Callable[..., Sequence[Tensor]]:
    """Return the function that predicts for conditions: ComfyUI's own, or another node's in its place."""
    replacement = options.get(PREDICTION)
    if replacement is None:
        own: Callable[..., Sequence[Tensor]] = comfy.samplers.calc_cond_batch
        return own

    def replaced(model: Any, conds: Conds, x: Tensor, levels: Tensor, options: dict[str, Any]) -> Sequence[Tensor]:
        given = {"conds": conds, "input": x, "sigma": levels, "model": model, "model_options": options}
        predictions: Sequence[Tensor] = replacement(given)
        return predictions

    return replaced


def guided(
    options: Mapping[str, Any], conds: Conds, predictions: Sequence[Tensor], combine: Combine, shared: dict[str, Any]
) -> Tensor:
    """Combine the predictions of the sides, between the functions before and after guidance.

    `shared` are the arguments that all of them take. A side that is not evaluated is None among the conditions, and
    predicts 0.
    """
    positive, negative = conds[0], conds[1] if len(conds) == BOTH else None
    outputs = [*predictions] if negative is not None else [predictions[0], torch.zeros_like(predictions[0])]
    for function in options.get(BEFORE) or ():
        outputs = function({"conds": [positive, negative], "conds_out": outputs, "timestep": shared["sigma"], **shared})
    denoised = combine(outputs)
    for function in options.get(AFTER) or ():
        denoised = function(
            {
                "denoised": denoised,
                "cond": positive,
                "uncond": negative,
                "cond_denoised": outputs[0],
                "uncond_denoised": outputs[1],
                **shared,
            }
        )
    return denoised


def areas_of(conds: Iterable[Iterable[Mapping[str, Any]] | None]) -> dict[UUID, Area]:
    """Return the area of each condition that is for a part of the latents."""
    return {cond["uuid"]: Area(*cond["area"]) for side in conds for cond in side or () if "area" in cond}
