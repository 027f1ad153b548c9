"""What of a request has no effect, in sentences for the caller."""

from __future__ import annotations

from collections.abc import Iterator

from ...pipelines.settings import INPAINT_MODES, NO_FILE, PERFORMANCES
from . import models
from .endpoints import Request
from .graphs import DISABLED, Plan, overrides, plan_of

OVERRIDDEN = (
    "inpaint_disable_initial_latent",
    "inpaint_engine",
    "inpaint_strength",
    "inpaint_respective_field",
    "inpaint_erode_or_dilate",
)
GUIDED = ("negative_prompt", "guidance_scale", "sharpness")


def notices_of(request: Request) -> tuple[str, ...]:
    """A sentence for each part of a request that changes nothing."""
    plan = plan_of(request)
    return tuple(
        notice for part in (_unknown, _pictures, _inpainting, _distilled, _fast) for notice in part(request, plan)
    )


def _unknown(request: Request, plan: Plan) -> Iterator[str]:
    if request.unknown:
        yield f"{request.endpoint} does not have these fields, which are ignored: {', '.join(request.unknown)}"


def _pictures(request: Request, plan: Plan) -> Iterator[str]:
    """Pictures that the request names and does not use."""
    given = request.input
    if _of(given, "inpaint_image_url") and not plan.inpaint:
        if isinstance(given, models.ImagePromptInput) and not given.mixing_image_prompt_and_inpaint:
            yield "inpaint_image_url is not used: set mixing_image_prompt_and_inpaint to inpaint it"
        else:
            yield "inpaint_image_url is not used: give a mask, or a side to outpaint"
    if _of(given, "mask_image_url") and not _of(given, "inpaint_image_url"):
        yield "mask_image_url is not used: give the picture that it belongs to as inpaint_image_url"
    if _of(given, "uov_image_url") and plan.method == DISABLED:
        yield f"uov_image_url is not used: {_why_not_varied(given, plan)}"
    named = [name for name in ("control_image_url", *SLOTS) if _has_picture(given, name)]
    if named and not plan.slots:
        flag = "vary_upscale" if isinstance(given, models.UpscaleOrVaryInput) else "inpaint"
        yield f"{', '.join(named)} not used: set mixing_image_prompt_and_{flag} to use them"


SLOTS = tuple(f"image_prompt_{number}" for number in range(1, 5))


def _why_not_varied(given: models.Input, plan: Plan) -> str:
    if _of(given, "uov_method") == DISABLED:
        return "choose a uov_method"
    if plan.inpaint:
        return "a picture is inpainted, which goes before"
    return "set mixing_image_prompt_and_vary_upscale to vary or enlarge it"


def _inpainting(request: Request, plan: Plan) -> Iterator[str]:
    """Options of inpainting that the request sets and does not use."""
    given = request.input
    if isinstance(given, models.InpaintInput) and not overrides(given):
        unused = [name for name in OVERRIDDEN if _changed(given, name)]
        if unused:
            yield f"{', '.join(unused)} not used: set override_inpaint_options to use them"
    if _of(given, "outpaint_selections") and plan.inpaint and not plan.sides:
        outpainting = next(mode for mode, own in INPAINT_MODES.items() if own.outpaints)
        yield f"outpaint_selections is not used: only the mode {outpainting!r} outpaints"


def _distilled(request: Request, plan: Plan) -> Iterator[str]:
    given = request.input
    if not PERFORMANCES[given.performance].distilled or not plan.samples:
        return
    unused = [name for name in GUIDED if _changed(given, name)]
    if unused:
        yield f"{', '.join(unused)} not used: {given.performance} runs without guidance"
    if given.refiner_model != NO_FILE:
        yield f"refiner_model is not used: {given.performance} runs without a refiner"


def _fast(request: Request, plan: Plan) -> Iterator[str]:
    if not plan.samples and request.input.num_images > 1:
        yield f"num_images is not used: {plan.method} gives one image"


def _of(given: models.Input, name: str) -> object:
    return getattr(given, name, None)


def _has_picture(given: models.Input, name: str) -> bool:
    value = _of(given, name)
    return bool(value.image_url if isinstance(value, models.ImagePrompt) else value)


def _changed(given: models.Input, name: str) -> bool:
    """True for a field that was given another value than its default."""
    return name in given.model_fields_set and _of(given, name) != type(given).model_fields[name].default
