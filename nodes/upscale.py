"""Fooocus/upscale: a picture varied, enlarged by a network, or enlarged and sampled over."""

from __future__ import annotations

from typing import Any

from ..pipelines import stages
from ..pipelines.models.handles import Hint, Info, Model, Vae
from ..pipelines.settings import (
    DEFAULT_UPSCALER,
    FAST_UPSCALES,
    MAX_SEED,
    POCKET_CHOICE,
    UPSCALE_FACTORS,
    VARY_STRENGTHS,
)
from ..pipelines.types import SamplingSettings
from . import sockets
from .checks import chosen_file, problem
from .comfy import current_host

SEED = {"default": 0, "min": 0, "max": MAX_SEED, "control_after_generate": True}
STRENGTH = {"min": 0.0, "max": 1.0, "step": 0.001, "round": 0.001}
METHOD = (
    list(UPSCALE_FACTORS),
    {"default": "Upscale (2x)", "tooltip": "How many times larger; Fast draws nothing anew."},
)
FACTOR = (
    "FLOAT",
    {
        "default": 2.0,
        "min": 1.0,
        "max": 8.0,
        "step": 0.01,
        "tooltip": "How many times larger with the method custom.",
    },
)
SAMPLED = ("model", "vae", "positive", "negative", "settings", "control")


class FooocusVary:
    DESCRIPTION = "Prepares a picture to be drawn over: in a size that the model knows, encoded, with its strength."
    CATEGORY = "Fooocus/upscale"
    FUNCTION = "run"
    RETURN_TYPES = ("LATENT", "FLOAT", "INT", "INT")
    RETURN_NAMES = ("latent", "denoise", "width", "height")
    OUTPUT_TOOLTIPS = (
        "The picture for the sampler.",
        "How much of it is replaced, for the sampler.",
        "Its width in pixels, for control images.",
        "Its height in pixels.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "image": ("IMAGE", {"tooltip": "The picture to vary."}),
                "model": (sockets.MODEL, {"tooltip": "The model that will sample it; it says which sizes are good."}),
                "vae": (sockets.VAE, {"tooltip": "The autoencoder, from the refiner switch if there is one."}),
                "settings": (sockets.SETTINGS, {"tooltip": "From the performance node."}),
                "method": (
                    list(VARY_STRENGTHS),
                    {"default": "Vary (Strong)", "tooltip": "Subtle replaces 0.5, Strong 0.85; custom the strength."},
                ),
                "strength": (
                    "FLOAT",
                    {**STRENGTH, "default": 0.5, "tooltip": "How much is replaced with the method custom; above 0."},
                ),
                "seed": ("INT", {**SEED, "tooltip": "The seed of the picture; wire the prompt's here."}),
            }
        }

    def run(
        self,
        image: Any,
        model: Model,
        vae: Vae,
        settings: SamplingSettings,
        method: str,
        strength: float,
        seed: int,
    ) -> tuple[dict[str, Any], float, int, int]:
        return stages.vary.vary(current_host(), model, vae, image, settings, method, strength, seed)


class FooocusLoadUpscaler:
    DESCRIPTION = "Reads an upscaler of the ESRGAN family (RRDB), as .bin, .pth or .safetensors."
    CATEGORY = "Fooocus/upscale"
    FUNCTION = "run"
    RETURN_TYPES = (sockets.UPSCALER,)
    RETURN_NAMES = ("upscaler",)
    OUTPUT_TOOLTIPS = ("The network that enlarges.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        names = [*current_host().names("upscale_models"), POCKET_CHOICE]
        tooltip = "The upscaler file. 'pocket' is the small one that comes with the pack."
        default = chosen_file(names, DEFAULT_UPSCALER)
        return {"required": {"upscaler_name": (names, {"default": default, "tooltip": tooltip})}}

    @classmethod
    def VALIDATE_INPUTS(cls, upscaler_name: str | None) -> bool | str:
        if upscaler_name is None:
            return True
        return problem(lambda: stages.upscale.find(current_host(), upscaler_name))

    def run(self, upscaler_name: str) -> tuple[Any]:
        return (stages.upscale.load(current_host(), upscaler_name),)


class FooocusUpscaleImage:
    DESCRIPTION = "Enlarges a picture with the network alone, in tiles: nothing is drawn anew."
    CATEGORY = "Fooocus/upscale"
    FUNCTION = "run"
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("image",)
    OUTPUT_TOOLTIPS = ("The larger picture.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "image": ("IMAGE", {"tooltip": "The picture to enlarge."}),
                "upscaler": (sockets.ANY_UPSCALER, {"tooltip": "The network; ComfyUI's upscale models fit too."}),
                "factor": (
                    "FLOAT",
                    {
                        "default": 0.0,
                        "min": 0.0,
                        "max": 8.0,
                        "step": 0.01,
                        "tooltip": "How many times larger than the picture the result is; 0: as the network makes it.",
                    },
                ),
            }
        }

    def run(self, image: Any, upscaler: Any, factor: float) -> tuple[Any]:
        return (stages.upscale.enlarge(current_host(), upscaler, image, factor),)


class FooocusUpscale:
    DESCRIPTION = (
        "Fooocus's upscale: the network enlarges, then the picture is drawn over at low strength, in tiles. Very large "
        "pictures and the fast method are left as the network made them, and need only image and upscaler."
    )
    CATEGORY = "Fooocus/upscale"
    FUNCTION = "run"
    RETURN_TYPES = ("IMAGE", sockets.INFO)
    RETURN_NAMES = ("image", "info")
    OUTPUT_TOOLTIPS = ("The larger picture.", "How it was made, for the save node.")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        lazy = {"lazy": True}
        return {
            "required": {
                "image": ("IMAGE", {"tooltip": "The picture to enlarge."}),
                "upscaler": (sockets.ANY_UPSCALER, {"tooltip": "The network; ComfyUI's upscale models fit too."}),
                "method": METHOD,
                "factor": FACTOR,
                "strength": (
                    "FLOAT",
                    {
                        **STRENGTH,
                        "default": 0.382,
                        "tooltip": "How much is drawn anew; 0 leaves what the network made.",
                    },
                ),
                "steps": (
                    "INT",
                    {
                        "default": 0,
                        "min": 0,
                        "max": 200,
                        "tooltip": "0: the performance mode's for upscaling (Quality 36, Speed 18, else its own).",
                    },
                ),
                "seed": ("INT", {**SEED, "tooltip": "The seed of the picture; wire the prompt's here."}),
            },
            "optional": {
                "model": (sockets.MODEL, {**lazy, "tooltip": "The model that draws over, with the LoRAs applied."}),
                "vae": (sockets.VAE, {**lazy, "tooltip": "The autoencoder, from the refiner switch if there is one."}),
                "positive": ("CONDITIONING", {**lazy, "tooltip": "What to draw."}),
                "negative": ("CONDITIONING", {**lazy, "tooltip": "What to avoid."}),
                "settings": (sockets.SETTINGS, {**lazy, "tooltip": "From the performance node."}),
                "control": (sockets.CONTROL, {**lazy, "tooltip": "Control images and image prompts, chained."}),
            },
        }

    def check_lazy_status(self, method: str, strength: float, **inputs: Any) -> list[str]:
        if method in FAST_UPSCALES or strength == 0:
            return []
        return [name for name in SAMPLED if name in inputs and inputs[name] is None]

    def run(
        self,
        image: Any,
        upscaler: Any,
        method: str,
        factor: float,
        strength: float,
        steps: int,
        seed: int,
        model: Model | None = None,
        vae: Vae | None = None,
        positive: Any = None,
        negative: Any = None,
        settings: SamplingSettings | None = None,
        control: tuple[Hint, ...] | None = None,
    ) -> tuple[Any, Info | None]:
        sampling = stages.upscale.sampling_of(model, vae, positive, negative, settings, seed, control or ())
        return stages.upscale.upscale(current_host(), upscaler, image, method, factor, strength, steps, sampling)


class FooocusUpscaleSize:
    DESCRIPTION = (
        "The size at which Fooocus Upscale samples an image. Wire it into PyraCanny or CPDS, so that a control image "
        "is prepared at that size; give this node and Fooocus Upscale the same method and factor."
    )
    CATEGORY = "Fooocus/upscale"
    FUNCTION = "run"
    RETURN_TYPES = ("INT", "INT")
    RETURN_NAMES = ("width", "height")
    OUTPUT_TOOLTIPS = ("Width in pixels, for control images.", "Height in pixels.")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "image": ("IMAGE", {"tooltip": "The image to enlarge."}),
                "upscaler": (sockets.ANY_UPSCALER, {"tooltip": "The upscaler that Fooocus Upscale uses."}),
                "method": METHOD,
                "factor": FACTOR,
            },
            "optional": {
                "model": (sockets.MODEL, {"tooltip": "The model that samples the image; without it, SDXL is assumed."}),
            },
        }

    def run(self, image: Any, upscaler: Any, method: str, factor: float, model: Model | None = None) -> tuple[int, int]:
        return stages.upscale.sampled_size(upscaler, image, method, factor, model)
