"""Fooocus/load: the refiner, and when it takes over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..pipelines import stages
from ..pipelines.settings import DEFAULT_REFINER
from ..pipelines.types import SWAP_METHODS, SwapMethod
from . import sockets
from .checks import loaded_or_skipped, unless_skipped
from .comfy import current_host
from .inputs import skip_missing
from .loaders import checkpoint_files
from .schema import Combo, Float, Input, Int, Output, Schema
from .v1 import Node

if TYPE_CHECKING:
    from ..pipelines.models.handles import AnyVae, Model, Refiner


class FooocusLoadRefiner(Node):
    schema = Schema(
        display_name="Fooocus Load Refiner",
        category="Fooocus/load",
        description="Loads a refiner: SDXL's refiner, another SDXL checkpoint, or an SD 1.5 checkpoint with its VAE.",
        search_aliases=("refiner", "load refiner", "sdxl refiner", "sd 1.5", "checkpoint loader"),
        inputs=(
            Input(
                "refiner_name",
                Combo(checkpoint_files, DEFAULT_REFINER),
                "Checkpoint file. 'pocket' is the small SD 1.5 refiner that comes with the pack.",
            ),
            skip_missing("draw without a refiner"),
        ),
        outputs=(Output("refiner", sockets.REFINER, "The refiner, for Fooocus Refiner Switch."),),
    )

    @classmethod
    def VALIDATE_INPUTS(cls, refiner_name: str | None, skip_missing: bool | None = False) -> bool | str:
        if refiner_name is None or skip_missing is None:  # linked: known when it runs
            return True
        return unless_skipped(
            lambda: stages.refiner.find(current_host(), refiner_name), skip_missing, "checkpoints", refiner_name
        )

    def run(self, refiner_name: str, skip_missing: bool = False) -> tuple[Refiner | None]:
        return (
            loaded_or_skipped(
                lambda: stages.refiner.load_refiner(current_host(), refiner_name),
                skip_missing,
                "checkpoints",
                refiner_name,
                "the image is drawn without a refiner",
            ),
        )


class FooocusRefinerSwitch(Node):
    schema = Schema(
        display_name="Fooocus Refiner Switch",
        category="Fooocus/load",
        description="Makes the model hand over to a refiner for the last steps. An SD 1.5 refiner has its own latent "
        "space, so use the VAE from this node as well. The distilled performance modes skip the refiner.",
        search_aliases=("refiner", "refiner switch", "switch at", "sdxl refiner", "base and refiner"),
        inputs=(
            Input("model", sockets.ANY_MODEL, "Model for the first steps, with the LoRAs applied."),
            Input("vae", sockets.ANY_VAE, "VAE of that model."),
            Input("refiner", sockets.ANY_REFINER, "Model for the last steps."),
            Input(
                "refiner_switch",
                Float(0.5, min=0.0, max=1.0, step=0.001, round=0.0001),
                "Fraction of the steps after which the refiner takes over: 0.4 for realistic SD 1.5 models, 0.667 for "
                "anime SD 1.5 models, 0.8 for SDXL's refiner. 1 never switches.",
            ),
            Input(
                "refiner_swap",
                Combo(SWAP_METHODS, "joint"),
                "How the refiner takes over. joint: the network is swapped within one run. separate: two runs over one "
                "noise schedule. vae: two full runs, with new noise in between. An SD 1.5 refiner ignores this: the "
                "denoise strength decides.",
                advanced=True,
            ),
            Input(
                "refiner_step",
                Int(default=-1, min=-1, max=200),
                "Step at which the refiner takes over, instead of the fraction. -1 uses the fraction.",
                optional=True,
                advanced=True,
            ),
            Input(
                "refiner_vae",
                sockets.ANY_VAE,
                "VAE of an SD 1.5 refiner that ComfyUI has loaded. A refiner of Fooocus Load Refiner has its own.",
                optional=True,
            ),
        ),
        outputs=(
            Output("model", sockets.ANY_MODEL, "The model with its refiner."),
            Output("vae", sockets.ANY_VAE, "The VAE that decodes what the model and its refiner produce."),
        ),
    )

    def run(
        self,
        model: Model,
        vae: AnyVae,
        refiner: Refiner | Model | None,
        refiner_switch: float,
        refiner_swap: SwapMethod,
        refiner_step: int = -1,
        refiner_vae: AnyVae | None = None,
    ) -> tuple[Model, AnyVae]:
        return stages.refiner.with_refiner(
            current_host(), model, vae, refiner, refiner_switch, refiner_swap, refiner_step, refiner_vae
        )
