"""Fooocus/control: image prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..pipelines import stages
from ..pipelines.settings import (
    DEFAULT_CLIP_VISION,
    DEFAULT_FACE_PROMPT,
    DEFAULT_IMAGE_PROMPT,
    DEFAULT_IP_NEGATIVE,
    IMAGE_PROMPT_DEFAULTS,
    IMAGE_PROMPT_FORMULAS,
    MAX_IMAGE_PROMPT_WEIGHT,
    NO_FILE,
    POCKET_CHOICE,
    TOGETHER,
)
from . import sockets
from .checks import problem, with_pocket
from .comfy import current_host
from .inputs import PREVIOUS_CONTROL, fraction
from .schema import Combo, Float, Input, Output, Schema
from .v1 import Node

if TYPE_CHECKING:
    from torch import Tensor

    from ..pipelines.models.handles import Hint

WEIGHT, STOP_AT = IMAGE_PROMPT_DEFAULTS["ImagePrompt"]
FACE_WEIGHT, FACE_STOP_AT = IMAGE_PROMPT_DEFAULTS["FaceSwap"]


def adapter_files() -> list[str]:
    """The IP-Adapters that can be chosen."""
    host = current_host()
    names = [*host.names("controlnet"), *host.names("ipadapter")]
    return with_pocket(names, "controlnet", DEFAULT_IMAGE_PROMPT, (DEFAULT_FACE_PROMPT,))


def vision_files() -> list[str]:
    """The vision encoders that can be chosen."""
    return [*current_host().names("clip_vision"), POCKET_CHOICE]


def negative_files() -> list[str]:
    """The files of negative tokens that can be chosen, and 'None'."""
    return [*current_host().names("controlnet"), POCKET_CHOICE, NO_FILE]


class FooocusLoadImagePrompt(Node):
    schema = Schema(
        display_name="Fooocus Load Image Prompt",
        category="Fooocus/control",
        description="Loads what image prompts need: an IP-Adapter Plus for SDXL, for images or for faces, its vision "
        "encoder, and Fooocus's tokens for the negative prompt.",
        search_aliases=("ip-adapter", "ipadapter", "load ip-adapter", "clip vision", "face swap", "image prompt"),
        inputs=(
            Input(
                "adapter_name",
                Combo(adapter_files, DEFAULT_IMAGE_PROMPT),
                "IP-Adapter file: ip-adapter-plus for images, ip-adapter-plus-face for faces. 'pocket' is a small one "
                "for the pocket model.",
            ),
            Input(
                "clip_vision_name",
                Combo(vision_files, DEFAULT_CLIP_VISION),
                "Vision encoder that the adapter was trained with.",
            ),
            Input(
                "negative_name",
                Combo(negative_files, DEFAULT_IP_NEGATIVE),
                "Image tokens for the negative prompt, used by the formula fooocus. Choose 'None' for ip-adapter.",
                advanced=True,
            ),
        ),
        outputs=(Output("image_prompt", sockets.IMAGE_PROMPT, "The adapter and its files, for image prompt nodes."),),
    )

    @classmethod
    def VALIDATE_INPUTS(
        cls, adapter_name: str | None, clip_vision_name: str | None, negative_name: str | None
    ) -> bool | str:
        if adapter_name is None or clip_vision_name is None or negative_name is None:
            return True
        names = (adapter_name, clip_vision_name, negative_name)
        return problem(lambda: stages.image_prompt.find(current_host(), *names))

    def run(self, adapter_name: str, clip_vision_name: str, negative_name: str) -> tuple[Any]:
        return (stages.image_prompt.load(current_host(), adapter_name, clip_vision_name, negative_name),)


class FooocusImagePrompt(Node):
    schema = Schema(
        display_name="Fooocus Image Prompt",
        category="Fooocus/control",
        description="Adds an image as a prompt for the sampler: Fooocus's Image Prompt, or its Face Swap with the face "
        "adapter and a cropped face. Chain several to combine them, in any order.",
        search_aliases=("ip-adapter", "ipadapter", "image prompt", "face swap", "faceswap", "style transfer", "faceid"),
        inputs=(
            Input(
                "image",
                "IMAGE",
                "Image to take as a prompt, resized to a square. In a batch, each image prompts the latent at its own "
                "position; to combine images in one result, chain nodes.",
            ),
            Input("image_prompt", sockets.IMAGE_PROMPT, "IP-Adapter, for images or for faces."),
            Input(
                "weight",
                Float(WEIGHT, min=0.0, max=MAX_IMAGE_PROMPT_WEIGHT, step=0.001, round=0.001),
                f"Strength of the image. Fooocus uses {WEIGHT} for images and {FACE_WEIGHT} for faces. With the "
                "formula fooocus, 0 still draws some attention away from the text.",
            ),
            Input(
                "stop_at",
                fraction(STOP_AT),
                "Fraction of the noise schedule at which the image stops acting, counted in timesteps. Fooocus uses "
                f"{STOP_AT} for images and {FACE_STOP_AT} for faces. 0 turns it off. Vary and upscale skip the start "
                "of the schedule, so a small fraction may have no effect there.",
            ),
            Input(
                "formula",
                Combo(IMAGE_PROMPT_FORMULAS, TOGETHER),
                "fooocus: one attention over text and images, as in Fooocus; its author marks it as non-commercial. "
                "ip-adapter: separate attention for each image, as in IP-Adapter (Apache-2.0).",
                advanced=True,
            ),
            PREVIOUS_CONTROL,
        ),
        outputs=(Output("control", sockets.CONTROL, "All control images and image prompts so far, for the sampler."),),
    )

    def run(
        self,
        image: Tensor,
        image_prompt: Any,
        weight: float,
        stop_at: float,
        formula: str,
        control: tuple[Hint, ...] = (),
    ) -> tuple[tuple[Hint, ...]]:
        return (stages.image_prompt.prompt(current_host(), image_prompt, image, weight, stop_at, formula, control),)
