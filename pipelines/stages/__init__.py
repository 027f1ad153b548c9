"""One module per Fooocus stage, imported on first use so that a node's declaration needs no torch."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import control, image_prompt, inpaint, load, masks, safety, save, upscale, vae, vary
    from .prompts import encode, expand, prompt
    from .recipes import describe, from_picture, presets, recipe
    from .sampling import plan, refiner, sample

__all__ = [
    "control", "describe", "encode", "expand", "from_picture", "image_prompt", "inpaint", "load", "masks", "plan",
    "presets", "prompt", "recipe", "refiner", "safety", "sample", "save", "upscale", "vae", "vary",
]  # fmt: skip

FLOORS = {
    **dict.fromkeys(("encode", "expand", "prompt"), ".prompts"),
    **dict.fromkeys(("plan", "refiner", "sample"), ".sampling"),
    **dict.fromkeys(("describe", "from_picture", "presets", "recipe"), ".recipes"),
}


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        return importlib.import_module(f"{FLOORS.get(name, '')}.{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
