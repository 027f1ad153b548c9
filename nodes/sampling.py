"""Fooocus/sampling: performance modes, sampling settings, image size, the sampler and the VAE."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..pipelines import stages
from ..pipelines.settings import (
    ASPECT_RATIOS,
    CUSTOM_SIZE,
    DEFAULT_ASPECT_RATIO,
    PERFORMANCES,
    SAMPLERS,
    SCHEDULERS,
)
from ..pipelines.types import Conditioning, Latent, Lora, SamplingSettings
from . import sockets
from .comfy import current_host
from .inputs import SEED, SETTINGS, SeededNode, fooocus_seed, fraction
from .schema import Boolean, Combo, Float, Input, Int, Output, Schema
from .v1 import Node

if TYPE_CHECKING:
    from torch import Tensor

    from ..pipelines.models.handles import AnyVae, Hint, Info, Model

DENOISE = Float(1.0, min=0.01, max=1.0, step=0.001, round=0.001)
TILED = Input("tiled", Boolean(), "Process the image in tiles. Slower, but needs less memory for large images.")


def guidance(default: float) -> Float:
    """A guidance scale from 1, which is off."""
    return Float(default, min=1.0, max=30.0, step=0.01)


def adm_scale(default: float) -> Float:
    """A factor on the image size that SDXL is conditioned on."""
    return Float(default, min=0.1, max=3.0, step=0.001, round=0.001)


class FooocusSamplingSettings(Node):
    schema = Schema(
        display_name="Fooocus Sampling Settings",
        category="Fooocus/sampling",
        description="Sets Fooocus's sampling parameters: guidance, sharpness, adaptive CFG and ADM scaling.",
        search_aliases=("sampling settings", "cfg", "guidance scale", "sharpness", "adaptive cfg", "adm", "scheduler"),
        inputs=(
            Input("guidance_scale", guidance(4.0), "How closely the image follows the prompt. 1 turns guidance off."),
            Input(
                "sharpness",
                Float(2.0, min=0.0, max=30.0, step=0.001, round=0.001),
                "How much texture and detail is kept from being smoothed away. Higher is crisper; 0 turns it off.",
            ),
            Input(
                "adaptive_cfg",
                guidance(7.0),
                "Guidance scale above which guidance is reduced at the start of a run and reaches full strength only "
                "towards its end.",
                advanced=True,
            ),
            Input(
                "adm_positive",
                adm_scale(1.5),
                "Factor on the image size that SDXL is conditioned on (ADM), for the positive prompt.",
                advanced=True,
            ),
            Input(
                "adm_negative",
                adm_scale(0.8),
                "Factor on the image size that SDXL is conditioned on (ADM), for the negative prompt.",
                advanced=True,
            ),
            Input(
                "adm_end",
                fraction(0.3),
                "Fraction of the noise schedule after which both ADM factors are turned off.",
                advanced=True,
            ),
            Input("sampler", Combo(SAMPLERS, "dpmpp_2m_sde_gpu"), "Sampling algorithm."),
            Input(
                "scheduler",
                Combo(SCHEDULERS, "karras"),
                "Spacing of the noise levels. lcm, tcd and edm_playground_v2.5 also change how the model's output is "
                "interpreted.",
            ),
            Input(
                "as_fooocus",
                Boolean(),
                "Sample the schedulers turbo and align_your_steps as normal. Fooocus lists both but samples them that "
                "way, so turn this on to reproduce its images.",
                optional=True,
                advanced=True,
            ),
        ),
        outputs=(Output("settings", sockets.SETTINGS, "The settings, for the performance node."),),
    )

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
        as_fooocus: bool = False,
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
                as_fooocus=as_fooocus,
            ),
        )


class FooocusPerformance(Node):
    schema = Schema(
        display_name="Fooocus Performance",
        category="Fooocus/sampling",
        description="Sets the number of steps by Fooocus's performance modes. The distilled modes (Extreme Speed, "
        "Lightning, Hyper-SD) add their LoRA and override the sampler, scheduler, guidance, sharpness and ADM scaling.",
        search_aliases=("performance", "steps", "speed", "quality", "extreme speed", "lightning", "hyper-sd", "lcm"),
        inputs=(
            Input(
                "performance",
                Combo(tuple(PERFORMANCES), "Speed"),
                "Quality: 60 steps. Speed: 30. Extreme Speed (LCM): 8. Lightning and Hyper-SD: 4.",
            ),
            Input(
                "overwrite_step",
                Int(default=-1, min=-1, max=200),
                "Number of steps, instead of the mode's own. -1 uses the mode's.",
            ),
            Input(
                "settings",
                sockets.SETTINGS,
                "Sampling settings to start from. Without them, Fooocus's defaults.",
                optional=True,
            ),
            Input("loras", sockets.LORAS, "LoRAs to add the mode's own to.", optional=True),
        ),
        outputs=(
            Output("settings", sockets.SETTINGS, "The settings as the mode sets them."),
            Output("loras", sockets.LORAS, "The input LoRAs, with the mode's own last."),
        ),
    )

    def run(
        self,
        performance: str,
        overwrite_step: int,
        settings: SamplingSettings | None = None,
        loras: tuple[Lora, ...] = (),
    ) -> tuple[SamplingSettings, tuple[Lora, ...]]:
        return stages.plan.performance(performance, settings or SamplingSettings(), loras, overwrite_step)


PIXELS = Int(default=1024, min=64, max=4096, step=8)


class FooocusAspectRatio(Node):
    schema = Schema(
        display_name="Fooocus Aspect Ratio",
        category="Fooocus/sampling",
        description="Creates an empty latent in one of Fooocus's 26 sizes or in a custom size.",
        search_aliases=("aspect ratio", "empty latent", "empty latent image", "resolution", "image size", "batch"),
        inputs=(
            Input(
                "aspect_ratio",
                Combo((*ASPECT_RATIOS, CUSTOM_SIZE), DEFAULT_ASPECT_RATIO),
                "Width×height suited to SDXL, or custom.",
            ),
            Input("width", PIXELS, "Width in pixels. Used only with custom."),
            Input("height", PIXELS, "Height in pixels. Used only with custom."),
            Input(
                "batch_size",
                Int(default=1, min=1, max=64),
                "Number of images sampled together. The first has the seed, each further one adds 1.",
            ),
            Input(
                "model",
                sockets.ANY_MODEL,
                "Scales the listed sizes to the resolution the model was trained at.",
                optional=True,
            ),
        ),
        outputs=(
            Output("latent", "LATENT", "Empty latent of that size."),
            Output("width", "INT", "Width in pixels."),
            Output("height", "INT", "Height in pixels."),
        ),
    )

    def run(
        self, aspect_ratio: str, width: int, height: int, batch_size: int, model: Model | None = None
    ) -> tuple[Latent, int, int]:
        return stages.plan.empty_latent(aspect_ratio, width, height, batch_size, model)


class FooocusScheduler(Node):
    schema = Schema(
        display_name="Fooocus Scheduler",
        category="Fooocus/sampling",
        description="Returns the noise levels of a run, to inspect them or to change them before sampling.",
        search_aliases=("scheduler", "sigmas", "noise schedule", "karras", "align your steps"),
        inputs=(
            Input("model", sockets.ANY_MODEL, "Model that will be sampled."),
            Input("settings", sockets.SETTINGS, "Sampling settings with the sampler, scheduler and number of steps."),
            Input("denoise", DENOISE, "Denoise strength. Below 1, only the last part of a longer schedule."),
        ),
        outputs=(Output("sigmas", "SIGMAS", "Noise levels in falling order, one more than the steps."),),
    )

    def run(self, model: Model, settings: SamplingSettings, denoise: float) -> tuple[Tensor]:
        return (stages.plan.schedule(model, settings, denoise),)


class FooocusSampler(SeededNode):
    schema = Schema(
        display_name="Fooocus Sampler",
        category="Fooocus/sampling",
        description="Samples a latent as Fooocus does, with sharpness, adaptive CFG and timed ADM scaling.",
        search_aliases=("ksampler", "sampler", "sample", "sharpness", "denoise", "generate"),
        inputs=(
            Input("model", sockets.ANY_MODEL, "Model to sample, with the LoRAs applied."),
            Input("positive", "CONDITIONING", "Conditioning for what to draw."),
            Input("negative", "CONDITIONING", "Conditioning for what to avoid."),
            Input("latent", "LATENT", "Latent to start from: empty, or an encoded image."),
            SETTINGS,
            Input("seed", SEED, "Seed of the noise. Connect the seed output of the prompt node."),
            Input("denoise", DENOISE, "Denoise strength: how much of the starting latent is replaced."),
            Input("sigmas", "SIGMAS", "Noise levels to use instead of the settings'.", optional=True),
            Input("control", sockets.CONTROL, "Chain of control images and image prompts.", optional=True),
            Input(
                "add_noise",
                Boolean(default=True),
                "Add noise to the latent before sampling. Turn it off for the second of two samplers that share a "
                "split schedule, where the latent is still noisy.",
                optional=True,
                advanced=True,
            ),
        ),
        outputs=(
            Output("latent", "LATENT", "The sampled latent, for the VAE decoder."),
            Output("info", sockets.INFO, "Generation parameters, for the save node."),
        ),
    )

    def run(
        self,
        model: Model,
        positive: Conditioning,
        negative: Conditioning,
        latent: Latent,
        settings: SamplingSettings,
        seed: int,
        denoise: float,
        sigmas: Tensor | None = None,
        control: tuple[Hint, ...] = (),
        add_noise: bool = True,
    ) -> tuple[Latent, Info]:
        seed = fooocus_seed(seed)
        latent = stages.sample.sample(
            current_host(), model, positive, negative, latent, settings, seed, denoise, sigmas, control, add_noise
        )
        return latent, stages.sample.sampling_info(model, positive, latent, settings, seed)


class FooocusModelPatch(Node):
    schema = Schema(
        display_name="Fooocus Model Patch",
        category="Fooocus/sampling",
        description="Gives ComfyUI's own MODEL Fooocus's sharpness, adaptive CFG and timed ADM scaling, for "
        "KSampler and every other sampler node. The guidance scale is that of the sampler node.",
        search_aliases=("model patch", "sharpness", "adaptive cfg", "adm", "ksampler", "native model"),
        inputs=(
            Input("model", "MODEL", "SDXL or SD 1.5 model of ComfyUI."),
            Input(
                "settings",
                sockets.SETTINGS,
                "Sampling settings with sharpness, adaptive CFG and ADM scaling. Without them, Fooocus's defaults.",
                optional=True,
            ),
            Input(
                "latent",
                "LATENT",
                "Latent of Fooocus Inpaint Encode that the sampler node gets. An inpaint model reads the image around "
                "the mask from it.",
                optional=True,
            ),
        ),
        outputs=(Output("model", "MODEL", "The patched model, for a sampler node of ComfyUI."),),
    )

    def run(
        self, model: object, settings: SamplingSettings | None = None, latent: Latent | None = None
    ) -> tuple[object]:
        return (current_host().guided(model, settings or SamplingSettings(), latent),)


class FooocusVaeDecode(Node):
    schema = Schema(
        display_name="Fooocus VAE Decode",
        category="Fooocus/sampling",
        description="Decodes a latent into an image.",
        search_aliases=("vae decode", "decode", "latent to image", "tiled vae decode"),
        inputs=(
            Input("latent", "LATENT", "Latent to decode."),
            Input("vae", sockets.ANY_VAE, "VAE that decodes it. With a refiner, the one from the refiner switch."),
            TILED,
        ),
        outputs=(Output("image", "IMAGE", "The decoded image."),),
    )

    def run(self, latent: Latent, vae: AnyVae, tiled: bool) -> tuple[Tensor]:
        return (stages.vae.decode(current_host(), vae, latent, tiled),)


class FooocusVaeEncode(SeededNode):
    schema = Schema(
        display_name="Fooocus VAE Encode",
        category="Fooocus/sampling",
        description="Encodes an image into a latent. The image is cropped to multiples of 8 pixels.",
        search_aliases=("vae encode", "encode", "image to latent", "img2img", "tiled vae encode"),
        inputs=(
            Input("image", "IMAGE", "Image to encode."),
            Input("vae", sockets.ANY_VAE, "VAE that encodes it."),
            Input("seed", SEED, "Seed of the noise in the VAE's latent distribution."),
            TILED,
        ),
        outputs=(Output("latent", "LATENT", "The encoded image."),),
    )

    def run(self, image: Tensor, vae: AnyVae, seed: int, tiled: bool) -> tuple[Latent]:
        return (stages.vae.encode(current_host(), vae, image, fooocus_seed(seed), tiled),)
