"""Fooocus/load: the refiner, and when it takes over."""

from __future__ import annotations

from typing import Any

from ..pipelines import stages
from ..pipelines.models.handles import Model, Refiner, Vae
from ..pipelines.settings import DEFAULT_REFINER, POCKET_CHOICE
from ..pipelines.types import SWAP_METHODS, SwapMethod
from . import sockets
from .checks import chosen_file, problem
from .comfy import current_host


class FooocusLoadRefiner:
    DESCRIPTION = "Reads a refiner: SDXL's own, another SDXL checkpoint, or an SD 1.5 checkpoint with its VAE."
    CATEGORY = "Fooocus/load"
    FUNCTION = "run"
    RETURN_TYPES = (sockets.REFINER,)
    RETURN_NAMES = ("refiner",)
    OUTPUT_TOOLTIPS = ("The second model, for the refiner switch.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        names = [*current_host().names("checkpoints"), POCKET_CHOICE]
        tooltip = "The checkpoint file. 'pocket' is the small SD 1.5 refiner that comes with the pack."
        return {
            "required": {"refiner_name": (names, {"default": chosen_file(names, DEFAULT_REFINER), "tooltip": tooltip})}
        }

    @classmethod
    def VALIDATE_INPUTS(cls, refiner_name: str | None) -> bool | str:
        if refiner_name is None:
            return True
        return problem(lambda: stages.refiner.find(current_host(), refiner_name))

    def run(self, refiner_name: str) -> tuple[Refiner]:
        return (stages.refiner.load_refiner(current_host(), refiner_name),)


class FooocusRefinerSwitch:
    DESCRIPTION = (
        "A model that hands over to a refiner for the last steps. An SD 1.5 refiner finishes on latents of its own, so "
        "take the VAE from here too. The distilled performance modes leave the refiner out."
    )
    CATEGORY = "Fooocus/load"
    FUNCTION = "run"
    RETURN_TYPES = (sockets.MODEL, sockets.VAE)
    RETURN_NAMES = ("model", "vae")
    OUTPUT_TOOLTIPS = ("The model with its refiner.", "The autoencoder for what the two make.")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "model": (sockets.MODEL, {"tooltip": "The model that begins, with the LoRAs applied."}),
                "vae": (sockets.VAE, {"tooltip": "Its autoencoder."}),
                "refiner": (sockets.REFINER, {"tooltip": "The model that finishes."}),
                "refiner_switch": (
                    "FLOAT",
                    {
                        "default": 0.5,
                        "min": 0.0,
                        "max": 1.0,
                        "step": 0.001,
                        "round": 0.0001,
                        "tooltip": "After which share of the steps it takes over: 0.4 for SD 1.5 realistic models, "
                        "0.667 for anime ones, 0.8 for SDXL's refiner; 1 is never.",
                    },
                ),
                "refiner_swap": (
                    list(SWAP_METHODS),
                    {
                        "default": "joint",
                        "tooltip": "joint: one run, another network. separate: two runs over one schedule. vae: a "
                        "whole run each, with new noise between. With SD 1.5 the strength decides.",
                    },
                ),
            },
            "optional": {
                "refiner_step": (
                    "INT",
                    {
                        "default": -1,
                        "min": -1,
                        "max": 200,
                        "tooltip": "The step itself in place of the share; −1: none.",
                    },
                ),
            },
        }

    def run(
        self,
        model: Model,
        vae: Vae,
        refiner: Refiner,
        refiner_switch: float,
        refiner_swap: SwapMethod,
        refiner_step: int = -1,
    ) -> tuple[Model, Vae]:
        return stages.refiner.with_refiner(
            current_host(), model, vae, refiner, refiner_switch, refiner_swap, refiner_step
        )
