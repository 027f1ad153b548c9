"""Fooocus/output: checking images before they are saved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..pipelines import stages
from ..pipelines.settings import BLACK_OUT, DEFAULT_SAFETY_CHECKER, POCKET_CHOICE, SAFETY_MODES
from .checks import problem
from .comfy import current_host
from .schema import Combo, Input, Output, Schema
from .v1 import Node

if TYPE_CHECKING:
    from torch import Tensor


def checker_files() -> list[str]:
    """The safety checkers that can be chosen."""
    return [*current_host().names("safety_checker"), POCKET_CHOICE]


class FooocusSafetyCheck(Node):
    schema = Schema(
        display_name="Fooocus Safety Check",
        category="Fooocus/output",
        description="Checks images with the Stable Diffusion safety checker and hides those that it flags as not safe "
        "for work. It overlooks some images and flags harmless ones.",
        search_aliases=("safety checker", "nsfw", "nsfw filter", "censor", "content filter", "black out"),
        inputs=(
            Input("image", "IMAGE", "Images to check."),
            Input(
                "checker_name",
                Combo(checker_files, DEFAULT_SAFETY_CHECKER),
                "File of the safety checker. 'pocket' knows a single test card and protects nobody.",
            ),
            Input(
                "mode",
                Combo(SAFETY_MODES, BLACK_OUT),
                "What becomes of a flagged image. black out: a black image of the same size, as in Fooocus. blur: only "
                "its rough colours are left. only report: it is left as it is.",
            ),
        ),
        outputs=(
            Output("image", "IMAGE", "The images. Those that are not flagged are left bit-identical."),
            Output("nsfw", "BOOLEAN", "True for each image that is flagged.", is_list=True),
            Output("score", "FLOAT", "The highest score of each image. Above 0 it is flagged.", is_list=True),
        ),
    )

    @classmethod
    def VALIDATE_INPUTS(cls, checker_name: str | None) -> bool | str:
        if checker_name is None:  # linked: known when it runs
            return True
        return problem(lambda: stages.safety.find(current_host(), checker_name))

    def run(self, image: Tensor, checker_name: str, mode: str) -> tuple[Tensor, list[bool], list[float]]:
        return stages.safety.check(current_host(), checker_name, image, mode)
