"""Fooocus/control: pictures that say where things are, the networks that read them, and faces cut out."""

from __future__ import annotations

from typing import Any

from ..pipelines import stages
from ..pipelines.models.handles import Hint
from ..pipelines.settings import DEFAULT_CONTROL
from . import sockets
from .checks import chosen_file, problem, with_pocket
from .comfy import current_host

SHARE = {"min": 0.0, "max": 1.0, "step": 0.001, "round": 0.001}
SIDE = {"default": 0, "min": 0, "max": 16384, "step": 8}
WIDTH = ("INT", {**SIDE, "tooltip": "Scale and cut the picture to this width first, as Fooocus does; 0: as it is."})
HEIGHT = ("INT", {**SIDE, "tooltip": "Scale and cut the picture to this height first; 0: as it is."})


class FooocusPyraCanny:
    DESCRIPTION = "Edges at nine scales: the outlines that the canny control-LoRA was trained on."
    CATEGORY = "Fooocus/control"
    FUNCTION = "run"
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("image",)
    OUTPUT_TOOLTIPS = ("White outlines on black.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        threshold = {"min": 1, "max": 255}
        return {
            "required": {
                "image": ("IMAGE", {"tooltip": "The picture whose outlines to keep."}),
                "low": ("INT", {**threshold, "default": 64, "tooltip": "Weaker edges are dropped."}),
                "high": ("INT", {**threshold, "default": 128, "tooltip": "Stronger edges are always kept."}),
            },
            "optional": {"width": WIDTH, "height": HEIGHT},
        }

    def run(self, image: Any, low: int, high: int, width: int = 0, height: int = 0) -> tuple[Any]:
        return (stages.control.pyra_canny(image, low, high, width, height),)


class FooocusCpds:
    DESCRIPTION = "Contrast-preserving structure as grey: what the CPDS control-LoRA was trained on."
    CATEGORY = "Fooocus/control"
    FUNCTION = "run"
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("image",)
    OUTPUT_TOOLTIPS = ("The structure in grey.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {"image": ("IMAGE", {"tooltip": "The picture whose structure to keep."})},
            "optional": {"width": WIDTH, "height": HEIGHT},
        }

    def run(self, image: Any, width: int = 0, height: int = 0) -> tuple[Any]:
        return (stages.control.cpds(image, width, height),)


class FooocusFaceCrop:
    DESCRIPTION = (
        "The surest face, upright in 512×512, for a face prompt; without a face the whole picture. Faces are found by "
        "RetinaFace where the package facexlib is installed, as in Fooocus, else by YuNet."
    )
    CATEGORY = "Fooocus/control"
    FUNCTION = "run"
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("image",)
    OUTPUT_TOOLTIPS = ("The face.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {"image": ("IMAGE", {"tooltip": "The picture with the face."})},
            "optional": {
                "landmarks": (
                    sockets.LANDMARKS,
                    {
                        "tooltip": "The face's points from another tool, as text or numbers: x and y of left eye, "
                        "right eye, nose, left and right corner of the mouth. Then nothing is searched."
                    },
                )
            },
        }

    def run(self, image: Any, landmarks: Any = None) -> tuple[Any]:
        return (stages.control.cropped_faces(current_host(), image, landmarks),)


class FooocusLoadControl:
    DESCRIPTION = "Reads a control network: a control-LoRA as Fooocus uses them, or a whole ControlNet for SDXL."
    CATEGORY = "Fooocus/control"
    FUNCTION = "run"
    RETURN_TYPES = (sockets.CONTROL_NET,)
    RETURN_NAMES = ("control_net",)
    OUTPUT_TOOLTIPS = ("The control network.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        names = with_pocket(current_host().names("controlnet"), "controlnet", DEFAULT_CONTROL)
        tooltip = (
            "The control network's file: PyraCanny's for outlines, CPDS's for structure. 'pocket' is the small one for "
            "the model that comes with the pack."
        )
        return {
            "required": {
                "control_name": (names, {"default": chosen_file(names, DEFAULT_CONTROL), "tooltip": tooltip}),
            }
        }

    @classmethod
    def VALIDATE_INPUTS(cls, control_name: str | None) -> bool | str:
        if control_name is None:
            return True
        return problem(lambda: stages.control.find(current_host(), control_name))

    def run(self, control_name: str) -> tuple[Any]:
        return (stages.control.load(current_host(), control_name),)


class FooocusControl:
    DESCRIPTION = "One control image for the sampler. Chain several; their order has no meaning."
    CATEGORY = "Fooocus/control"
    FUNCTION = "run"
    RETURN_TYPES = (sockets.CONTROL,)
    RETURN_NAMES = ("control",)
    OUTPUT_TOOLTIPS = ("The control images so far, for the sampler.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "image": ("IMAGE", {"tooltip": "What the network reads: outlines, structure, whatever it knows."}),
                "control_net": (sockets.CONTROL_NET, {"tooltip": "The network that reads it."}),
                "weight": (
                    "FLOAT",
                    {
                        "default": 1.0,
                        "min": 0.0,
                        "max": 2.0,
                        "step": 0.001,
                        "round": 0.001,
                        "tooltip": "How strongly the picture follows; 0 is off.",
                    },
                ),
                "start_at": ("FLOAT", {**SHARE, "default": 0.0, "tooltip": "From which share of the timesteps on."}),
                "stop_at": (
                    "FLOAT",
                    {
                        **SHARE,
                        "default": 0.5,
                        "tooltip": "To which share of the timesteps; later steps are free. 0 is off.",
                    },
                ),
                "softness": (
                    "FLOAT",
                    {
                        **SHARE,
                        "default": 0.25,
                        "tooltip": "How much less the fine layers follow than the coarse ones; Fooocus's is 0.25.",
                    },
                ),
            },
            "optional": {"control": (sockets.CONTROL, {"tooltip": "Control images and image prompts so far."})},
        }

    def run(
        self,
        image: Any,
        control_net: Any,
        weight: float,
        start_at: float,
        stop_at: float,
        softness: float,
        control: tuple[Hint, ...] = (),
    ) -> tuple[tuple[Hint, ...]]:
        return (stages.control.hint(control_net, image, weight, start_at, stop_at, softness, control),)
