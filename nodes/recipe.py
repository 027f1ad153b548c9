"""Fooocus/recipe: all settings at once, from a picture that was saved with them or from a preset."""

from __future__ import annotations

import hashlib
from typing import Any

from ..pipelines import stages
from . import sockets
from .checks import problem
from .comfy import current_host
from .headless import check_picture, find_picture, picture_names

RECIPE = (
    ("text", "STRING", "The prompt, for a prompt node."),
    ("negative", "STRING", "The negative prompt."),
    ("styles", "STRING", "Style names separated by commas."),
    ("settings", sockets.SETTINGS, "Sampling settings, for a performance node."),
    ("loras", sockets.LORAS, "The LoRAs, for a performance node, which adds the mode's own."),
    ("performance", sockets.CHOICE, "The performance mode."),
    ("overwrite_step", "INT", "The number of steps; −1 when it is the mode's own."),
    ("aspect_ratio", sockets.CHOICE, "The size, if it is one of the listed ones, else custom."),
    ("width", "INT", "Width in pixels."),
    ("height", "INT", "Height in pixels."),
    ("ckpt_name", sockets.CHOICE, "The checkpoint file."),
    ("vae_name", sockets.CHOICE, "The VAE file, or the checkpoint's own."),
    ("clip_skip", "INT", "Which layer of the text encoders is read, from the end."),
    ("refiner_name", sockets.CHOICE, "The refiner's checkpoint file, or None."),
    ("refiner_switch", "FLOAT", "Fraction of the steps after which the refiner takes over."),
    ("refiner_swap", sockets.CHOICE, "How it takes over: joint, separate or vae."),
    ("refiner_step", "INT", "The step at which it takes over in place of the fraction; −1 without one."),
    ("b1", "FLOAT", "FreeU's gain b1; all four are 1 without FreeU."),
    ("b2", "FLOAT", "FreeU's gain b2."),
    ("s1", "FLOAT", "FreeU's gain s1."),
    ("s2", "FLOAT", "FreeU's gain s2."),
    ("num_images", "INT", "How many pictures."),
    ("inpaint_engine", sockets.CHOICE, "The inpaint engine, or None."),
)
NAMES, TYPES, TOOLTIPS = (tuple(column) for column in zip(*RECIPE, strict=True))


class FooocusReadInfo:
    DESCRIPTION = (
        "Reads from a picture file how it was made, in Fooocus's or A1111's text. Wire the outputs to make it again."
    )
    CATEGORY = "Fooocus/recipe"
    FUNCTION = "run"
    RETURN_TYPES = (*TYPES, "INT", "STRING")
    RETURN_NAMES = (*NAMES, "seed", "info")
    OUTPUT_TOOLTIPS = (*TOOLTIPS, "The seed of the picture.", "The text as it stands in the file.")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        pictures = picture_names() or [""]
        tooltip = "A picture file as it was saved: png, jpeg or webp of Fooocus, A1111 or this pack."
        return {"required": {"image": (pictures, {"default": pictures[0], "image_upload": True, "tooltip": tooltip})}}

    @classmethod
    def VALIDATE_INPUTS(cls, image: str) -> bool | str:
        return check_picture(image)

    @classmethod
    def IS_CHANGED(cls, image: str) -> str:
        return hashlib.sha256(find_picture(image).read_bytes()).hexdigest()

    def run(self, image: str) -> tuple[Any, ...]:
        recipe, text = stages.from_picture.of_picture(current_host(), find_picture(image))
        return (*stages.recipe.outputs(recipe), recipe.seed, text)


class FooocusPreset:
    DESCRIPTION = "A Fooocus preset: model, LoRAs, styles, size and sampling under one name."
    CATEGORY = "Fooocus/recipe"
    FUNCTION = "run"
    RETURN_TYPES = TYPES
    RETURN_NAMES = NAMES
    OUTPUT_TOOLTIPS = TOOLTIPS

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        presets = stages.presets.names(current_host())
        tooltip = "One of your folder 'presets', or of the pack: the values of Fooocus's own."
        return {"required": {"preset": (presets, {"default": "default", "tooltip": tooltip})}}

    @classmethod
    def VALIDATE_INPUTS(cls, preset: str | None) -> bool | str:
        return preset is None or problem(lambda: stages.presets.of_preset(current_host(), preset))

    @classmethod
    def IS_CHANGED(cls, preset: str) -> str:
        return stages.presets.stamp(current_host(), preset)

    def run(self, preset: str) -> tuple[Any, ...]:
        return stages.recipe.outputs(stages.presets.of_preset(current_host(), preset))
