"""Fooocus/sampling: how many steps, which rules, what size, and the sampler itself."""

from __future__ import annotations

from typing import Any

from ..pipelines import stages
from ..pipelines.models.handles import Hint, Info, Model, Vae
from ..pipelines.settings import (
    ASPECT_RATIOS,
    CUSTOM_SIZE,
    DEFAULT_ASPECT_RATIO,
    MAX_SEED,
    PERFORMANCES,
    SAMPLERS,
    SCHEDULERS,
)
from ..pipelines.types import Lora, SamplingSettings
from . import sockets
from .comfy import current_host

DENOISE = {"default": 1.0, "min": 0.01, "max": 1.0, "step": 0.001, "round": 0.001}
SEED = {"default": 0, "min": 0, "max": MAX_SEED, "control_after_generate": True}


class FooocusSamplingSettings:
    DESCRIPTION = "Fooocus's own rules of sampling: guidance, sharpness, adaptive guidance, size conditioning."
    CATEGORY = "Fooocus/sampling"
    FUNCTION = "run"
    RETURN_TYPES = (sockets.SETTINGS,)
    RETURN_NAMES = ("settings",)
    OUTPUT_TOOLTIPS = ("The settings, for the performance node.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        scale = {"min": 0.1, "max": 3.0, "step": 0.001, "round": 0.001}
        return {
            "required": {
                "guidance_scale": (
                    "FLOAT",
                    {
                        "default": 4.0,
                        "min": 1.0,
                        "max": 30.0,
                        "step": 0.01,
                        "tooltip": "How closely the picture follows the text; 1 turns guidance off.",
                    },
                ),
                "sharpness": (
                    "FLOAT",
                    {
                        "default": 2.0,
                        "min": 0.0,
                        "max": 30.0,
                        "step": 0.001,
                        "round": 0.001,
                        "tooltip": "Keeps texture from being smoothed away; higher is crisper, 0 is off.",
                    },
                ),
                "adaptive_cfg": (
                    "FLOAT",
                    {
                        "default": 7.0,
                        "min": 1.0,
                        "max": 30.0,
                        "step": 0.01,
                        "tooltip": "Guidance above this value acts fully only towards the end of the run.",
                    },
                ),
                "adm_positive": (
                    "FLOAT",
                    {"default": 1.5, **scale, "tooltip": "Picture size told to the positive side, as a factor."},
                ),
                "adm_negative": (
                    "FLOAT",
                    {"default": 0.8, **scale, "tooltip": "Picture size told to the negative side, as a factor."},
                ),
                "adm_end": (
                    "FLOAT",
                    {
                        "default": 0.3,
                        "min": 0.0,
                        "max": 1.0,
                        "step": 0.001,
                        "round": 0.001,
                        "tooltip": "Fraction of the run in which the two factors act.",
                    },
                ),
                "sampler": (list(SAMPLERS), {"default": "dpmpp_2m_sde_gpu", "tooltip": "The update rule of a step."}),
                "scheduler": (
                    list(SCHEDULERS),
                    {
                        "default": "karras",
                        "tooltip": "How the noise levels are spaced. 'lcm', 'tcd' and 'edm_playground_v2.5' also "
                        "change how the model is read.",
                    },
                ),
            }
        }

    def run(
        self,
        guidance_scale: float,
        sharpness: float,
        adaptive_cfg: float,
        adm_positive: float,
        adm_negative: float,
        adm_end: float,
        sampler: str,
        scheduler: str,
    ) -> tuple[SamplingSettings]:
        return (
            SamplingSettings(
                cfg=guidance_scale,
                sharpness=sharpness,
                adaptive_cfg=adaptive_cfg,
                adm_positive=adm_positive,
                adm_negative=adm_negative,
                adm_end=adm_end,
                sampler=sampler,
                scheduler=scheduler,
            ),
        )


class FooocusPerformance:
    DESCRIPTION = (
        "How much time a picture may take. Extreme Speed, Lightning and Hyper-SD add their LoRA and set sampler, "
        "scheduler, guidance 1, sharpness 0 and plain size conditioning, whatever the settings say."
    )
    CATEGORY = "Fooocus/sampling"
    FUNCTION = "run"
    RETURN_TYPES = (sockets.SETTINGS, sockets.LORAS)
    RETURN_NAMES = ("settings", "loras")
    OUTPUT_TOOLTIPS = ("The settings as the mode decides them.", "The LoRAs, with the mode's own last.")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "performance": (
                    list(PERFORMANCES),
                    {
                        "default": "Speed",
                        "tooltip": "Quality 60 steps, Speed 30, Extreme Speed 8, Lightning and Hyper-SD 4.",
                    },
                ),
                "overwrite_step": (
                    "INT",
                    {"default": -1, "min": -1, "max": 200, "tooltip": "Another number of steps; −1 is the mode's own."},
                ),
            },
            "optional": {
                "settings": (sockets.SETTINGS, {"tooltip": "Settings to start from; without them Fooocus's defaults."}),
                "loras": (sockets.LORAS, {"tooltip": "LoRAs chosen so far; the mode's own is added to them."}),
            },
        }

    def run(
        self,
        performance: str,
        overwrite_step: int,
        settings: SamplingSettings | None = None,
        loras: tuple[Lora, ...] = (),
    ) -> tuple[SamplingSettings, tuple[Lora, ...]]:
        return stages.plan.performance(performance, settings or SamplingSettings(), loras, overwrite_step)


class FooocusAspectRatio:
    DESCRIPTION = "The size of the picture: one of Fooocus's 26, or a free one, as an empty latent."
    CATEGORY = "Fooocus/sampling"
    FUNCTION = "run"
    RETURN_TYPES = ("LATENT", "INT", "INT")
    RETURN_NAMES = ("latent", "width", "height")
    OUTPUT_TOOLTIPS = ("An empty latent of that size.", "Width in pixels.", "Height in pixels.")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        side = {"default": 1024, "min": 64, "max": 4096, "step": 8}
        return {
            "required": {
                "aspect_ratio": (
                    [*ASPECT_RATIOS, CUSTOM_SIZE],
                    {"default": DEFAULT_ASPECT_RATIO, "tooltip": "Width×height that SDXL knows, or custom."},
                ),
                "width": ("INT", {**side, "tooltip": "Width in pixels; counts only with custom."}),
                "height": ("INT", {**side, "tooltip": "Height in pixels; counts only with custom."}),
                "batch_size": (
                    "INT",
                    {"default": 1, "min": 1, "max": 64, "tooltip": "Pictures sampled together, seeds counting up."},
                ),
            },
            "optional": {
                "model": (
                    sockets.MODEL,
                    {"tooltip": "A model trained for small pictures scales the listed sizes to its own."},
                ),
            },
        }

    def run(
        self, aspect_ratio: str, width: int, height: int, batch_size: int, model: Model | None = None
    ) -> tuple[dict[str, Any], int, int]:
        return stages.plan.empty_latent(aspect_ratio, width, height, batch_size, model)


class FooocusScheduler:
    DESCRIPTION = "The noise levels that the sampler will step through, to look at or to change."
    CATEGORY = "Fooocus/sampling"
    FUNCTION = "run"
    RETURN_TYPES = ("SIGMAS",)
    RETURN_NAMES = ("sigmas",)
    OUTPUT_TOOLTIPS = ("Noise levels, falling, one more than there are steps.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "model": (sockets.MODEL, {"tooltip": "The model they are for."}),
                "settings": (sockets.SETTINGS, {"tooltip": "Sampler, scheduler and steps."}),
                "denoise": ("FLOAT", {**DENOISE, "tooltip": "Below 1: only the last part of a longer schedule."}),
            }
        }

    def run(self, model: Model, settings: SamplingSettings, denoise: float) -> tuple[Any]:
        return (stages.plan.schedule(model, settings, denoise),)


class FooocusSampler:
    DESCRIPTION = "Fooocus's sampler: sharpness, adaptive guidance and timed size conditioning at every step."
    CATEGORY = "Fooocus/sampling"
    FUNCTION = "run"
    RETURN_TYPES = ("LATENT", sockets.INFO)
    RETURN_NAMES = ("latent", "info")
    OUTPUT_TOOLTIPS = ("The finished latent, for the decoder.", "How it was made, for the save node.")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "model": (sockets.MODEL, {"tooltip": "The model, with the LoRAs applied."}),
                "positive": ("CONDITIONING", {"tooltip": "What to draw."}),
                "negative": ("CONDITIONING", {"tooltip": "What to avoid."}),
                "latent": ("LATENT", {"tooltip": "Where to start: an empty latent, or an encoded picture."}),
                "settings": (sockets.SETTINGS, {"tooltip": "From the performance node."}),
                "seed": ("INT", {**SEED, "tooltip": "The seed of the noise; wire the prompt's seed here."}),
                "denoise": ("FLOAT", {**DENOISE, "tooltip": "How much of the starting latent is replaced."}),
            },
            "optional": {
                "sigmas": ("SIGMAS", {"tooltip": "Noise levels in place of those of the settings."}),
                "control": (sockets.CONTROL, {"tooltip": "Control images and image prompts, chained."}),
            },
        }

    def run(
        self,
        model: Model,
        positive: Any,
        negative: Any,
        latent: dict[str, Any],
        settings: SamplingSettings,
        seed: int,
        denoise: float,
        sigmas: Any = None,
        control: tuple[Hint, ...] = (),
    ) -> tuple[dict[str, Any], Info]:
        latent = stages.sample.sample(
            current_host(), model, positive, negative, latent, settings, seed, denoise, sigmas, control
        )
        return latent, stages.sample.account(model, positive, latent, settings, seed)


class FooocusVaeDecode:
    DESCRIPTION = "Turns a latent into a picture."
    CATEGORY = "Fooocus/sampling"
    FUNCTION = "run"
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("image",)
    OUTPUT_TOOLTIPS = ("The picture.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "latent": ("LATENT", {"tooltip": "The latent to decode."}),
                "vae": (sockets.ANY_VAE, {"tooltip": "The autoencoder."}),
                "tiled": ("BOOLEAN", {"default": False, "tooltip": "In tiles: slower, for large pictures."}),
            }
        }

    def run(self, latent: dict[str, Any], vae: Vae, tiled: bool) -> tuple[Any]:
        return (stages.vae.decode(current_host(), vae, latent, tiled),)


class FooocusVaeEncode:
    DESCRIPTION = "Turns a picture into a latent. The sides are cropped to multiples of 8."
    CATEGORY = "Fooocus/sampling"
    FUNCTION = "run"
    RETURN_TYPES = ("LATENT",)
    RETURN_NAMES = ("latent",)
    OUTPUT_TOOLTIPS = ("The latent.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "image": ("IMAGE", {"tooltip": "The picture to encode."}),
                "vae": (sockets.ANY_VAE, {"tooltip": "The autoencoder."}),
                "seed": ("INT", {**SEED, "tooltip": "The autoencoder draws its latent by chance; this is the seed."}),
                "tiled": ("BOOLEAN", {"default": False, "tooltip": "In tiles: slower, for large pictures."}),
            }
        }

    def run(self, image: Any, vae: Vae, seed: int, tiled: bool) -> tuple[dict[str, Any]]:
        return (stages.vae.encode(current_host(), vae, image, seed, tiled),)
