"""Masks that paint nothing, with which the endpoints draw from the prompt alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ...pipelines.picture_files import opened
from .endpoints import Request
from .graphs import plan_of

LEVEL = 127
"""The value of a mask's pixel above which it is repainted."""


def without_empty_mask(request: Request, path_of: Callable[[str], Path]) -> Request:
    """The request without its mask if nothing is to be painted: neither a pixel of the mask nor a side.

    `path_of`: the file of a picture's address. Raises BadFile for a mask that is no picture.
    """
    plan = plan_of(request)
    if not plan.mask or plan.sides:
        return request
    own = plan.masks_itself
    path = path_of(plan.inpaint if own else plan.mask)
    if paints(path, own, bool(getattr(request.input, "invert_mask", False))):
        return request
    return replace(request, input=request.input.model_copy(update={"mask_image_url": None}))


def paints(path: Path, own: bool, inverted: bool) -> bool:
    """True for a mask with a pixel to repaint: a white one, a transparent one with `own`; any other if inverted."""
    with opened(path) as picture:
        counts = picture.convert("RGBA").getchannel("A" if own else "R").histogram()
    repainted = counts[::-1] if own else counts
    return any(repainted[: LEVEL + 1] if inverted else repainted[LEVEL + 1 :])
