"""Fooocus/inpaint: making, changing and combining masks, and extending images for outpainting."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..pipelines import stages
from ..pipelines.settings import MASK_COMBINATIONS, SIDES
from . import sockets
from .schema import Boolean, Combo, Float, Input, Int, Output, Schema
from .v1 import Node

if TYPE_CHECKING:
    from torch import Tensor

GROWTH = Int(default=0, min=-64, max=64)


class FooocusMaskThreshold(Node):
    schema = Schema(
        display_name="Fooocus Mask Threshold",
        category="Fooocus/inpaint",
        description="Makes a hard-edged mask from an image, by the mean of its colour channels, or from a soft mask.",
        search_aliases=("mask", "image to mask", "threshold mask", "binary mask", "binarize"),
        inputs=(
            Input("mask", sockets.ANY_MASK, "Mask, or an image that is white where to repaint."),
            Input("level", Int(default=127, min=0, max=254), "Brightness, 0 to 254, above which a pixel is repainted."),
            Input("image", "IMAGE", "Image that the mask belongs to: the mask is resized to it.", optional=True),
        ),
        outputs=(Output("mask", "MASK", "1 where to repaint, 0 elsewhere."),),
    )

    def run(self, mask: Tensor, level: int, image: Tensor | None = None) -> tuple[Tensor]:
        return (stages.masks.threshold(mask, level, image),)


class FooocusMaskCombine(Node):
    schema = Schema(
        display_name="Fooocus Mask Combine",
        category="Fooocus/inpaint",
        description="Combines two masks into one.",
        search_aliases=("mask", "combine masks", "mask composite", "add masks", "subtract masks"),
        inputs=(
            Input("first", "MASK", "First mask."),
            Input("second", "MASK", "Second mask, resized to the first."),
            Input(
                "how",
                Combo(MASK_COMBINATIONS, MASK_COMBINATIONS[0]),
                "add: where either mask is set. intersect: where both are set. subtract: where only the first is set.",
            ),
        ),
        outputs=(Output("mask", "MASK", "The combined mask, the size of the first."),),
    )

    def run(self, first: Tensor, second: Tensor, how: str) -> tuple[Tensor]:
        return (stages.masks.combine(first, second, how),)


class FooocusMaskGrow(Node):
    schema = Schema(
        display_name="Fooocus Mask Grow",
        category="Fooocus/inpaint",
        description="Grows or shrinks a mask.",
        search_aliases=("mask", "grow mask", "expand mask", "dilate", "erode", "shrink mask"),
        inputs=(
            Input("mask", "MASK", "Mask to change."),
            Input("amount", GROWTH, "Number of pixels to grow the mask by. Negative values shrink it."),
        ),
        outputs=(Output("mask", "MASK", "The changed mask."),),
    )

    def run(self, mask: Tensor, amount: int) -> tuple[Tensor]:
        return (stages.masks.grow(mask, amount),)


class FooocusMaskInvert(Node):
    schema = Schema(
        display_name="Fooocus Mask Invert",
        category="Fooocus/inpaint",
        description="Inverts a mask: what would be kept is repainted, and the reverse.",
        search_aliases=("mask", "invert mask"),
        inputs=(Input("mask", "MASK", "Mask to invert."),),
        outputs=(Output("mask", "MASK", "The inverted mask."),),
    )

    def run(self, mask: Tensor) -> tuple[Tensor]:
        return (stages.masks.invert(mask),)


def side_switches(tooltip: str, prefix: str = "") -> Iterator[Input]:
    """A switch for each side that an image can be extended on; the tooltip names it with {side}."""
    for side in SIDES:
        yield Input(prefix + side, Boolean(), tooltip.format(side=side))


def chosen_sides(*switches: bool) -> list[str]:
    """The names of the sides that are switched on."""
    return [side for side, on in zip(SIDES, switches, strict=True) if on]


class FooocusOutpaintPad(Node):
    schema = Schema(
        display_name="Fooocus Outpaint Pad",
        category="Fooocus/inpaint",
        description="Extends an image on the chosen sides by repeating its border pixels, and masks the new area for "
        "outpainting.",
        search_aliases=("outpaint", "outpainting", "pad image", "extend image", "uncrop"),
        inputs=(
            Input("image", "IMAGE", "Image to extend."),
            *side_switches("Extend the image on the {side}."),
            Input(
                "share",
                Float(0.3, min=0.0, max=4.0, step=0.01),
                "Amount to add on each chosen side, as a fraction of the image's width or height.",
            ),
            Input(
                "pixels",
                Int(default=0, min=0, max=4096),
                "Number of pixels to add on each chosen side, instead of the fraction. 0 uses the fraction.",
            ),
            Input("mask", "MASK", "What to repaint in the image itself.", optional=True),
        ),
        outputs=(
            Output("image", "IMAGE", "The extended image."),
            Output("mask", "MASK", "1 in the new area and where the input mask is set."),
        ),
    )

    def run(
        self,
        image: Tensor,
        left: bool,
        top: bool,
        right: bool,
        bottom: bool,
        share: float,
        pixels: int,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        return stages.masks.pad_out(image, mask, chosen_sides(left, top, right, bottom), share, pixels)
