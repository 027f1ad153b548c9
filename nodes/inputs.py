"""Inputs that several nodes share, and ranges that many use."""

from __future__ import annotations

from ..pipelines.settings import MAX_SEED, MAX_SEED_OF_PAGE, ROUNDED_MAX_SEED
from . import sockets
from .schema import Boolean, Float, Input, Int
from .v1 import Node

SEED = Int(default=0, min=0, max=MAX_SEED_OF_PAGE, control_after_generate=True)


class SeededNode(Node):
    """A node with a seed widget, whose range the page keeps exactly; larger seeds of Fooocus are taken as well."""

    @classmethod
    def VALIDATE_INPUTS(cls, seed: int | None) -> bool | str:
        if seed is None or 0 <= seed <= ROUNDED_MAX_SEED:  # None: linked, and known when it runs
            return True
        return f"seed = {seed} is out of range; give a whole number from 0 to {MAX_SEED}"


def fooocus_seed(seed: int) -> int:
    """Return a seed as Fooocus takes it: its maximum for the number that a browser rounds that maximum to."""
    return MAX_SEED if MAX_SEED < seed <= ROUNDED_MAX_SEED else seed


def skip_missing(what: str) -> Input:
    """A switch that leaves out a file of Fooocus which is missing; `what` is what happens without it."""
    return Input(
        "skip_missing",
        Boolean(),
        f"When this file is missing and is one that Fooocus publishes, {what} and show how to download it. Off, and "
        "for any other file, a missing file is an error.",
        optional=True,
        advanced=True,
    )


def fraction(default: float) -> Float:
    """A number from 0 to 1."""
    return Float(default, min=0.0, max=1.0, step=0.001, round=0.001)


IMAGE_SEED = Input("seed", SEED, "Seed of the image. Connect the seed output of the prompt node.")
VAE = Input("vae", sockets.ANY_VAE, "VAE of the model. With a refiner, connect the VAE from the refiner switch.")
SETTINGS = Input("settings", sockets.SETTINGS, "Sampling settings from the performance node.")
PREVIOUS_CONTROL = Input(
    "control", sockets.CONTROL, "Control images and image prompts from earlier nodes in the chain.", optional=True
)
UPSCALER = Input(
    "upscaler",
    sockets.ANY_UPSCALER,
    "Upscale model that enlarges small regions before they are inpainted. Without one they are resampled.",
    optional=True,
)
