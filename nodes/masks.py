"""Fooocus/inpaint: masks made, changed and put together, and pictures continued beyond their border."""

from __future__ import annotations

from typing import Any

from ..pipelines import stages
from ..pipelines.settings import MASK_COMBINATIONS, SIDES
from . import sockets


class FooocusMaskThreshold:
    DESCRIPTION = "A mask of clear edges: of a picture, by the mean of its colours, or of a mask with soft ones."
    CATEGORY = "Fooocus/inpaint"
    FUNCTION = "run"
    RETURN_TYPES = ("MASK",)
    RETURN_NAMES = ("mask",)
    OUTPUT_TOOLTIPS = ("1 where to repaint, else 0.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "mask": (sockets.ANY_MASK, {"tooltip": "A mask, or a picture that is white where to repaint."}),
                "level": (
                    "INT",
                    {"default": 127, "min": 0, "max": 254, "tooltip": "What is brighter, of 255, is repainted."},
                ),
            },
            "optional": {
                "image": ("IMAGE", {"tooltip": "The picture that the mask is for; it is resampled to its size."}),
            },
        }

    def run(self, mask: Any, level: int, image: Any = None) -> tuple[Any]:
        return (stages.masks.threshold(mask, level, image),)


class FooocusMaskCombine:
    DESCRIPTION = "Two masks as one."
    CATEGORY = "Fooocus/inpaint"
    FUNCTION = "run"
    RETURN_TYPES = ("MASK",)
    RETURN_NAMES = ("mask",)
    OUTPUT_TOOLTIPS = ("The mask, in the size of the first.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "first": ("MASK", {"tooltip": "A mask."}),
                "second": ("MASK", {"tooltip": "Another, resampled to the size of the first."}),
                "how": (
                    list(MASK_COMBINATIONS),
                    {
                        "default": MASK_COMBINATIONS[0],
                        "tooltip": "add: what either has. intersect: what both have. subtract: the first less the "
                        "second.",
                    },
                ),
            }
        }

    def run(self, first: Any, second: Any, how: str) -> tuple[Any]:
        return (stages.masks.combine(first, second, how),)


class FooocusMaskGrow:
    DESCRIPTION = "Grows a mask to all sides, or shrinks it."
    CATEGORY = "Fooocus/inpaint"
    FUNCTION = "run"
    RETURN_TYPES = ("MASK",)
    RETURN_NAMES = ("mask",)
    OUTPUT_TOOLTIPS = ("The changed mask.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "mask": ("MASK", {"tooltip": "The mask to change."}),
                "amount": (
                    "INT",
                    {"default": 0, "min": -64, "max": 64, "tooltip": "Pixels to grow by; below 0 it shrinks."},
                ),
            }
        }

    def run(self, mask: Any, amount: int) -> tuple[Any]:
        return (stages.masks.grow(mask, amount),)


class FooocusMaskInvert:
    DESCRIPTION = "Turns a mask round: what was kept is repainted."
    CATEGORY = "Fooocus/inpaint"
    FUNCTION = "run"
    RETURN_TYPES = ("MASK",)
    RETURN_NAMES = ("mask",)
    OUTPUT_TOOLTIPS = ("The mask turned round.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"mask": ("MASK", {"tooltip": "The mask to turn round."})}}

    def run(self, mask: Any) -> tuple[Any]:
        return (stages.masks.invert(mask),)


class FooocusOutpaintPad:
    DESCRIPTION = "Makes a picture larger to the sides chosen: its border goes on there, and the mask says so."
    CATEGORY = "Fooocus/inpaint"
    FUNCTION = "run"
    RETURN_TYPES = ("IMAGE", "MASK")
    RETURN_NAMES = ("image", "mask")
    OUTPUT_TOOLTIPS = ("The larger picture.", "1 where it is new, and where the mask was.")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "image": ("IMAGE", {"tooltip": "The picture to make larger."}),
                **sides_inputs(""),
                "share": (
                    "FLOAT",
                    {
                        "default": 0.3,
                        "min": 0.0,
                        "max": 4.0,
                        "step": 0.01,
                        "tooltip": "How much is added, as a share of the width or height.",
                    },
                ),
                "pixels": (
                    "INT",
                    {"default": 0, "min": 0, "max": 4096, "tooltip": "How many pixels instead; 0: the share counts."},
                ),
            },
            "optional": {"mask": ("MASK", {"tooltip": "What is to be repainted in the picture itself."})},
        }

    def run(
        self, image: Any, left: bool, top: bool, right: bool, bottom: bool, share: float, pixels: int, mask: Any = None
    ) -> tuple[Any, Any]:
        return stages.masks.pad_out(image, mask, chosen_sides(left, top, right, bottom), share, pixels)


def sides_inputs(prefix: str) -> dict[str, Any]:
    """A switch for each side that a picture can grow to."""
    return {
        prefix + side: ("BOOLEAN", {"default": False, "tooltip": f"Make it larger: {word}."})
        for side, word in zip(SIDES, ("to the left", "upwards", "to the right", "downwards"), strict=True)
    }


def chosen_sides(*switches: bool) -> list[str]:
    """The names of the sides that are switched on."""
    return [side for side, on in zip(SIDES, switches, strict=True) if on]
