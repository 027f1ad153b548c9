"""Fooocus/inpaint: a part of a picture painted anew, in one node or step by step."""

from __future__ import annotations

from typing import Any

from ..pipelines import stages
from ..pipelines.models.handles import Model, Vae
from ..pipelines.settings import DEFAULT_ENGINE, INPAINT_MODES, INPAINT_PATCHES, MAX_SEED, InpaintMode
from ..pipelines.types import SWAP_METHODS, InpaintRegion, SamplingSettings, SwapMethod
from . import sockets
from .comfy import current_host
from .masks import chosen_sides, sides_inputs

SEED = {"default": 0, "min": 0, "max": MAX_SEED, "control_after_generate": True}
SHARE = {"min": 0.0, "max": 1.0, "step": 0.001, "round": 0.001}
STRENGTH = (
    "FLOAT",
    {
        **SHARE,
        "default": 1.0,
        "tooltip": "How much of the hole is drawn anew; above 0. From 0.99 on it is filled from its edges first.",
    },
)
FIELD = (
    "FLOAT",
    {
        **SHARE,
        "default": 0.618,
        "tooltip": "How much of the picture the model sees: 0 is the masked area alone, 1 the whole picture.",
    },
)
ENGINE = (
    list(INPAINT_PATCHES),
    {"default": DEFAULT_ENGINE, "tooltip": "The inpaint model of Fooocus; None paints with the model as it is."},
)
UPSCALER = (
    sockets.ANY_UPSCALER,
    {"tooltip": "Enlarges a small part before the model paints in it; without it, it is resampled."},
)


class FooocusInpaintCrop:
    DESCRIPTION = "Cuts out the part of a picture round its mask, in a size that the model knows."
    CATEGORY = "Fooocus/inpaint"
    FUNCTION = "run"
    RETURN_TYPES = (sockets.INPAINT, "IMAGE", "MASK", "INT", "INT")
    RETURN_NAMES = ("region", "image", "mask", "width", "height")
    OUTPUT_TOOLTIPS = (
        "The part and where it belongs.",
        "The part as a picture.",
        "Its mask.",
        "Its width in pixels, for control images.",
        "Its height in pixels.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "image": ("IMAGE", {"tooltip": "The picture."}),
                "mask": ("MASK", {"tooltip": "1 where to repaint; of another size it is resampled."}),
                "respective_field": FIELD,
            },
            "optional": {
                "model": (sockets.MODEL, {"tooltip": "The model that will paint; it says which size is good."}),
                "upscaler": UPSCALER,
            },
        }

    def run(
        self, image: Any, mask: Any, respective_field: float, model: Model | None = None, upscaler: Any = None
    ) -> tuple[InpaintRegion, Any, Any, int, int]:
        region = stages.inpaint.crop(current_host(), image, mask, respective_field, model, upscaler)
        return region, region.crop, region.mask, region.width, region.height


class FooocusInpaintFill:
    DESCRIPTION = "Fills the hole of a picture from what is round it, by blurs of falling radius."
    CATEGORY = "Fooocus/inpaint"
    FUNCTION = "run"
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("image",)
    OUTPUT_TOOLTIPS = ("The picture without its hole.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "image": ("IMAGE", {"tooltip": "The picture."}),
                "mask": ("MASK", {"tooltip": "1 where the hole is."}),
            }
        }

    def run(self, image: Any, mask: Any) -> tuple[Any]:
        return (stages.inpaint.fill(image, mask),)


class FooocusInpaintModel:
    DESCRIPTION = (
        "Fooocus's inpaint model on top of an SDXL model: it sees the mask and what is round it. For the last steps "
        "the model goes on without it, or hands over to the refiner if it has one."
    )
    CATEGORY = "Fooocus/inpaint"
    FUNCTION = "run"
    RETURN_TYPES = (sockets.MODEL,)
    RETURN_NAMES = ("model",)
    OUTPUT_TOOLTIPS = ("The model for the encode node and the sampler.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "model": (sockets.MODEL, {"tooltip": "The model."}),
                "engine": ENGINE,
            },
            "optional": {
                "refiner_switch": (
                    "FLOAT",
                    {
                        **SHARE,
                        "default": 0.8,
                        "tooltip": "After which share of the steps a model without a refiner goes on plain; 1 is "
                        "never.",
                    },
                ),
                "refiner_swap": (
                    list(SWAP_METHODS),
                    {"default": "joint", "tooltip": "How it does so; see the refiner switch."},
                ),
            },
        }

    def run(
        self, model: Model, engine: str, refiner_switch: float = 0.8, refiner_swap: SwapMethod = "joint"
    ) -> tuple[Model]:
        return (stages.inpaint.with_engine(current_host(), model, engine, refiner_switch, refiner_swap),)


class FooocusInpaintEncode:
    DESCRIPTION = "Turns a cut-out part into the latent that the sampler paints in; the rest of it stays as it is."
    CATEGORY = "Fooocus/inpaint"
    FUNCTION = "run"
    RETURN_TYPES = ("LATENT", "FLOAT")
    RETURN_NAMES = ("latent", "denoise")
    OUTPUT_TOOLTIPS = ("The part with its mask, for the sampler.", "The strength, for the sampler.")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "region": (sockets.INPAINT, {"tooltip": "From the crop node."}),
                "model": (sockets.MODEL, {"tooltip": "The model that will paint, from the inpaint model node."}),
                "vae": (sockets.VAE, {"tooltip": "The autoencoder, from the refiner switch if there is one."}),
                "settings": (sockets.SETTINGS, {"tooltip": "From the performance node."}),
                "strength": STRENGTH,
                "initial_latent": (
                    "BOOLEAN",
                    {"default": True, "tooltip": "Begin from the part as it is; off: from nothing."},
                ),
                "seed": ("INT", {**SEED, "tooltip": "The seed of the picture; wire the prompt's here."}),
            },
            "optional": {"filled": ("IMAGE", {"tooltip": "The part with its hole filled, for a strength near 1."})},
        }

    def run(
        self,
        region: InpaintRegion,
        model: Model,
        vae: Vae,
        settings: SamplingSettings,
        strength: float,
        initial_latent: bool,
        seed: int,
        filled: Any = None,
    ) -> tuple[dict[str, Any], float]:
        latent = stages.inpaint.encode(
            current_host(), model, vae, region, settings, strength, filled, initial_latent, seed
        )
        return latent, strength


class FooocusInpaintPaste:
    DESCRIPTION = "Puts a painted part back into its picture, with a soft edge. All else stays to the bit."
    CATEGORY = "Fooocus/inpaint"
    FUNCTION = "run"
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("image",)
    OUTPUT_TOOLTIPS = ("The whole picture.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "image": ("IMAGE", {"tooltip": "The painted part, decoded."}),
                "region": (sockets.INPAINT, {"tooltip": "Where it belongs, from the crop node or the inpaint node."}),
            }
        }

    def run(self, image: Any, region: InpaintRegion) -> tuple[Any]:
        return (stages.inpaint.paste(image, region),)


class FooocusInpaintPrompt:
    DESCRIPTION = (
        "An additional prompt for the part that is repainted. It goes in front as the main line: styles and expansion "
        "act on it, and the prompt follows as it is."
    )
    CATEGORY = "Fooocus/inpaint"
    FUNCTION = "run"
    RETURN_TYPES = ("STRING",)
    RETURN_NAMES = ("text",)
    OUTPUT_TOOLTIPS = ("The text for the prompt node.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        text = {"default": "", "multiline": True}
        return {
            "required": {
                "text": ("STRING", {**text, "tooltip": "The prompt."}),
                "additional_prompt": (
                    "STRING",
                    {**text, "tooltip": "What is in the part, such as 'highly detailed face' or 'beautiful eyes'."},
                ),
            }
        }

    def run(self, text: str, additional_prompt: str) -> tuple[str]:
        return (stages.inpaint.with_additional(text, additional_prompt),)


class FooocusInpaint:
    DESCRIPTION = (
        "Fooocus's inpaint and outpaint up to the sampler, in its three modes: the mask is changed, the picture made "
        "larger, the part cut out, filled and encoded, and the inpaint model applied. Sample the latent with the model "
        "and denoise from here, decode it, and paste it back into the region."
    )
    CATEGORY = "Fooocus/inpaint"
    FUNCTION = "run"
    RETURN_TYPES = (sockets.MODEL, "LATENT", "FLOAT", sockets.INPAINT, "IMAGE", "MASK", "INT", "INT")
    RETURN_NAMES = ("model", "latent", "denoise", "region", "filled", "mask", "width", "height")
    OUTPUT_TOOLTIPS = (
        "The model with the mode's engine, for the sampler.",
        "The latent, for the sampler.",
        "The strength, for the sampler.",
        "Where the part belongs, for the paste node.",
        "The part as it is encoded, to look at.",
        "Its mask, to look at.",
        "The part's width in pixels, for control images.",
        "Its height in pixels.",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        modes = list(INPAINT_MODES)
        return {
            "required": {
                "image": ("IMAGE", {"tooltip": "The picture."}),
                "model": (sockets.MODEL, {"tooltip": "The model, with the LoRAs applied."}),
                "vae": (sockets.VAE, {"tooltip": "The autoencoder, from the refiner switch if there is one."}),
                "settings": (sockets.SETTINGS, {"tooltip": "From the performance node."}),
                "mode": (
                    modes,
                    {
                        "default": modes[0],
                        "tooltip": "Inpaint: engine, strength 1. Improve Detail: no engine, strength 0.5, the masked "
                        "area alone. Modify Content: as Inpaint, from nothing, the masked area alone.",
                    },
                ),
                **{
                    name: (kind, {**options, "tooltip": options["tooltip"] + " Only Inpaint or Outpaint does it."})
                    for name, (kind, options) in sides_inputs("outpaint_").items()
                },
                "erode_or_dilate": (
                    "INT",
                    {"default": 0, "min": -64, "max": 64, "tooltip": "Pixels to grow the mask by; below 0 it shrinks."},
                ),
                "invert_mask": ("BOOLEAN", {"default": False, "tooltip": "Repaint what the mask leaves out."}),
                "seed": ("INT", {**SEED, "tooltip": "The seed of the picture; wire the prompt's here."}),
                "override": (
                    "BOOLEAN",
                    {"default": False, "tooltip": "Take the four values below in place of the mode's."},
                ),
                "disable_initial_latent": ("BOOLEAN", {"default": False, "tooltip": "Begin from nothing."}),
                "engine": ENGINE,
                "strength": STRENGTH,
                "respective_field": FIELD,
            },
            "optional": {
                "mask": ("MASK", {"tooltip": "1 where to repaint; outpainting needs none."}),
                "upscaler": UPSCALER,
            },
        }

    def run(
        self,
        image: Any,
        model: Model,
        vae: Vae,
        settings: SamplingSettings,
        mode: str,
        outpaint_left: bool,
        outpaint_top: bool,
        outpaint_right: bool,
        outpaint_bottom: bool,
        erode_or_dilate: int,
        invert_mask: bool,
        seed: int,
        override: bool,
        disable_initial_latent: bool,
        engine: str,
        strength: float,
        respective_field: float,
        mask: Any = None,
        upscaler: Any = None,
    ) -> tuple[Model, dict[str, Any], float, InpaintRegion, Any, Any, int, int]:
        given = InpaintMode(engine, strength, respective_field, not disable_initial_latent) if override else None
        sides = chosen_sides(outpaint_left, outpaint_top, outpaint_right, outpaint_bottom)
        done = stages.inpaint.inpaint(
            current_host(),
            image,
            mask,
            model,
            vae,
            settings,
            mode,
            given,
            sides,
            erode_or_dilate,
            invert_mask,
            upscaler,
            seed,
        )
        region = done.region
        return done.model, done.latent, done.denoise, region, done.filled, region.mask, region.width, region.height
