"""Fooocus/control: control images, the networks that read them, and face crops."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..pipelines import stages
from ..pipelines.settings import AUTO, DEFAULT_CONTROL, DEFAULT_CPDS, POCKET_CHOICE
from . import sockets
from .checks import problem, with_pocket
from .comfy import current_host
from .inputs import PREVIOUS_CONTROL, fraction
from .schema import Combo, Float, Input, Int, Output, Schema
from .v1 import Node

if TYPE_CHECKING:
    from torch import Tensor

    from ..pipelines.models.handles import ControlNet, Hint

THRESHOLD_LOW = Int(default=64, min=1, max=255)
THRESHOLD_HIGH = Int(default=128, min=1, max=255)
SIDE = Int(default=0, min=0, max=16384, step=8)
SIZE = (
    Input("width", SIDE, "Width to resize and crop to first, as Fooocus does. 0 keeps the size.", optional=True),
    Input("height", SIDE, "Height to resize and crop to first. 0 keeps the size.", optional=True),
)


class FooocusPyraCanny(Node):
    schema = Schema(
        display_name="Fooocus PyraCanny",
        category="Fooocus/control",
        description="Detects edges at nine scales: the control image that Fooocus's canny control-LoRA was trained on.",
        search_aliases=("canny", "pyracanny", "edge detection", "outlines", "lineart", "controlnet preprocessor"),
        inputs=(
            Input("image", "IMAGE", "Image whose outlines to keep."),
            Input("low", THRESHOLD_LOW, "Edges weaker than this are discarded."),
            Input("high", THRESHOLD_HIGH, "Edges stronger than this are always kept."),
            *SIZE,
        ),
        outputs=(Output("image", "IMAGE", "White outlines on black."),),
    )

    def run(self, image: Tensor, low: int, high: int, width: int = 0, height: int = 0) -> tuple[Tensor]:
        return (stages.control.pyra_canny(image, low, high, width, height),)


class FooocusCpds(Node):
    schema = Schema(
        display_name="Fooocus CPDS",
        category="Fooocus/control",
        description="Extracts the structure of an image as greyscale (contrast-preserving decolorization): the control "
        "image that Fooocus's CPDS control-LoRA was trained on.",
        search_aliases=("cpds", "structure", "depth", "decolorization", "greyscale", "controlnet preprocessor"),
        inputs=(Input("image", "IMAGE", "Image whose structure to keep."), *SIZE),
        outputs=(Output("image", "IMAGE", "Structure of the image in greyscale."),),
    )

    def run(self, image: Tensor, width: int = 0, height: int = 0) -> tuple[Tensor]:
        return (stages.control.cpds(image, width, height),)


def detector_files() -> list[str]:
    """The face detectors that can be chosen."""
    return [AUTO, *current_host().names("face_detection"), POCKET_CHOICE]


class FooocusFaceCrop(Node):
    schema = Schema(
        display_name="Fooocus Face Crop",
        category="Fooocus/control",
        description="Crops the most confidently detected face, upright at 512×512, for face swap. Returns the whole "
        "image if no face is found. Detects with RetinaFace if the package facexlib is installed, as Fooocus does, and "
        "with YuNet otherwise.",
        search_aliases=("face swap", "faceswap", "face crop", "face detection", "align face"),
        inputs=(
            Input("image", "IMAGE", "Image with the face."),
            Input(
                "landmarks",
                sockets.LANDMARKS,
                "Facial landmarks from another tool, as text or numbers: x and y of the left eye, right eye, nose, "
                "left mouth corner and right mouth corner. Skips the detection.",
                optional=True,
            ),
            Input(
                "detector_name",
                Combo(detector_files, AUTO),
                "File of the face detector. 'auto' takes RetinaFace if the package facexlib is installed, and YuNet "
                "otherwise. 'pocket' is the small YuNet that comes with the pack, for the pocket model.",
                optional=True,
                advanced=True,
            ),
        ),
        outputs=(Output("image", "IMAGE", "The cropped face."),),
    )

    @classmethod
    def VALIDATE_INPUTS(cls, detector_name: str | None = AUTO) -> bool | str:
        if detector_name in (None, AUTO):
            return True
        return problem(lambda: stages.control.find_detector(current_host(), detector_name))

    def run(self, image: Tensor, landmarks: object = None, detector_name: str = AUTO) -> tuple[Tensor]:
        return (stages.control.cropped_faces(current_host(), image, landmarks, detector_name),)


def control_files() -> list[str]:
    """The control networks that can be chosen."""
    return with_pocket(current_host().names("controlnet"), "controlnet", DEFAULT_CONTROL, (DEFAULT_CPDS,))


class FooocusLoadControl(Node):
    schema = Schema(
        display_name="Fooocus Load Control",
        category="Fooocus/control",
        description="Loads a control network: a control-LoRA such as Fooocus's, or a full SDXL ControlNet.",
        search_aliases=("load controlnet", "controlnet loader", "control lora", "canny", "cpds"),
        inputs=(
            Input(
                "control_name",
                Combo(control_files, DEFAULT_CONTROL),
                "File of the control network. Choose the one that matches the control image, such as PyraCanny's for "
                "outlines. 'pocket' is a small one for the pocket model.",
            ),
        ),
        outputs=(Output("control_net", sockets.CONTROL_NET, "The control network."),),
    )

    @classmethod
    def VALIDATE_INPUTS(cls, control_name: str | None) -> bool | str:
        return control_name is None or problem(lambda: stages.control.find(current_host(), control_name))

    def run(self, control_name: str) -> tuple[ControlNet]:
        return (stages.control.load(current_host(), control_name),)


class FooocusControl(Node):
    schema = Schema(
        display_name="Fooocus Control",
        category="Fooocus/control",
        description="Adds a control image for the sampler. Chain several to combine them, in any order.",
        search_aliases=("apply controlnet", "controlnet", "canny", "pyracanny", "cpds", "control image"),
        inputs=(
            Input("image", "IMAGE", "Control image, such as outlines from PyraCanny."),
            Input("control_net", sockets.CONTROL_NET, "Control network that was trained on such images."),
            Input(
                "weight",
                Float(1.0, min=0.0, max=2.0, step=0.001, round=0.001),
                "Strength of the control. 0 turns it off.",
            ),
            Input(
                "start_at",
                fraction(0.0),
                "Fraction of the noise schedule at which the control starts, counted in timesteps.",
                advanced=True,
            ),
            Input(
                "stop_at",
                fraction(0.5),
                "Fraction of the noise schedule at which the control stops, counted in timesteps. 0 turns it off.",
            ),
            Input(
                "softness",
                fraction(0.25),
                "How much weaker the control is in the layers for fine detail than in the layers for composition. "
                "Fooocus uses 0.25.",
                advanced=True,
            ),
            PREVIOUS_CONTROL,
        ),
        outputs=(Output("control", sockets.CONTROL, "All control images and image prompts so far, for the sampler."),),
    )

    def run(
        self,
        image: Tensor,
        control_net: ControlNet,
        weight: float,
        start_at: float,
        stop_at: float,
        softness: float,
        control: tuple[Hint, ...] = (),
    ) -> tuple[tuple[Hint, ...]]:
        return (stages.control.hint(control_net, image, weight, start_at, stop_at, softness, control),)
