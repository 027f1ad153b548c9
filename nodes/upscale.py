"""Fooocus/upscale: variations of an image, and upscaling with or without sampling."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..pipelines import stages
from ..pipelines.settings import DEFAULT_UPSCALER, FAST_UPSCALES, POCKET_CHOICE, UPSCALE_FACTORS, VARY_STRENGTHS
from ..pipelines.types import Conditioning, Latent, SamplingSettings
from . import sockets
from .checks import loaded_or_skipped, unless_skipped
from .comfy import current_host
from .inputs import IMAGE_SEED, SETTINGS, VAE, SeededNode, fooocus_seed, fraction, skip_missing
from .schema import Combo, Float, Input, Int, Output, Schema
from .v1 import Node

if TYPE_CHECKING:
    from torch import Tensor

    from ..pipelines.models.handles import AnyVae, Hint, Info, Model


class FooocusVary(SeededNode):
    schema = Schema(
        display_name="Fooocus Vary",
        category="Fooocus/upscale",
        description="Prepares an image to be varied: resizes it to a resolution that suits the model, encodes it and "
        "returns the denoise strength for the sampler.",
        search_aliases=("vary", "vary subtle", "vary strong", "variation", "img2img", "image to image"),
        inputs=(
            Input("image", "IMAGE", "Image to vary."),
            Input("model", sockets.ANY_MODEL, "Model that will sample it. Its training resolution decides the size."),
            VAE,
            SETTINGS,
            Input(
                "method",
                Combo(tuple(VARY_STRENGTHS), "Vary (Strong)"),
                "Denoise strength: 0.5 for Subtle, 0.85 for Strong, or custom.",
            ),
            Input("strength", fraction(0.5), "Denoise strength with the method custom. Must be above 0."),
            IMAGE_SEED,
        ),
        outputs=(
            Output("latent", "LATENT", "The encoded image, for the sampler."),
            Output("denoise", "FLOAT", "Denoise strength, for the sampler."),
            Output("width", "INT", "Width of the resized image in pixels, for control images."),
            Output("height", "INT", "Height of the resized image in pixels, for control images."),
        ),
    )

    def run(
        self,
        image: Tensor,
        model: Model,
        vae: AnyVae,
        settings: SamplingSettings,
        method: str,
        strength: float,
        seed: int,
    ) -> tuple[Latent, float, int, int]:
        return stages.vary.vary(current_host(), model, vae, image, settings, method, strength, fooocus_seed(seed))


def upscaler_files() -> list[str]:
    """The upscale models that can be chosen."""
    return [*current_host().names("upscale_models"), POCKET_CHOICE]


class FooocusLoadUpscaler(Node):
    schema = Schema(
        display_name="Fooocus Load Upscaler",
        category="Fooocus/upscale",
        description="Loads an upscale model of the ESRGAN family (RRDB), as .bin, .pth or .safetensors.",
        search_aliases=("load upscale model", "upscaler", "upscale model", "esrgan", "real-esrgan", "super resolution"),
        inputs=(
            Input(
                "upscaler_name",
                Combo(upscaler_files, DEFAULT_UPSCALER),
                "File of the upscale model. 'pocket' is the small one that comes with the pack.",
            ),
            skip_missing("return no upscaler (inpainting can do without one)"),
        ),
        outputs=(Output("upscaler", sockets.UPSCALER, "The upscale model."),),
    )

    @classmethod
    def VALIDATE_INPUTS(cls, upscaler_name: str | None, skip_missing: bool | None = False) -> bool | str:
        if upscaler_name is None or skip_missing is None:  # linked: known when it runs
            return True
        return unless_skipped(
            lambda: stages.upscale.find(current_host(), upscaler_name), skip_missing, "upscale_models", upscaler_name
        )

    def run(self, upscaler_name: str, skip_missing: bool = False) -> tuple[Any]:
        return (
            loaded_or_skipped(
                lambda: stages.upscale.load(current_host(), upscaler_name),
                skip_missing,
                "upscale_models",
                upscaler_name,
                "small regions are resampled without an upscale model",
            ),
        )


IMAGE = Input("image", "IMAGE", "Image to upscale.")
UPSCALER = Input("upscaler", sockets.ANY_UPSCALER, "Upscale model. ComfyUI's upscale models can be used as well.")
METHOD = Input("method", Combo(tuple(UPSCALE_FACTORS), "Upscale (2x)"), "Factor to upscale by. Fast does not sample.")
FACTOR = Input("factor", Float(2.0, min=1.0, max=8.0, step=0.01), "Factor to upscale by with the method custom.")


class FooocusUpscaleImage(Node):
    schema = Schema(
        display_name="Fooocus Upscale Image",
        category="Fooocus/upscale",
        description="Upscales an image with an upscale model alone, in tiles, without sampling.",
        search_aliases=("upscale", "upscale image", "upscale image using model", "esrgan", "super resolution"),
        inputs=(
            IMAGE,
            UPSCALER,
            Input(
                "factor",
                Float(0.0, min=0.0, max=8.0, step=0.01),
                "Size of the result relative to the image. 0 keeps the size that the upscale model produces.",
            ),
        ),
        outputs=(Output("image", "IMAGE", "The upscaled image."),),
    )

    def run(self, image: Tensor, upscaler: Any, factor: float) -> tuple[Tensor]:
        return (stages.upscale.enlarge(current_host(), upscaler, image, factor),)


SAMPLING = tuple(  # what sampling takes besides the image; never computed for an upscale that does not sample
    replace(declared, optional=True, lazy=True)
    for declared in (
        Input("model", sockets.ANY_MODEL, "Model that samples the upscaled image, with the LoRAs applied."),
        VAE,
        Input("positive", "CONDITIONING", "Conditioning for what to draw."),
        Input("negative", "CONDITIONING", "Conditioning for what to avoid."),
        SETTINGS,
        Input("control", sockets.CONTROL, "Chain of control images and image prompts."),
    )
)


class FooocusUpscale(SeededNode):
    schema = Schema(
        display_name="Fooocus Upscale",
        category="Fooocus/upscale",
        description="Upscales an image as Fooocus does: with an upscale model, then by sampling at low strength. The "
        "fast method and very large images skip the sampling; the fast method needs only the image and upscaler.",
        search_aliases=("upscale", "upscale 1.5x", "upscale 2x", "fast 2x", "hires fix", "ultimate sd upscale"),
        inputs=(
            IMAGE,
            UPSCALER,
            METHOD,
            FACTOR,
            Input("strength", fraction(0.382), "Denoise strength of the sampling. 0 does not sample."),
            Input(
                "steps",
                Int(default=0, min=0, max=200),
                "Number of sampling steps. 0 uses the performance mode's for upscaling: 36 for Quality, 18 for Speed.",
                advanced=True,
            ),
            IMAGE_SEED,
            *SAMPLING,
        ),
        outputs=(
            Output("image", "IMAGE", "The upscaled image."),
            Output("info", sockets.INFO, "Generation parameters, for the save node."),
        ),
    )

    def check_lazy_status(self, method: str, strength: float, **inputs: Any) -> list[str]:
        if method in FAST_UPSCALES or strength == 0:
            return []
        return [lazy.name for lazy in SAMPLING if lazy.name in inputs and inputs[lazy.name] is None]

    def run(
        self,
        image: Tensor,
        upscaler: Any,
        method: str,
        factor: float,
        strength: float,
        steps: int,
        seed: int,
        model: Model | None = None,
        vae: AnyVae | None = None,
        positive: Conditioning | None = None,
        negative: Conditioning | None = None,
        settings: SamplingSettings | None = None,
        control: tuple[Hint, ...] | None = None,
    ) -> tuple[Tensor, Info | None]:
        sampling = stages.upscale.sampling_of(
            model, vae, positive, negative, settings, fooocus_seed(seed), control or ()
        )
        return stages.upscale.upscale(current_host(), upscaler, image, method, factor, strength, steps, sampling)


class FooocusUpscaleSize(Node):
    schema = Schema(
        display_name="Fooocus Upscale Size",
        category="Fooocus/upscale",
        description="Returns the size at which Fooocus Upscale samples an image. Connect it to PyraCanny or CPDS to "
        "prepare control images at that size, and give both nodes the same method and factor.",
        search_aliases=("upscale", "image size", "upscale size", "get resolution"),
        inputs=(
            IMAGE,
            replace(UPSCALER, tooltip="Upscale model that Fooocus Upscale uses."),
            METHOD,
            FACTOR,
            Input(
                "model",
                sockets.ANY_MODEL,
                "Model that samples the upscaled image. Without it, an SDXL model is assumed.",
                optional=True,
            ),
        ),
        outputs=(
            Output("width", "INT", "Width in pixels, for control images."),
            Output("height", "INT", "Height in pixels, for control images."),
        ),
    )

    def run(
        self, image: Tensor, upscaler: Any, method: str, factor: float, model: Model | None = None
    ) -> tuple[int, int]:
        return stages.upscale.sampled_size(upscaler, image, method, factor, model)
