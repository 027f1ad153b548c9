"""Fooocus/load: checkpoints, LoRAs and FreeU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..pipelines import stages
from ..pipelines.settings import AUTO, DEFAULT_CHECKPOINT, DEFAULT_VAE, MAX_LORAS, NO_FILE, POCKET_CHOICE, PREDICTIONS
from ..pipelines.types import FreeU, Lora
from . import sockets
from .checks import is_published, pocket_names, problem
from .comfy import current_host
from .inputs import skip_missing
from .schema import Combo, Float, Input, Int, Output, Schema
from .v1 import Node

if TYPE_CHECKING:
    from ..pipelines.models.handles import Clip, Model, Vae

SKIP_MISSING = skip_missing("draw without it")
LORA_WEIGHT = Float(1.0, min=-10.0, max=10.0, step=0.01)


def checkpoint_files() -> list[str]:
    """The checkpoints that can be chosen."""
    return [*current_host().names("checkpoints"), POCKET_CHOICE]


def vae_files() -> list[str]:
    """The checkpoint's own VAE and the VAE files."""
    return [DEFAULT_VAE, *current_host().names("vae")]


def lora_files() -> list[str]:
    """'None', the host's LoRA files, and those of the pocket model as 'pocket/NAME'."""
    return [NO_FILE, *current_host().names("loras"), *pocket_names("loras")]


def with_loras(loras: tuple[Lora, ...], pairs: Sequence[tuple[str, float]], skip_missing: bool) -> tuple[Lora, ...]:
    """The LoRAs and the pairs after them; with `skip_missing`, published files among these may be missing."""
    published = [name for name, _ in pairs if skip_missing and is_published("loras", name)]
    return stages.load.add_loras(loras, pairs, published)


class FooocusLoadCheckpoint(Node):
    schema = Schema(
        display_name="Fooocus Load Checkpoint",
        category="Fooocus/load",
        description="Loads an SDXL checkpoint: the diffusion model, the text encoders and the VAE.",
        search_aliases=("load model", "checkpoint", "checkpoint loader", "base model", "sdxl", "clip skip"),
        inputs=(
            Input(
                "ckpt_name",
                Combo(checkpoint_files, DEFAULT_CHECKPOINT),
                "Checkpoint file. 'pocket' is the small model that comes with the pack: it draws coloured shapes at "
                "128×128, so that every workflow can be tried without a download.",
            ),
            Input("vae_name", Combo(vae_files, DEFAULT_VAE), "VAE to use instead of the checkpoint's own."),
            Input(
                "clip_skip",
                Int(default=2, min=1, max=12),
                "Layer of the text encoders to read, counted from the last. Fooocus reads the second to last, 2. Some "
                "anime checkpoints need 1.",
                advanced=True,
            ),
            Input(
                "prediction",
                Combo(PREDICTIONS, AUTO),
                "Quantity that the checkpoint predicts. 'auto' reads it from the file. Choose 'v' or 'v + zero SNR' "
                "for a v-prediction checkpoint that does not declare it and draws noise.",
                optional=True,
                advanced=True,
            ),
        ),
        outputs=(
            Output("model", sockets.MODEL, "The diffusion model (UNet)."),
            Output("clip", sockets.CLIP, "The text encoders."),
            Output("vae", sockets.VAE, "The VAE."),
        ),
    )

    @classmethod
    def VALIDATE_INPUTS(cls, ckpt_name: str | None, vae_name: str | None) -> bool | str:
        if ckpt_name is None:  # linked: known when it runs, and with it the folder of the VAE
            return True
        return problem(lambda: stages.load.find_files(current_host(), ckpt_name, vae_name or DEFAULT_VAE))

    def run(self, ckpt_name: str, vae_name: str, clip_skip: int, prediction: str = AUTO) -> tuple[Model, Clip, Vae]:
        return stages.load.checkpoint(current_host(), ckpt_name, vae_name, clip_skip, prediction)


class FooocusLora(Node):
    schema = Schema(
        display_name="Fooocus LoRA",
        category="Fooocus/load",
        description="Adds one LoRA to a list of LoRAs. Chain several, or use Fooocus LoRA Stack for five at once.",
        search_aliases=("lora", "load lora", "lora loader"),
        inputs=(
            Input("lora_name", Combo(lora_files), "LoRA file. 'None' adds nothing."),
            Input("weight", LORA_WEIGHT, "Strength of the LoRA. A negative weight inverts its effect."),
            Input("loras", sockets.LORAS, "LoRAs from earlier nodes in the chain.", optional=True),
            SKIP_MISSING,
        ),
        outputs=(Output("loras", sockets.LORAS, "All LoRAs so far, this one last."),),
    )

    @classmethod
    def VALIDATE_INPUTS(cls, lora_name: str) -> bool | str:
        return True  # any name: the folder of the model that it goes with is known when it is applied

    def run(
        self, lora_name: str, weight: float, loras: tuple[Lora, ...] = (), skip_missing: bool = False
    ) -> tuple[tuple[Lora, ...]]:
        return (with_loras(loras, [(lora_name, weight)], skip_missing),)


def lora_slots() -> Iterator[Input]:
    """A file and a weight for each of Fooocus's LoRA slots."""
    for i in range(1, MAX_LORAS + 1):
        yield Input(f"lora_{i}", Combo(lora_files, NO_FILE), f"LoRA file {i}. 'None' leaves the slot empty.")
        yield Input(f"weight_{i}", LORA_WEIGHT, f"Strength of LoRA {i}. A negative weight inverts its effect.")


class FooocusLoraStack(Node):
    schema = Schema(
        display_name="Fooocus LoRA Stack",
        category="Fooocus/load",
        description="Adds up to five LoRAs to a list of LoRAs, like Fooocus's LoRA slots.",
        search_aliases=("lora", "lora stack", "lora stacker", "multiple loras"),
        inputs=(
            *lora_slots(),
            Input("loras", sockets.LORAS, "LoRAs from earlier nodes in the chain.", optional=True),
            SKIP_MISSING,
        ),
        outputs=(Output("loras", sockets.LORAS, "All LoRAs so far, these last."),),
    )

    @classmethod
    def VALIDATE_INPUTS(cls, lora_1: str, lora_2: str, lora_3: str, lora_4: str, lora_5: str) -> bool | str:
        return True  # any name: the folder of the model that they go with is known when they are applied

    def run(self, loras: tuple[Lora, ...] = (), skip_missing: bool = False, **slots: Any) -> tuple[tuple[Lora, ...]]:
        pairs = [(slots[f"lora_{i}"], slots[f"weight_{i}"]) for i in range(1, MAX_LORAS + 1)]
        return (with_loras(loras, pairs, skip_missing),)


class FooocusApplyLoras(Node):
    schema = Schema(
        display_name="Fooocus Apply LoRAs",
        category="Fooocus/load",
        description="Applies LoRAs to the model and the text encoders. Branches that use the model from before this "
        "node are not affected.",
        search_aliases=("lora", "apply lora", "merge lora"),
        inputs=(
            Input("model", sockets.ANY_MODEL, "Model to apply the LoRAs to."),
            Input("clip", sockets.ANY_CLIP, "Text encoders to apply the LoRAs to."),
            Input(
                "loras", sockets.LORAS, "LoRAs to apply, usually from the prompt node, which adds those of its tags."
            ),
        ),
        outputs=(
            Output("model", sockets.ANY_MODEL, "The model with the LoRAs."),
            Output("clip", sockets.ANY_CLIP, "The text encoders with the LoRAs."),
        ),
    )

    def run(self, model: Model, clip: Clip, loras: tuple[Lora, ...]) -> tuple[Model, Clip]:
        return stages.load.apply_loras(current_host(), model, clip, loras)


BACKBONE = "Scale of the UNet decoder's backbone features"
SKIP = "Scale of the UNet decoder's skip connections"


def gain(default: float, most: float) -> Float:
    """A factor from 0 to `most`."""
    return Float(default, min=0.0, max=most, step=0.01)


class FooocusFreeU(Node):
    schema = Schema(
        display_name="Fooocus FreeU",
        category="Fooocus/load",
        description="Applies FreeU V2, which amplifies the backbone features of the UNet's decoder and attenuates its "
        "skip connections. Fooocus leaves it off by default.",
        search_aliases=("freeu", "freeu v2", "free lunch"),
        inputs=(
            Input("model", sockets.ANY_MODEL, "Model to apply FreeU to."),
            Input("b1", gain(1.01, 2.0), f"{BACKBONE} at the lowest resolution. 1 turns it off."),
            Input("b2", gain(1.02, 2.0), f"{BACKBONE} one level up. 1 turns it off."),
            Input("s1", gain(0.99, 4.0), f"{SKIP} at the lowest resolution. 1 turns it off."),
            Input("s2", gain(0.95, 4.0), f"{SKIP} one level up. 1 turns it off."),
        ),
        outputs=(Output("model", sockets.ANY_MODEL, "The model with FreeU."),),
    )

    def run(self, model: Model, b1: float, b2: float, s1: float, s2: float) -> tuple[Model]:
        return (stages.load.with_freeu(model, FreeU(b1, b2, s1, s2)),)
