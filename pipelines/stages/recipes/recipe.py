"""All settings of an image, as one object and as values for the inputs of nodes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ... import names
from ...host import Host, files_of
from ...settings import (
    ASPECT_RATIOS,
    CUSTOM_SIZE,
    DEFAULT_ASPECT_RATIO,
    DEFAULT_CHECKPOINT,
    DEFAULT_ENGINE,
    DEFAULT_VAE,
    NO_FILE,
    PERFORMANCES,
)
from ...types import FreeU, Lora, SamplingSettings
from . import literals

NO_FREEU = FreeU(1.0, 1.0, 1.0, 1.0)
MODELS_OWN_VAE = ("", NO_FILE, "Automatic", DEFAULT_VAE)
DEFAULT_SIZE = literals.size(DEFAULT_ASPECT_RATIO)


@dataclass(frozen=True)
class Recipe:
    """Settings of one image.

    `loras`: without the performance mode's own. `refiner_switch`: fraction of the steps after which the refiner takes
    over; `refiner_step`, if above 0, is the step instead. `inpaint_engine`: a key of INPAINT_PATCHES. Width and height
    are in pixels.
    """

    text: str = ""
    negative: str = ""
    styles: tuple[str, ...] = ()
    settings: SamplingSettings = field(default_factory=SamplingSettings)
    loras: tuple[Lora, ...] = ()
    width: int = DEFAULT_SIZE[0]
    height: int = DEFAULT_SIZE[1]
    checkpoint: str = DEFAULT_CHECKPOINT
    vae: str = DEFAULT_VAE
    clip_skip: int = 2
    refiner: str = NO_FILE
    refiner_switch: float = 0.5
    refiner_swap: str = "joint"
    refiner_step: int = -1
    freeu: FreeU | None = None
    num_images: int = 1
    inpaint_engine: str = DEFAULT_ENGINE
    seed: int = 0


def outputs(recipe: Recipe) -> tuple[Any, ...]:
    """Return the recipe as values for the inputs of nodes, in the order of the outputs of `nodes/recipe.py`."""
    mode = PERFORMANCES[recipe.settings.performance]
    size = f"{recipe.width}×{recipe.height}"
    freeu = recipe.freeu or NO_FREEU
    return (
        recipe.text,
        recipe.negative,
        ", ".join(recipe.styles),
        recipe.settings,
        recipe.loras,
        recipe.settings.performance,
        -1 if recipe.settings.steps == mode.steps else recipe.settings.steps,
        size if size in ASPECT_RATIOS else CUSTOM_SIZE,
        recipe.width,
        recipe.height,
        recipe.checkpoint,
        recipe.vae,
        recipe.clip_skip,
        recipe.refiner,
        recipe.refiner_switch,
        recipe.refiner_swap,
        recipe.refiner_step,
        freeu.b1,
        freeu.b2,
        freeu.s1,
        freeu.s2,
        recipe.num_images,
        recipe.inpaint_engine,
    )


def host_file(host: Host, kind: str, name: str, home: Path | None = None) -> str:
    """Return the matching file in the models folder `home` or of the host, or else the name itself, with a notice."""
    at_home = files_of(kind, home / kind) if home else []
    for files in (at_home, host.names(kind)):
        if (found := names.match_file(name, files)) is not None:
            return found
    host.notice(f"the {kind} file {name!r} is missing: the name is passed on unchanged")
    return name


def is_mode_lora(performance: str, lora: Lora) -> bool:
    """Return True for the LoRA that the performance mode adds itself, in any folder and spelling."""
    own = PERFORMANCES[performance].lora
    return bool(own) and names.match_file(lora.name, [own]) is not None
