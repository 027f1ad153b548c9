"""Fooocus/recipe: all settings at once, from a saved image or from a preset."""

from __future__ import annotations

import hashlib
from typing import Any

from ..pipelines import stages
from . import sockets
from .checks import problem
from .comfy import current_host
from .headless import check_picture, find_picture, picture_names
from .schema import Combo, Input, Output, Schema
from .v1 import Node

RECIPE = (
    Output("text", "STRING", "The prompt, for the prompt node."),
    Output("negative", "STRING", "The negative prompt."),
    Output("styles", "STRING", "Style names, separated by commas."),
    Output("settings", sockets.SETTINGS, "Sampling settings, for the performance node."),
    Output("loras", sockets.LORAS, "LoRAs, for the performance node, which adds the mode's own."),
    Output("performance", sockets.CHOICE, "The performance mode."),
    Output("overwrite_step", "INT", "Number of steps, or -1 if it is the performance mode's own."),
    Output("aspect_ratio", sockets.CHOICE, "One of the listed sizes, or custom."),
    Output("width", "INT", "Width in pixels."),
    Output("height", "INT", "Height in pixels."),
    Output("ckpt_name", sockets.CHOICE, "Checkpoint file."),
    Output("vae_name", sockets.CHOICE, "VAE file, or the checkpoint's own VAE."),
    Output("clip_skip", "INT", "Layer of the text encoders to read, counted from the last."),
    Output("refiner_name", sockets.CHOICE, "Checkpoint file of the refiner, or None."),
    Output("refiner_switch", "FLOAT", "Fraction of the steps after which the refiner takes over."),
    Output("refiner_swap", sockets.CHOICE, "How the refiner takes over: joint, separate or vae."),
    Output("refiner_step", "INT", "Step at which the refiner takes over instead of the fraction, or -1."),
    Output("b1", "FLOAT", "FreeU's b1. All four are 1 without FreeU."),
    Output("b2", "FLOAT", "FreeU's b2."),
    Output("s1", "FLOAT", "FreeU's s1."),
    Output("s2", "FLOAT", "FreeU's s2."),
    Output("num_images", "INT", "Number of images."),
    Output("inpaint_engine", sockets.CHOICE, "The inpaint engine, or None."),
)
NAMES = tuple(output.name for output in RECIPE)


def input_pictures() -> list[str]:
    """The image files in the input folder; one empty name where there are none."""
    return picture_names() or [""]


class FooocusReadInfo(Node):
    schema = Schema(
        display_name="Fooocus Read Info",
        category="Fooocus/recipe",
        description="Reads the generation parameters from an image file, in the format of Fooocus or A1111. Connect "
        "the outputs to make the image again.",
        search_aliases=("png info", "metadata", "read metadata", "image info", "generation parameters", "a1111"),
        inputs=(
            Input(
                "image",
                Combo(input_pictures, "", image_upload=True),
                "Image file as saved by Fooocus, A1111 or this pack: PNG, JPEG or WebP.",
            ),
        ),
        outputs=(
            *RECIPE,
            Output("seed", "INT", "The seed of the image."),
            Output("info", "STRING", "The text as it is stored in the file."),
        ),
    )

    @classmethod
    def VALIDATE_INPUTS(cls, image: str) -> bool | str:
        return check_picture(image)

    @classmethod
    def IS_CHANGED(cls, image: str) -> str:
        return hashlib.sha256(find_picture(image).read_bytes()).hexdigest()

    def run(self, image: str) -> tuple[Any, ...]:
        recipe, text = stages.from_picture.of_picture(current_host(), find_picture(image))
        return (*stages.recipe.outputs(recipe), recipe.seed, text)


def presets() -> list[str]:
    """The presets that can be chosen."""
    return stages.presets.names(current_host())


class FooocusPreset(Node):
    schema = Schema(
        display_name="Fooocus Preset",
        category="Fooocus/recipe",
        description="Loads a Fooocus preset: model, LoRAs, styles, size and sampling settings.",
        search_aliases=("preset", "presets", "anime", "realistic", "lightning", "lcm", "settings"),
        inputs=(
            Input(
                "preset",
                Combo(presets, "default"),
                "Preset to load: one of Fooocus's, or a file in your models folder 'presets'.",
            ),
        ),
        outputs=RECIPE,
    )

    @classmethod
    def VALIDATE_INPUTS(cls, preset: str | None) -> bool | str:
        return preset is None or problem(lambda: stages.presets.of_preset(current_host(), preset))

    @classmethod
    def IS_CHANGED(cls, preset: str) -> str:
        return stages.presets.stamp(current_host(), preset)

    def run(self, preset: str) -> tuple[Any, ...]:
        return stages.recipe.outputs(stages.presets.of_preset(current_host(), preset))
