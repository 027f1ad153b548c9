"""One module per Fooocus stage, imported on first use so that a node's declaration needs no torch."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import (
        control,
        encode,
        expand,
        image_prompt,
        inpaint,
        load,
        masks,
        plan,
        presets,
        prompt,
        recipe,
        refine,
        remake,
        sample,
        save,
        upscale,
        vae,
        vary,
    )

__all__ = [
    "control", "encode", "expand", "image_prompt", "inpaint", "load", "masks", "plan", "presets", "prompt", "recipe",
    "refine", "remake", "sample", "save", "upscale", "vae", "vary",
]  # fmt: skip


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
