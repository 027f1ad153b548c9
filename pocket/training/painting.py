"""Image generation with the pocket model, and judging and arranging the results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from ...pipelines.host import LocalHost
from ...pipelines.models.handles import Clip, Hint, Model, Vae
from ...pipelines.settings import DEFAULT_REFINER
from ...pipelines.stages import load, vae
from ...pipelines.stages.prompts import encode
from ...pipelines.stages.prompts.prompt import compose_with
from ...pipelines.stages.sampling import plan, refiner, sample
from ...pipelines.types import Conditioning, Prompt, SamplingSettings
from . import draw

MODELS = Path(__file__).resolve().parents[1] / "models"
CHECKPOINT = "juggernautXL_v8Rundiffusion.safetensors"
FIELDS = ("background", "colour", "position")


@dataclass
class Score:
    """The number of images that have each field right."""

    total: int = 0
    right: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FIELDS, 0))

    def add(self, scene: draw.Scene, picture: np.ndarray) -> None:
        """Judge one image, uint8 RGB (H, W, 3)."""
        verdict = draw.judge(picture)
        self.total += 1
        for name in FIELDS:
            self.right[name] += getattr(verdict, name) == getattr(scene, name)

    def __str__(self) -> str:
        return ", ".join(f"{name} {100 * n / self.total:.1f} %" for name, n in self.right.items())


@dataclass(frozen=True)
class Pipeline:
    """The networks and settings of one performance mode."""

    host: LocalHost
    model: Model
    clip: Clip
    vae: Vae
    settings: SamplingSettings


def open_pipeline(models: Path, performance: str, loras: list[tuple[str, float]]) -> Pipeline:
    """Load the checkpoint, the LoRAs of the performance mode and those named."""
    host = LocalHost([models])
    model, clip, autoencoder = load.checkpoint(host, CHECKPOINT)
    settings, all_loras = plan.performance(performance, SamplingSettings(), load.add_loras((), loras))
    model, clip = load.apply_loras(host, model, clip, all_loras)
    return Pipeline(host, model, clip, autoencoder, settings)


def with_refiner(pipeline: Pipeline, at: float) -> Pipeline:
    """Add the refiner, which takes over after the fraction `at` of the steps."""
    found = refiner.load_refiner(pipeline.host, DEFAULT_REFINER)
    model, autoencoder = refiner.with_refiner(pipeline.host, pipeline.model, pipeline.vae, found, at)
    return replace(pipeline, model=model, vae=autoencoder)


def paint(
    pipeline: Pipeline, prompts: list[Prompt], seed: int, width: int, height: int, control: tuple[Hint, ...] = ()
) -> np.ndarray:
    """Generate one image per prompt as a batch, uint8 RGB (B, H, W, 3); prompts need the same number of sections."""
    positive, negative = conditionings(pipeline, prompts)
    latent = plan.empty_latent("custom", width, height, len(prompts))[0]
    done = sample.sample(
        pipeline.host, pipeline.model, positive, negative, latent, pipeline.settings, seed, control=control
    )
    pictures = vae.decode(pipeline.host, pipeline.vae, done)
    return (pictures.clamp(0, 1) * 255).round().byte().numpy()


def composed(pipeline: Pipeline, texts: Sequence[str], styles: str, seed: int, negative: str = "") -> list[Prompt]:
    """Compose one prompt per text, with the styles named."""
    return [compose_with(pipeline.host, text, negative, styles, seed=seed)[0][0] for text in texts]


def conditionings(pipeline: Pipeline, prompts: list[Prompt]) -> tuple[Conditioning, Conditioning]:
    """Encode prompts with the same number of sections as a positive and a negative batch."""
    sides = [encode.encode(pipeline.host, pipeline.clip, prompt, pipeline.settings) for prompt in prompts]
    return stacked([side[0] for side in sides]), stacked([side[1] for side in sides])


def stacked(conditionings: list[Conditioning]) -> Conditioning:
    """Combine conditionings of single prompts into that of a batch."""
    tokens = torch.cat([c[0][0] for c in conditionings])
    pooled = torch.cat([c[0][1]["pooled_output"] for c in conditionings])
    return [[tokens, {"pooled_output": pooled}]]


def unseen_captions(count: int, seed: int = 1234) -> list[tuple[draw.Scene, str]]:
    """Return scenes of the unseen split with complete captions; deterministic."""
    rng = np.random.default_rng(seed)
    scenes = [draw.random_scene(rng, unseen=True) for _ in range(count)]
    return [(scene, draw.caption(scene, rng, complete=True)) for scene in scenes]


def contact_sheet(pictures: list[np.ndarray], columns: int = 10) -> np.ndarray:
    """Arrange images (H, W, 3) of one size in rows, filling the last one with grey."""
    grey = [np.full_like(pictures[0], 128)] * (-len(pictures) % columns)
    pictures = pictures + grey
    return np.vstack([np.hstack(pictures[i : i + columns]) for i in range(0, len(pictures), columns)])
