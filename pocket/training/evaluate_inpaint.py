"""Measure how the pocket model paints into holes of drawings, on scenes that training has never seen.

`python -m fooocus_stages.pocket.training.evaluate inpaint --engine v2.6 None` prints what `repaint` and `outpaint`
find.
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
from .painting import Studio, Tally, composed, conditionings, contact_sheet, unseen_captions

DEFAULT = next(iter(INPAINT_MODES))
EDGE = 4  # pixels of the hole that are looked at along its edge


@dataclass
class Painted:
    """How often whole pictures show what was asked for, and how well holes go on with what is round them."""

    tally: Tally = field(default_factory=Tally)
    grounds: int = 0
    seams: list[float] = field(default_factory=list)

    def add(self, scene: draw.Scene, before: np.ndarray, after: np.ndarray, hole: np.ndarray) -> None:
        """Judge a picture, uint8 RGB (H, W, 3), by its scene, the drawing it was and the hole (H, W) in it."""
        self.tally.add(scene, after)
        inside = np.median(after[inpainting.edge_of(hole, EDGE)], axis=0)
        ground = np.median(before[~hole], axis=0)
        self.grounds += _name_of(inside) == scene.background
        self.seams.append(float(abs(inside - ground).mean()))

    def __str__(self) -> str:
        ground = f"ground in the hole {100 * self.grounds / self.tally.total:.1f} %"
        return f"{self.tally}, {ground}, off by {np.mean(self.seams):.1f} of 255"


def repaint(
    studio: Studio, engine: str, count: int, styles: str = "", batch: int = 20, keep: Path | None = None
) -> Painted:
    """Another shape in another colour, asked for in a square hole where the drawing's own shape was."""
    found, kept, rng = Painted(), [], np.random.default_rng(79)
    pairs = unseen_captions(count)
    for position in draw.POSITIONS:
        chosen = [(scene, text) for scene, text in pairs if scene.position == position]
        for start in range(0, len(chosen), batch):
            part = chosen[start : start + batch]
            before = np.stack([draw.draw(other_scene(scene, rng), rng) for scene, _ in part])
            hole = inpainting.square_hole(position)
            after = paint_into(
                studio, engine, before, hole, composed(studio, [text for _, text in part], styles, start), start
            )
            for (scene, _), old, new in zip(part, before, after, strict=True):
                found.add(scene, old, new, hole)
            kept += [each for pair in zip(_marked(before, hole), after, strict=True) for each in pair]
    _keep(kept, keep)
    return found


def outpaint(
    studio: Studio, engine: str, count: int, styles: str = "", batch: int = 20, keep: Path | None = None
) -> Painted:
    """The drawing of a scene, continued to the right by three tenths."""
    found, kept, rng = Painted(), [], np.random.default_rng(80)
    pairs = [(scene, text) for scene, text in unseen_captions(8 * count) if scene.position == "centre"][:count]
    for start in range(0, len(pairs), batch):
        scenes, texts = zip(*pairs[start : start + batch], strict=True)
        before = np.stack([draw.draw(scene, rng) for scene in scenes])
        after = paint_into(studio, engine, before, None, composed(studio, texts, styles, start), start)
        hole = np.zeros(after.shape[1:3], bool)
        hole[:, before.shape[2] :] = True
        padded = np.pad(before, ((0, 0), (0, 0), (0, after.shape[2] - before.shape[2]), (0, 0)), mode="edge")
        for scene, old, new in zip(scenes, padded, after, strict=True):
            found.add(scene, old, new, hole)
        kept += list(after)
    _keep(kept, keep)
    return found


def paint_into(
    studio: Studio, engine: str, before: np.ndarray, hole: np.ndarray | None, prompts: list[Prompt], seed: int
) -> np.ndarray:
    """Pictures (B, H, W, 3) of one hole (H, W) painted in by the default mode with that engine; without a hole they
    grow to the right. uint8, as a batch."""
    mode = replace(INPAINT_MODES[DEFAULT], engine=engine)
    mode = mode if hole is not None else replace(mode, respective_field=1.0)
    mask = None if hole is None else torch.from_numpy(hole).float()[None]
    done = _prepared(studio, from_uint8(torch.from_numpy(before)), mask, mode, () if mask is not None else ("right",))
    positive, negative = conditionings(studio, prompts)
    made = sample.sample(studio.host, done.model, positive, negative, done.latent, studio.settings, seed, done.denoise)
    whole = inpaint.paste(vae.decode(studio.host, studio.vae, made), done.region)
    return to_uint8(whole).numpy()


def _prepared(
    studio: Studio, images: Tensor, mask: Tensor | None, mode: InpaintMode, sides: Sequence[str]
) -> inpaint.Prepared:
    return inpaint.inpaint(
        studio.host, images, mask, studio.model, studio.vae, studio.settings, DEFAULT, mode, sides,
        upscaler=upscale.load(studio.host, DEFAULT_UPSCALER),
    )  # fmt: skip


def report(studio: Studio, engines: Sequence[str], count: int, styles: str, keep: Path | None) -> None:
    """Print both for every engine."""
    for engine in engines:
        for what in (repaint, outpaint):
            path = keep and keep.with_stem(f"{keep.stem}-{engine}-{what.__name__}")
            print(
                f"{engine}, {what.__name__}, {count} unseen scenes: {what(studio, engine, count, styles, keep=path)}",
                flush=True,
            )


def other_scene(scene: draw.Scene, rng: np.random.Generator) -> draw.Scene:
    """A scene of the same ground and place with another shape in another colour, not a large one."""
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
