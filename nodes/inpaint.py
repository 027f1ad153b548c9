"""Fooocus/inpaint: inpainting and outpainting, in one node or step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..pipelines import stages
from ..pipelines.settings import DEFAULT_ENGINE, INPAINT_MODES, INPAINT_PATCHES, InpaintMode
from ..pipelines.types import SWAP_METHODS, InpaintRegion, Latent, SamplingSettings, SwapMethod
from . import sockets
from .comfy import current_host
from .inputs import IMAGE_SEED, SETTINGS, UPSCALER, VAE, SeededNode, fooocus_seed, fraction
from .masks import GROWTH, chosen_sides, side_switches
from .schema import Boolean, Combo, Input, Output, Schema, String
from .v1 import Node

if TYPE_CHECKING:
    from torch import Tensor

    from ..pipelines.models.handles import AnyVae, Model

ENGINE = Combo(tuple(INPAINT_PATCHES), DEFAULT_ENGINE)
ENGINE_TOOLTIP = "Version of Fooocus's inpaint model. 'None' inpaints with the model as it is."
STRENGTH_TOOLTIP = (
    "Denoise strength of the masked area. Must be above 0. From 0.99 on, the area is first filled from its edges."
)
FIELD_TOOLTIP = "How much of the image around the mask the model sees: 0 is the masked area alone, 1 the whole image."


class FooocusInpaintCrop(Node):
    schema = Schema(
        display_name="Fooocus Inpaint Crop",
        category="Fooocus/inpaint",
        description="Crops the region around the mask and resizes it to a resolution that suits the model.",
        search_aliases=("inpaint", "inpaint crop", "crop and stitch", "crop mask", "only masked"),
        inputs=(
            Input("image", "IMAGE", "Image to inpaint."),
            Input("mask", "MASK", "1 where to repaint. Resized to the image if the sizes differ."),
            Input("respective_field", fraction(0.618), FIELD_TOOLTIP),
            Input(
                "model",
                sockets.ANY_MODEL,
                "Model that will inpaint. Its training resolution decides the size of the region.",
                optional=True,
            ),
            UPSCALER,
        ),
        outputs=(
            Output("region", sockets.INPAINT, "The region and its place in the image."),
            Output("image", "IMAGE", "The cropped image."),
            Output("mask", "MASK", "The cropped mask."),
            Output("width", "INT", "Width of the region in pixels, for control images."),
            Output("height", "INT", "Height of the region in pixels, for control images."),
        ),
    )

    def run(
        self, image: Tensor, mask: Tensor, respective_field: float, model: Model | None = None, upscaler: Any = None
    ) -> tuple[InpaintRegion, Tensor, Tensor, int, int]:
        region = stages.inpaint.crop(current_host(), image, mask, respective_field, model, upscaler)
        return region, region.crop, region.mask, region.width, region.height


class FooocusInpaintFill(Node):
    schema = Schema(
        display_name="Fooocus Inpaint Fill",
        category="Fooocus/inpaint",
        description="Fills the masked area from its surroundings, with blurs of decreasing radius.",
        search_aliases=("inpaint", "fill masked area", "pre-fill", "infill"),
        inputs=(
            Input("image", "IMAGE", "Image to fill."),
            Input("mask", "MASK", "1 where to fill."),
        ),
        outputs=(Output("image", "IMAGE", "The filled image."),),
    )

    def run(self, image: Tensor, mask: Tensor) -> tuple[Tensor]:
        return (stages.inpaint.fill(image, mask),)


class FooocusInpaintModel(Node):
    schema = Schema(
        display_name="Fooocus Inpaint Model",
        category="Fooocus/inpaint",
        description="Applies Fooocus's inpaint model to an SDXL model, which then takes the mask and the surroundings "
        "into account. For the last steps it is switched off, or the model's refiner takes over.",
        search_aliases=("inpaint", "inpaint model", "inpaint patch", "inpaint engine", "inpaint head"),
        inputs=(
            Input("model", sockets.ANY_MODEL, "SDXL model to apply it to."),
            Input("engine", ENGINE, ENGINE_TOOLTIP),
            Input(
                "refiner_switch",
                fraction(0.8),
                "Fraction of the steps after which the inpaint model is switched off, if the model has no refiner. 1 "
                "keeps it on.",
                optional=True,
                advanced=True,
            ),
            Input(
                "refiner_swap",
                Combo(SWAP_METHODS, "joint"),
                "How it is switched off. joint: the network is swapped within one run. separate: two runs over one "
                "noise schedule. vae: two full runs, with new noise in between.",
                optional=True,
                advanced=True,
            ),
        ),
        outputs=(Output("model", sockets.ANY_MODEL, "The model, for Fooocus Inpaint Encode and the sampler."),),
    )

    def run(
        self, model: Model, engine: str, refiner_switch: float = 0.8, refiner_swap: SwapMethod = "joint"
    ) -> tuple[Model]:
        return (stages.inpaint.with_engine(current_host(), model, engine, refiner_switch, refiner_swap),)


class FooocusInpaintEncode(SeededNode):
    schema = Schema(
        display_name="Fooocus Inpaint Encode",
        category="Fooocus/inpaint",
        description="Encodes a cropped region into a latent with its mask. The sampler keeps everything outside the "
        "mask.",
        search_aliases=("inpaint", "vae encode for inpainting", "set latent noise mask", "inpaint conditioning"),
        inputs=(
            Input("region", sockets.INPAINT, "Region from Fooocus Inpaint Crop."),
            Input("model", sockets.ANY_MODEL, "Model that will inpaint, from Fooocus Inpaint Model."),
            VAE,
            SETTINGS,
            Input("strength", fraction(1.0), STRENGTH_TOOLTIP),
            Input(
                "initial_latent",
                Boolean(default=True),
                "Start from the encoded region. When off, start from an empty latent.",
                advanced=True,
            ),
            IMAGE_SEED,
            Input(
                "filled",
                "IMAGE",
                "The region with its masked area filled, for a strength near 1, from Fooocus Inpaint Fill.",
                optional=True,
            ),
        ),
        outputs=(
            Output("latent", "LATENT", "The latent with its mask, for the sampler."),
            Output("denoise", "FLOAT", "Denoise strength, for the sampler."),
        ),
    )

    def run(
        self,
        region: InpaintRegion,
        model: Model,
        vae: AnyVae,
        settings: SamplingSettings,
        strength: float,
        initial_latent: bool,
        seed: int,
        filled: Tensor | None = None,
    ) -> tuple[Latent, float]:
        latent = stages.inpaint.encode(
            current_host(), model, vae, region, settings, strength, filled, initial_latent, fooocus_seed(seed)
        )
        return latent, strength


class FooocusInpaintPaste(Node):
    schema = Schema(
        display_name="Fooocus Inpaint Paste",
        category="Fooocus/inpaint",
        description="Pastes an inpainted region back into its image with a soft edge. Everything outside it is left "
        "bit-identical.",
        search_aliases=("inpaint", "inpaint stitch", "crop and stitch", "paste back", "uncrop"),
        inputs=(
            Input("image", "IMAGE", "Inpainted region, decoded."),
            Input("region", sockets.INPAINT, "Its place in the image, from the node that cropped it."),
        ),
        outputs=(Output("image", "IMAGE", "The whole image."),),
    )

    def run(self, image: Tensor, region: InpaintRegion) -> tuple[Tensor]:
        return (stages.inpaint.paste(image, region),)


class FooocusInpaintPrompt(Node):
    schema = Schema(
        display_name="Fooocus Inpaint Prompt",
        category="Fooocus/inpaint",
        description="Puts an additional prompt for the masked area in front of the prompt. It becomes the first line, "
        "which styles and expansion apply to.",
        search_aliases=("inpaint", "inpaint additional prompt", "inpaint prompt", "concatenate text"),
        inputs=(
            Input("text", String(multiline=True), "Prompt of the whole image."),
            Input(
                "additional_prompt",
                String(multiline=True),
                "What to draw in the masked area, such as 'highly detailed face' or 'beautiful eyes'.",
            ),
        ),
        outputs=(Output("text", "STRING", "The combined text, for the prompt node."),),
    )

    def run(self, text: str, additional_prompt: str) -> tuple[str]:
        return (stages.inpaint.with_additional(text, additional_prompt),)


class FooocusInpaint(SeededNode):
    schema = Schema(
        display_name="Fooocus Inpaint",
        category="Fooocus/inpaint",
        description="Prepares inpainting or outpainting in one of Fooocus's three modes: adjusts the mask, extends the "
        "image, crops, fills and encodes the region, and applies the inpaint model. Sample the latent with this "
        "node's model and denoise, decode it, and paste it back with Fooocus Inpaint Paste.",
        search_aliases=("inpaint", "outpaint", "improve detail", "modify content", "inpainting", "outpainting"),
        inputs=(
            Input("image", "IMAGE", "Image to inpaint."),
            Input("model", sockets.ANY_MODEL, "Model that will inpaint, with the LoRAs applied."),
            VAE,
            SETTINGS,
            Input(
                "mode",
                Combo(tuple(INPAINT_MODES), next(iter(INPAINT_MODES))),
                "Inpaint: strength 1, with the inpaint model. Improve Detail: strength 0.5, without it, seeing only "
                "the masked area. Modify Content: like Inpaint, from an empty latent, seeing only the masked area.",
            ),
            *side_switches(
                "Extend the image on the {side} and paint the new area. Only the mode Inpaint or Outpaint does this.",
                prefix="outpaint_",
            ),
            Input("erode_or_dilate", GROWTH, "Number of pixels to grow the mask by. Negative values shrink it."),
            Input("invert_mask", Boolean(), "Repaint everything outside the mask instead."),
            IMAGE_SEED,
            Input("override", Boolean(), "Use the four values below instead of the mode's.", advanced=True),
            Input("disable_initial_latent", Boolean(), "Start from an empty latent.", advanced=True),
            Input("engine", ENGINE, ENGINE_TOOLTIP, advanced=True),
            Input("strength", fraction(1.0), STRENGTH_TOOLTIP, advanced=True),
            Input("respective_field", fraction(0.618), FIELD_TOOLTIP, advanced=True),
            Input("mask", "MASK", "1 where to repaint. Not needed for outpainting.", optional=True),
            UPSCALER,
        ),
        outputs=(
            Output("model", sockets.ANY_MODEL, "The model with the mode's inpaint engine, for the sampler."),
            Output("latent", "LATENT", "The latent with its mask, for the sampler."),
            Output("denoise", "FLOAT", "Denoise strength, for the sampler."),
            Output("region", sockets.INPAINT, "The region's place in the image, for Fooocus Inpaint Paste."),
            Output("filled", "IMAGE", "The region as it was encoded, for inspection."),
            Output("mask", "MASK", "The mask of the region, for inspection."),
            Output("width", "INT", "Width of the region in pixels, for control images."),
            Output("height", "INT", "Height of the region in pixels, for control images."),
        ),
    )

    def run(
        self,
        image: Tensor,
        model: Model,
        vae: AnyVae,
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
        mask: Tensor | None = None,
        upscaler: Any = None,
    ) -> tuple[Model, Latent, float, InpaintRegion, Tensor, Tensor, int, int]:
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
            fooocus_seed(seed),
        )
        region = done.region
        return done.model, done.latent, done.denoise, region, done.filled, region.mask, region.width, region.height
