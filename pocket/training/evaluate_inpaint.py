"""Measure how well the pocket model inpaints and outpaints drawings, on scenes that training has never seen.

`python -m fooocus_stages.pocket.training.evaluate inpaint --engine v2.6 None` prints the results of `repaint` and
`outpaint`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...pipelines.functional.latents import from_uint8, to_uint8
from ...pipelines.settings import DEFAULT_UPSCALER, INPAINT_MODES, InpaintMode
from ...pipelines.stages import inpaint, upscale, vae
from ...pipelines.stages.sampling import sample
from ...pipelines.types import Prompt
from . import draw, inpainting
from .painting import Pipeline, Score, composed, conditionings, contact_sheet, unseen_captions

DEFAULT = next(iter(INPAINT_MODES))
EDGE = 4  # width in pixels of the hole's rim that is compared with the surroundings


@dataclass
class InpaintScore:
    """The fraction of images that match their prompts, and how well the holes match their surroundings."""

    score: Score = field(default_factory=Score)
    grounds: int = 0
    seams: list[float] = field(default_factory=list)

    def add(self, scene: draw.Scene, before: np.ndarray, after: np.ndarray, hole: np.ndarray) -> None:
        """Judge an image, uint8 RGB (H, W, 3), by its scene, the original drawing and the hole (H, W) in it."""
        self.score.add(scene, after)
        inside = np.median(after[inpainting.edge_of(hole, EDGE)], axis=0)
        ground = np.median(before[~hole], axis=0)
        self.grounds += _name_of(inside) == scene.background
        self.seams.append(float(abs(inside - ground).mean()))

    def __str__(self) -> str:
        ground = f"ground in the hole {100 * self.grounds / self.score.total:.1f} %"
        return f"{self.score}, {ground}, off by {np.mean(self.seams):.1f} of 255"


def repaint(
    pipeline: Pipeline, engine: str, count: int, styles: str = "", batch: int = 20, keep: Path | None = None
) -> InpaintScore:
    """Replace the shape of drawings, inside a square hole, by another shape in another colour."""
    found, kept, rng = InpaintScore(), [], np.random.default_rng(79)
    pairs = unseen_captions(count)
    for position in draw.POSITIONS:
        chosen = [(scene, text) for scene, text in pairs if scene.position == position]
        for start in range(0, len(chosen), batch):
            part = chosen[start : start + batch]
            before = np.stack([draw.draw(other_scene(scene, rng), rng) for scene, _ in part])
            hole = inpainting.square_hole(position)
            after = paint_into(
                pipeline, engine, before, hole, composed(pipeline, [text for _, text in part], styles, start), start
            )
            for (scene, _), old, new in zip(part, before, after, strict=True):
                found.add(scene, old, new, hole)
            kept += [each for pair in zip(_marked(before, hole), after, strict=True) for each in pair]
    _keep(kept, keep)
    return found


def outpaint(
    pipeline: Pipeline, engine: str, count: int, styles: str = "", batch: int = 20, keep: Path | None = None
) -> InpaintScore:
    """The drawing of a scene, continued to the right by three tenths."""
    found, kept, rng = InpaintScore(), [], np.random.default_rng(80)
    pairs = [(scene, text) for scene, text in unseen_captions(8 * count) if scene.position == "centre"][:count]
    for start in range(0, len(pairs), batch):
        scenes, texts = zip(*pairs[start : start + batch], strict=True)
        before = np.stack([draw.draw(scene, rng) for scene in scenes])
        after = paint_into(pipeline, engine, before, None, composed(pipeline, texts, styles, start), start)
        hole = np.zeros(after.shape[1:3], bool)
        hole[:, before.shape[2] :] = True
        padded = np.pad(before, ((0, 0), (0, 0), (0, after.shape[2] - before.shape[2]), (0, 0)), mode="edge")
        for scene, old, new in zip(scenes, padded, after, strict=True):
            found.add(scene, old, new, hole)
        kept += list(after)
    _keep(kept, keep)
    return found


def paint_into(
    pipeline: Pipeline, engine: str, before: np.ndarray, hole: np.ndarray | None, prompts: list[Prompt], seed: int
) -> np.ndarray:
    """Inpaint images (B, H, W, 3) in one hole (H, W) with the default mode and that engine; without a hole, outpaint
    them to the right. uint8, as a batch."""
    mode = replace(INPAINT_MODES[DEFAULT], engine=engine)
    mode = mode if hole is not None else replace(mode, respective_field=1.0)
    mask = None if hole is None else torch.from_numpy(hole).float()[None]
    done = _prepared(pipeline, from_uint8(torch.from_numpy(before)), mask, mode, () if mask is not None else ("right",))
    positive, negative = conditionings(pipeline, prompts)
    made = sample.sample(
        pipeline.host, done.model, positive, negative, done.latent, pipeline.settings, seed, done.denoise
    )
    whole = inpaint.paste(vae.decode(pipeline.host, pipeline.vae, made), done.region)
    return to_uint8(whole).numpy()


def _prepared(
    pipeline: Pipeline, images: Tensor, mask: Tensor | None, mode: InpaintMode, sides: Sequence[str]
) -> inpaint.Prepared:
    return inpaint.inpaint(
        pipeline.host, images, mask, pipeline.model, pipeline.vae, pipeline.settings, DEFAULT, mode, sides,
        upscaler=upscale.load(pipeline.host, DEFAULT_UPSCALER),
    )  # fmt: skip


def report(pipeline: Pipeline, engines: Sequence[str], count: int, styles: str, keep: Path | None) -> None:
    """Print the results of both tasks for every engine."""
    for engine in engines:
        for what in (repaint, outpaint):
            path = keep and keep.with_stem(f"{keep.stem}-{engine}-{what.__name__}")
            print(
                f"{engine}, {what.__name__}, {count} unseen scenes: {what(pipeline, engine, count, styles, keep=path)}",
                flush=True,
            )


def other_scene(scene: draw.Scene, rng: np.random.Generator) -> draw.Scene:
    """Return a scene with the same background and position, and a small or medium shape of another kind and colour."""
    while True:
        other = replace(draw.random_scene(rng), background=scene.background, position=scene.position)
        news = other.colour not in (scene.colour, scene.background) and other.shape != scene.shape
        if news and other.size != "large":
            return other


def _name_of(colour: np.ndarray) -> str:
    return list(draw.COLOURS)[int(((draw.PALETTE - colour) ** 2).sum(-1).argmin())]


def _marked(pictures: np.ndarray, hole: np.ndarray) -> np.ndarray:
    marked: np.ndarray = pictures.copy()
    marked[:, hole] = marked[:, hole] // 2 + 64
    return marked


def _keep(pictures: list[np.ndarray], path: Path | None) -> None:
    if path is not None:
        Image.fromarray(contact_sheet(pictures, 20)).save(path)
