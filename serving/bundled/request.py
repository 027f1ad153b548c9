"""Requests as frozen values: the hosted endpoints' parameters and their defaults."""

from __future__ import annotations

from dataclasses import dataclass

from ...pipelines.settings import (
    DEFAULT_CHECKPOINT,
    DEFAULT_ENGINE,
    DEFAULT_STYLES,
    DEFAULT_UPSCALER,
    EXAMPLE_PICTURE,
    NO_FILE,
)
from ...pipelines.types import Lora

OWN_MASK, NO_MASK = "own", ""
OFFSET_LORA = Lora("sd_xl_offset_example-lora_1.0.safetensors", 0.1)


@dataclass(frozen=True)
class ImagePrompt:
    """An image that conditions the generation: as ImagePrompt or FaceSwap, or as control image PyraCanny or CPDS."""

    type: str = "ImagePrompt"
    weight: float = 1.0
    stop_at: float = 0.5
    image: str = EXAMPLE_PICTURE


@dataclass(frozen=True)
class TextToImage:
    """Text to image, with the hosted endpoint's parameters and defaults."""

    prompt: str = ""
    negative_prompt: str = ""
    styles: tuple[str, ...] = DEFAULT_STYLES
    performance: str = "Extreme Speed"
    guidance_scale: float = 4.0
    sharpness: float = 2.0
    aspect_ratio: str = "1024×1024"
    num_images: int = 1
    loras: tuple[Lora, ...] = (OFFSET_LORA,)
    image_prompts: tuple[ImagePrompt, ...] = ()
    refiner: str = NO_FILE
    refiner_switch: float = 0.8
    output_format: str = "jpeg"
    seed: int = 0
    checkpoint: str = DEFAULT_CHECKPOINT


@dataclass(frozen=True)
class InpaintOptions:
    """Values that override those of an inpaint mode."""

    engine: str = DEFAULT_ENGINE
    strength: float = 1.0
    respective_field: float = 0.618
    disable_initial_latent: bool = False


@dataclass(frozen=True)
class Inpaint(TextToImage):
    """Inpainting of an image, and outpainting at its sides.

    `mask`: a file that is white where to repaint; OWN_MASK for the transparent part of the image, as ComfyUI's mask
    editor leaves it; NO_MASK for outpainting only.
    """

    image: str = EXAMPLE_PICTURE
    mask: str = OWN_MASK
    mode: str = "Inpaint or Outpaint (default)"
    additional_prompt: str = ""
    outpaint: tuple[str, ...] = ()
    erode_or_dilate: int = 0
    invert_mask: bool = False
    options: InpaintOptions | None = None
    upscaler: str = DEFAULT_UPSCALER


@dataclass(frozen=True)
class UpscaleOrVary(TextToImage):
    """Variation or upscaling of an image; its size replaces the aspect ratio."""

    image: str = EXAMPLE_PICTURE
    method: str = "Vary (Strong)"
    upscaler: str = DEFAULT_UPSCALER
