"""Fooocus/control: pictures as prompts."""

from __future__ import annotations

from typing import Any

from ..pipelines import stages
from ..pipelines.models.handles import Hint
from ..pipelines.settings import (
    DEFAULT_CLIP_VISION,
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
from .checks import chosen_file, problem, with_pocket
from .comfy import current_host

WEIGHT, STOP_AT = IMAGE_PROMPT_DEFAULTS["ImagePrompt"]
FACE_WEIGHT, FACE_STOP_AT = IMAGE_PROMPT_DEFAULTS["FaceSwap"]


class FooocusLoadImagePrompt:
    DESCRIPTION = (
        "Reads what pictures as prompts take: an IP-Adapter Plus for SDXL, for pictures or for faces, the vision "
        "encoder that sees for it, and Fooocus's tokens for the negative side."
    )
    CATEGORY = "Fooocus/control"
    FUNCTION = "run"
    RETURN_TYPES = (sockets.IMAGE_PROMPT,)
    RETURN_NAMES = ("image_prompt",)
    OUTPUT_TOOLTIPS = ("The adapter and what belongs to it, for image prompt nodes.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        host = current_host()
        own = [*host.names("controlnet"), *host.names("ipadapter")]
        adapters = with_pocket(own, "controlnet", DEFAULT_IMAGE_PROMPT)
        visions = [*host.names("clip_vision"), POCKET_CHOICE]
        negatives = [*host.names("controlnet"), POCKET_CHOICE, NO_FILE]
        return {
            "required": {
                "adapter_name": (
                    adapters,
                    {
                        "default": chosen_file(adapters, DEFAULT_IMAGE_PROMPT),
                        "tooltip": "ip-adapter-plus for pictures, ip-adapter-plus-face for faces. 'pocket' is the "
                        "small one for the model that comes with the pack.",
                    },
                ),
                "clip_vision_name": (
                    visions,
                    {
                        "default": chosen_file(visions, DEFAULT_CLIP_VISION),
                        "tooltip": "The vision encoder that the adapter was trained with.",
                    },
                ),
                "negative_name": (
                    negatives,
                    {
                        "default": chosen_file(negatives, DEFAULT_IP_NEGATIVE),
                        "tooltip": "What the negative side reads with the formula fooocus; the other needs 'None'.",
                    },
                ),
            }
        }

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


class FooocusImagePrompt:
    DESCRIPTION = (
        "One picture as a prompt for the sampler: Fooocus's ImagePrompt, and with the face adapter and a cropped face "
        "its FaceSwap. Chain several; their order has no meaning."
    )
    CATEGORY = "Fooocus/control"
    FUNCTION = "run"
    RETURN_TYPES = (sockets.CONTROL,)
    RETURN_NAMES = ("control",)
    OUTPUT_TOOLTIPS = ("The control images and image prompts so far, for the sampler.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        number = {"min": 0.0, "step": 0.001, "round": 0.001}
        return {
            "required": {
                "image": (
                    "IMAGE",
                    {
                        "tooltip": "What to be inspired by; it is stretched to a square. Of several pictures, each "
                        "goes with its own in a latent batch: to read several at once, chain nodes."
                    },
                ),
                "image_prompt": (sockets.IMAGE_PROMPT, {"tooltip": "The adapter, for pictures or for faces."}),
                "weight": (
                    "FLOAT",
                    {
                        **number,
                        "default": WEIGHT,
                        "max": MAX_IMAGE_PROMPT_WEIGHT,
                        "tooltip": f"How strongly the picture counts; Fooocus takes {FACE_WEIGHT} for a face. With the "
                        "formula fooocus 0 is not the same as off: the picture still takes attention from the text.",
                    },
                ),
                "stop_at": (
                    "FLOAT",
                    {
                        **number,
                        "default": STOP_AT,
                        "max": 1.0,
                        "tooltip": f"Before which share of the timesteps it acts; Fooocus takes {FACE_STOP_AT} for a "
                        "face. 0 is off. Vary and upscale begin late: there a small share means never.",
                    },
                ),
                "formula": (
                    list(IMAGE_PROMPT_FORMULAS),
                    {
                        "default": TOGETHER,
                        "tooltip": "fooocus: text and pictures in one attention, as Fooocus does; its author marks it "
                        "as non-commercial. ip-adapter: each picture beside the text, as IP-Adapter does "
                        "(Apache-2.0).",
                    },
                ),
            },
            "optional": {"control": (sockets.CONTROL, {"tooltip": "Control images and image prompts so far."})},
        }

    def run(
        self,
        image: Any,
        image_prompt: Any,
        weight: float,
        stop_at: float,
        formula: str,
        control: tuple[Hint, ...] = (),
    ) -> tuple[tuple[Hint, ...]]:
        return (stages.image_prompt.prompt(current_host(), image_prompt, image, weight, stop_at, formula, control),)
