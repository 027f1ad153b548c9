"""The inputs of the four hosted endpoints, with their published names, defaults, ranges and choices."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from ...pipelines.assets.catalogue import catalogue
from ...pipelines.settings import DEFAULT_STYLES, MAX_LORAS
from ..bundled.request import OFFSET_LORA
from .fields import (
    OWN_MASK_SUFFIX,
    Address,
    AspectRatio,
    Engine,
    HintType,
    LoraPath,
    Method,
    Mode,
    Number,
    OptionalAddress,
    OutputFormat,
    Performance,
    Refiner,
    Side,
    Style,
    without_fragment,
)

DEFAULT_MODE: Mode = "Inpaint or Outpaint (default)"
LORA_SCALE = 4.0
MOST_IMAGES = 4
MOST_GROWTH = 64
MASK = (
    "URL or data URI of its mask, white where to repaint. The picture's own address with #alpha at its end takes the "
    "transparent part of the picture."
)


def default_loras() -> tuple[LoraWeight, ...]:
    """The offset LoRA by its published address."""
    asset = catalogue().known("loras", OFFSET_LORA.name)
    return (LoraWeight(path=asset.address if asset else OFFSET_LORA.name, scale=OFFSET_LORA.weight),)


class Part(BaseModel):
    """A part of a request: fields beyond those declared are left out."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class LoraWeight(Part):
    """A LoRA and the strength at which it is applied."""

    path: LoraPath = Field(description="URL of a .safetensors file, or the name of a file in the LoRA folders.")
    scale: Number = Field(0.1, ge=-LORA_SCALE, le=LORA_SCALE, description="Strength; a negative one inverts the LoRA.")


class ImagePrompt(Part):
    """A picture beside the prompt."""

    type: HintType = Field(
        "ImagePrompt",
        description="ImagePrompt follows the picture's content, FaceSwap its face, PyraCanny its outlines, and CPDS "
        "its structure of light and dark.",
    )
    image_url: OptionalAddress = Field(None, description="URL or data URI of the picture. Without one the slot is off.")
    stop_at: Number = Field(0.5, ge=0, le=1, description="Fraction of the steps during which it acts.")
    weight: Number = Field(1.0, ge=0, le=2, description="Strength.")


class Input(Part):
    """Fields of all endpoints."""

    prompt: str = Field("", description="What to draw. Each line after the first is encoded as a text of its own.")
    negative_prompt: str = Field("", description="What to avoid. Has no effect with Extreme Speed and Lightning.")
    styles: tuple[Style, ...] = Field(
        DEFAULT_STYLES, description="Styles, applied in order. 'Fooocus V2' expands the prompt."
    )
    performance: Performance = Field(
        "Extreme Speed", description="Quality takes 60 steps, Speed 30, Extreme Speed 8 and Lightning 4."
    )
    guidance_scale: Number = Field(
        4.0,
        ge=1,
        le=30,
        description="How closely to follow the prompt. Has no effect with Extreme Speed and Lightning.",
    )
    sharpness: Number = Field(
        2.0, ge=0, le=30, description="Sharpness of textures. Has no effect with Extreme Speed and Lightning."
    )
    aspect_ratio: AspectRatio = Field(
        "1024x1024",
        description="Width and height in pixels, as WIDTHxHEIGHT, in multiples of 8. Has no effect where a picture is "
        "inpainted, varied or enlarged.",
    )
    num_images: int = Field(1, ge=1, le=MOST_IMAGES, description="Number of images, from consecutive seeds.")
    loras: tuple[LoraWeight, ...] = Field(
        default_factory=default_loras, max_length=MAX_LORAS, description="Up to five LoRAs."
    )
    refiner_model: Refiner = Field(
        "None", description="Model for the last steps. Has no effect with Extreme Speed and Lightning."
    )
    refiner_switch: Number = Field(
        0.8,
        ge=0,
        le=1,
        description="Fraction of the steps after which the refiner takes over: 0.4 for realistic models.",
    )
    output_format: OutputFormat = Field("jpeg", description="Format of the images.")
    sync_mode: bool = Field(
        False, description="Return the images as data URIs in the output, and keep none of them on the server."
    )
    seed: int | None = Field(None, description="Seed of the first image; a random one without it.")
    enable_safety_checker: bool = Field(True, description="Check the images, and black out those that are not safe.")


class Masked(Input):
    """An endpoint that takes a mask."""

    @field_validator("mask_image_url", check_fields=False)
    @classmethod
    def _of_the_same_picture(cls, mask: str | None, info: ValidationInfo) -> str | None:
        if mask is not None and mask.endswith(OWN_MASK_SUFFIX):
            picture = info.data.get("inpaint_image_url")
            if picture is not None and without_fragment(mask) != picture:
                message = "Value error, a mask that ends in {suffix} should be the inpaint_image_url with that end"
                raise PydanticCustomError("value_error", message, {"suffix": OWN_MASK_SUFFIX})
        return mask


class TextToImageInput(Masked):
    """Text to image, beside a control image, or with a part of a picture inpainted."""

    control_image_url: OptionalAddress = Field(None, description="URL or data URI of a picture beside the prompt.")
    control_type: HintType = Field("PyraCanny", description="How the control image is used.")
    control_image_weight: Number = Field(1.0, ge=0, le=2, description="Strength of the control image.")
    control_image_stop_at: Number = Field(
        1.0, ge=0, le=1, description="Fraction of the steps during which the control image acts."
    )
    inpaint_image_url: OptionalAddress = Field(None, description="URL or data URI of a picture to inpaint.")
    mask_image_url: OptionalAddress = Field(None, description=MASK)
    mixing_image_prompt_and_inpaint: bool = Field(False, description="Use the control image while inpainting.")


class ImagePromptInput(Masked):
    """Text to image with up to four pictures beside the prompt."""

    image_prompt_1: ImagePrompt = Field(description="First picture.")
    image_prompt_2: ImagePrompt | None = Field(None, description="Second picture.")
    image_prompt_3: ImagePrompt | None = Field(None, description="Third picture.")
    image_prompt_4: ImagePrompt | None = Field(None, description="Fourth picture.")
    inpaint_image_url: OptionalAddress = Field(None, description="URL or data URI of a picture to inpaint.")
    mask_image_url: OptionalAddress = Field(None, description=MASK)
    inpaint_mode: Mode = Field(DEFAULT_MODE, description="How to inpaint.")
    inpaint_additional_prompt: str = Field("", description="What to draw in the masked part, before the prompt.")
    outpaint_selections: tuple[Side, ...] = Field((), description="Sides at which the picture is extended.")
    mixing_image_prompt_and_inpaint: bool = Field(
        False, description="Inpaint. Without it the picture to inpaint is not used."
    )
    uov_image_url: OptionalAddress = Field(None, description="URL or data URI of a picture to vary or enlarge.")
    uov_method: Method = Field("Disabled", description="How to vary or enlarge it.")
    mixing_image_prompt_and_vary_upscale: bool = Field(
        False, description="Vary or enlarge. Without it the picture to vary is not used."
    )


class InpaintInput(Masked):
    """A part of a picture painted anew, or a picture continued at its sides."""

    inpaint_image_url: Address = Field(description="URL or data URI of the picture to inpaint.")
    mask_image_url: OptionalAddress = Field(None, description=MASK)
    inpaint_mode: Mode = Field(DEFAULT_MODE, description="How to inpaint.")
    inpaint_additional_prompt: str = Field("", description="What to draw in the masked part, before the prompt.")
    outpaint_selections: tuple[Side, ...] = Field((), description="Sides at which the picture is extended.")
    override_inpaint_options: bool = Field(
        False, description="Use the next five values as they are given, not those of the mode."
    )
    inpaint_disable_initial_latent: bool = Field(False, description="Start from an empty latent.")
    inpaint_engine: Engine = Field("v2.6", description="Version of the inpaint model; None inpaints without it.")
    inpaint_strength: Number = Field(1.0, le=1, description="Denoise strength of the masked part.")
    inpaint_respective_field: Number = Field(
        0.618,
        ge=0,
        le=1,
        description="How much of the picture around the mask the model sees: 0 is the masked part alone, 1 all of it.",
    )
    inpaint_erode_or_dilate: Number = Field(
        0.0,
        ge=-MOST_GROWTH,
        le=MOST_GROWTH,
        description="Number of pixels to grow the mask by; a negative one shrinks it.",
    )
    invert_mask: bool = Field(False, description="Repaint everything outside the mask instead.")
    image_prompt_1: ImagePrompt | None = Field(None, description="First picture beside the prompt.")
    image_prompt_2: ImagePrompt | None = Field(None, description="Second picture.")
    image_prompt_3: ImagePrompt | None = Field(None, description="Third picture.")
    image_prompt_4: ImagePrompt | None = Field(None, description="Fourth picture.")
    mixing_image_prompt_and_inpaint: bool = Field(
        False, description="Use the pictures beside the prompt. Without it they are not used."
    )


class UpscaleOrVaryInput(Input):
    """A picture varied or enlarged."""

    uov_image_url: Address = Field(description="URL or data URI of the picture to vary or enlarge.")
    uov_method: Method = Field("Vary (Strong)", description="How to vary or enlarge it.")
    image_prompt_1: ImagePrompt | None = Field(None, description="First picture beside the prompt.")
    image_prompt_2: ImagePrompt | None = Field(None, description="Second picture.")
    image_prompt_3: ImagePrompt | None = Field(None, description="Third picture.")
    image_prompt_4: ImagePrompt | None = Field(None, description="Fourth picture.")
    mixing_image_prompt_and_vary_upscale: bool = Field(
        False, description="Use the pictures beside the prompt. Without it they are not used."
    )
