"""Fooocus/load: checkpoints and LoRAs."""

from __future__ import annotations

from typing import Any

from ..pipelines import stages
from ..pipelines.host import POCKET, files_of
from ..pipelines.models.handles import Clip, Model, Vae
from ..pipelines.settings import DEFAULT_CHECKPOINT, DEFAULT_VAE, MAX_LORAS, NO_FILE, POCKET_CHOICE
from ..pipelines.types import FreeU, Lora
from . import sockets
from .checks import problem
from .comfy import current_host

WEIGHT = {"default": 1.0, "min": -10.0, "max": 10.0, "step": 0.01}


class FooocusLoadCheckpoint:
    DESCRIPTION = "Reads an SDXL checkpoint: the network that draws, the text encoders and the autoencoder."
    CATEGORY = "Fooocus/load"
    FUNCTION = "run"
    RETURN_TYPES = (sockets.MODEL, sockets.CLIP, sockets.VAE)
    RETURN_NAMES = ("model", "clip", "vae")
    OUTPUT_TOOLTIPS = ("The network that draws.", "The text encoders.", "The autoencoder.")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        host = current_host()
        checkpoints = [*host.names("checkpoints"), POCKET_CHOICE]
        default = DEFAULT_CHECKPOINT if DEFAULT_CHECKPOINT in checkpoints else checkpoints[0]
        return {
            "required": {
                "ckpt_name": (
                    checkpoints,
                    {
                        "default": default,
                        "tooltip": "The checkpoint file. 'pocket' is the small model that comes with the pack: "
                        "coloured shapes at 128 pixels, to try every workflow without a download.",
                    },
                ),
                "vae_name": (
                    [DEFAULT_VAE, *host.names("vae")],
                    {"default": DEFAULT_VAE, "tooltip": "Another autoencoder in place of the checkpoint's own."},
                ),
                "clip_skip": (
                    "INT",
                    {
                        "default": 2,
                        "min": 1,
                        "max": 12,
                        "tooltip": "Which layer of the text encoders is read, from the end: Fooocus reads the "
                        "second to last; anime checkpoints often want 2 as well, some 1.",
                    },
                ),
            }
        }

    @classmethod
    def VALIDATE_INPUTS(cls, ckpt_name: str | None, vae_name: str | None) -> bool | str:
        if ckpt_name is None:  # linked: known when it runs, and with it the folder of the VAE
            return True
        return problem(lambda: stages.load.find_files(current_host(), ckpt_name, vae_name or DEFAULT_VAE))

    def run(self, ckpt_name: str, vae_name: str, clip_skip: int) -> tuple[Model, Clip, Vae]:
        return stages.load.checkpoint(current_host(), ckpt_name, vae_name, clip_skip)


class FooocusLora:
    DESCRIPTION = "One LoRA and its weight. Chain several, or use the stack of five."
    CATEGORY = "Fooocus/load"
    FUNCTION = "run"
    RETURN_TYPES = (sockets.LORAS,)
    RETURN_NAMES = ("loras",)
    OUTPUT_TOOLTIPS = ("The LoRAs so far, this one last.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "lora_name": (lora_choices(), {"tooltip": "The LoRA file; 'None' adds nothing."}),
                "weight": ("FLOAT", {**WEIGHT, "tooltip": "How strongly it acts; negative turns it around."}),
            },
            "optional": {"loras": (sockets.LORAS, {"tooltip": "LoRAs that come before this one."})},
        }

    @classmethod
    def VALIDATE_INPUTS(cls, lora_name: str) -> bool | str:
        return True  # any name: the folder of the model that it goes with is known when it is applied

    def run(self, lora_name: str, weight: float, loras: tuple[Lora, ...] = ()) -> tuple[tuple[Lora, ...]]:
        return (stages.load.add_loras(loras, [(lora_name, weight)]),)


class FooocusLoraStack:
    DESCRIPTION = "Five LoRAs with their weights, as Fooocus's LoRA slots."
    CATEGORY = "Fooocus/load"
    FUNCTION = "run"
    RETURN_TYPES = (sockets.LORAS,)
    RETURN_NAMES = ("loras",)
    OUTPUT_TOOLTIPS = ("The LoRAs so far, these last.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        choices = lora_choices()
        slots: dict[str, Any] = {}
        for i in range(1, MAX_LORAS + 1):
            slots[f"lora_{i}"] = (choices, {"default": NO_FILE, "tooltip": f"LoRA file {i}; 'None' leaves it out."})
            slots[f"weight_{i}"] = ("FLOAT", {**WEIGHT, "tooltip": f"Weight of LoRA {i}; negative turns it around."})
        return {
            "required": slots,
            "optional": {"loras": (sockets.LORAS, {"tooltip": "LoRAs that come before these."})},
        }

    @classmethod
    def VALIDATE_INPUTS(cls, lora_1: str, lora_2: str, lora_3: str, lora_4: str, lora_5: str) -> bool | str:
        return True  # any name: the folder of the model that they go with is known when they are applied

    def run(self, loras: tuple[Lora, ...] = (), **slots: Any) -> tuple[tuple[Lora, ...]]:
        pairs = [(slots[f"lora_{i}"], slots[f"weight_{i}"]) for i in range(1, MAX_LORAS + 1)]
        return (stages.load.add_loras(loras, pairs),)


class FooocusApplyLoras:
    DESCRIPTION = "Applies LoRAs to the model and the text encoders. The model that came in stays as it is."
    CATEGORY = "Fooocus/load"
    FUNCTION = "run"
    RETURN_TYPES = (sockets.MODEL, sockets.CLIP)
    RETURN_NAMES = ("model", "clip")
    OUTPUT_TOOLTIPS = ("The model with the LoRAs.", "The text encoders with the LoRAs.")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "model": (sockets.MODEL, {"tooltip": "The model to apply them to."}),
                "clip": (sockets.CLIP, {"tooltip": "The text encoders to apply them to."}),
                "loras": (sockets.LORAS, {"tooltip": "The LoRAs, in the order in which they are added up."}),
            }
        }

    def run(self, model: Model, clip: Clip, loras: tuple[Lora, ...]) -> tuple[Model, Clip]:
        return stages.load.apply_loras(current_host(), model, clip, loras)


class FooocusFreeU:
    DESCRIPTION = "FreeU V2: strengthens the decoder's backbone and calms its skips. Fooocus leaves it off."
    CATEGORY = "Fooocus/load"
    FUNCTION = "run"
    RETURN_TYPES = (sockets.MODEL,)
    RETURN_NAMES = ("model",)
    OUTPUT_TOOLTIPS = ("The model with FreeU.",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        backbone = {"min": 0.0, "max": 2.0, "step": 0.01}
        skip = {"min": 0.0, "max": 4.0, "step": 0.01}
        return {
            "required": {
                "model": (sockets.MODEL, {"tooltip": "The model to strengthen."}),
                "b1": (
                    "FLOAT",
                    {"default": 1.01, **backbone, "tooltip": "Backbone gain at the lowest level; 1 is off."},
                ),
                "b2": ("FLOAT", {"default": 1.02, **backbone, "tooltip": "Backbone gain one level up; 1 is off."}),
                "s1": ("FLOAT", {"default": 0.99, **skip, "tooltip": "Skip gain at the lowest level; 1 is off."}),
                "s2": ("FLOAT", {"default": 0.95, **skip, "tooltip": "Skip gain one level up; 1 is off."}),
            }
        }

    def run(self, model: Model, b1: float, b2: float, s1: float, s2: float) -> tuple[Model]:
        return (stages.load.with_freeu(model, FreeU(b1, b2, s1, s2)),)


def lora_choices() -> list[str]:
    """'None', the host's LoRA files, and those of the pocket model that are not among them."""
    names = [NO_FILE, *current_host().names("loras"), *files_of("loras", POCKET / "loras")]
    return list(dict.fromkeys(names))
