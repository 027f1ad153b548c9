"""Measure how well the pocket model follows control images and image prompts, on scenes that training has never seen.

`python -m fooocus_stages.pocket.training.evaluate control` and `... evaluate image-prompt` print the results.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...pipelines.functional.latents import from_uint8
from ...pipelines.models.handles import Hint
from ...pipelines.settings import DEFAULT_CLIP_VISION, DEFAULT_IMAGE_PROMPT, TOGETHER
from ...pipelines.stages import control, image_prompt
from ...pipelines.stages.prompts.prompt import compose_with
from . import base, controlling, draw, image_prompting, outlines
from .painting import Pipeline, Score, contact_sheet, paint, unseen_captions

HINTS: dict[str, Callable[[Tensor], Tensor]] = {"canny": control.pyra_canny, "cpds": control.cpds}
COLOURS = frozenset({"colour", "background"})


@dataclass
class HintScore:
    """The fraction of images that match their scenes, and how well their edges match their own hint and another one."""

    score: Score = field(default_factory=Score)
    shapes: int = 0
    own: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)

    def add(self, scene: draw.Scene, picture: np.ndarray, target: np.ndarray, other: np.ndarray) -> None:
        """Judge one image by the drawing that its hint was made from and by another drawing."""
        self.score.add(scene, picture)
        self.shapes += outlines.shape_of(picture) == scene.shape
        self.own.append(outlines.agreement(picture, target))
        self.others.append(outlines.agreement(picture, other))

    def __str__(self) -> str:
        shapes = f"shape {100 * self.shapes / self.score.total:.1f} %"
        return f"{self.score}, {shapes}; edges {np.mean(self.own):.2f}, with another's hint {np.mean(self.others):.2f}"


def follow_control(
    pipeline: Pipeline,
    kind: str,
    count: int,
    weight: float,
    stop_at: float,
    batch: int = 20,
    keep: Path | None = None,
) -> HintScore:
    """Generate scenes from captions of the colours alone and their outlines ("canny") or structure ("cpds")."""
    network = control.load(pipeline.host, f"{controlling.FILES[kind]}.safetensors")
    found, kept, rng = HintScore(), [], np.random.default_rng(77)
    scenes = [scene for scene, _ in unseen_captions(count)]
    for start in range(0, count, batch):
        part = scenes[start : start + batch]
        drawings = [draw.draw(scene, rng) for scene in part]
        hints = control.hint(network, HINTS[kind](_images(drawings)), weight, 0.0, stop_at)
        texts = [f"a {scene.colour} shape on a {scene.background} background" for scene in part]
        pictures = _paint(pipeline, texts, start, hints)
        for i, (scene, picture) in enumerate(zip(part, pictures, strict=True)):
            found.add(scene, picture, drawings[i], drawings[i - 1])
        kept += [*drawings, *pictures]
    _keep(kept, batch, keep)
    return found


def follow_image_prompt(
    pipeline: Pipeline,
    count: int,
    weight: float,
    stop_at: float,
    formula: str = TOGETHER,
    batch: int = 20,
    keep: Path | None = None,
) -> Score:
    """Generate scenes from captions without the colours and images of other scenes in these colours."""
    seen = image_prompt.load(pipeline.host, DEFAULT_IMAGE_PROMPT, DEFAULT_CLIP_VISION)
    score, kept, rng = Score(), [], np.random.default_rng(78)
    scenes = [scene for scene, _ in unseen_captions(count)]
    for start in range(0, count, batch):
        part = scenes[start : start + batch]
        drawings = [draw.draw(image_prompting.with_colours_of(scene, rng), rng) for scene in part]
        hints = image_prompt.prompt(pipeline.host, seen, _images(drawings), weight, stop_at, formula)
        pictures = _paint(pipeline, [base.caption_without(scene, COLOURS, rng) for scene in part], start, hints)
        for scene, picture in zip(part, pictures, strict=True):
            score.add(scene, picture)
        kept += [*drawings, *pictures]
    _keep(kept, batch, keep)
    return score


def report(pipeline: Pipeline, what: str, count: int, weight: float, stop_at: float, keep: Path | None) -> None:
    """Print the results for both control-LoRAs, or for the image prompt adapter."""
    settings = f"{count} unseen scenes, weight {weight:g}, stop {stop_at:g}"
    if what == "image-prompt":
        print(
            f"image prompt, {settings}: {follow_image_prompt(pipeline, count, weight, stop_at, keep=keep)}", flush=True
        )
        return
    for kind in HINTS:
        path = keep and keep.with_stem(f"{keep.stem}-{kind}")
        print(f"{kind}, {settings}: {follow_control(pipeline, kind, count, weight, stop_at, keep=path)}", flush=True)


def _images(drawings: list[np.ndarray]) -> Tensor:
    return from_uint8(torch.from_numpy(np.stack(drawings)))


def _paint(pipeline: Pipeline, texts: list[str], seed: int, hints: tuple[Hint, ...]) -> np.ndarray:
    prompts = [compose_with(pipeline.host, text)[0][0] for text in texts]
    return paint(pipeline, prompts, seed, 128, 128, hints)


def _keep(pictures: list[np.ndarray], columns: int, path: Path | None) -> None:
    if path is not None:
        Image.fromarray(contact_sheet(pictures, columns)).save(path)
