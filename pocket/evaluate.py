"""Measure the pocket model through the pack's own stages, on captions that training has never seen.

`python -m fooocus_stages.pocket.evaluate --performance Speed --count 200` prints how often the judge finds the
background, the shape's colour and its position right, and the seconds that one picture takes alone.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..pipelines.host import LocalHost
from ..pipelines.settings import PERFORMANCES
from ..pipelines.stages import encode, load, plan, sample, vae
from ..pipelines.stages.prompt import compose_with
from ..pipelines.types import Clip, Model, Prompt, SamplingSettings, Vae
from . import draw

MODELS = Path(__file__).resolve().parent / "models"
CHECKPOINT = "juggernautXL_v8Rundiffusion.safetensors"
FIELDS = ("background", "colour", "position")


@dataclass
class Tally:
    """How many pictures had each field right, and where the shape's colour went when it was wrong."""

    total: int = 0
    right: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FIELDS, 0))

    def add(self, scene: draw.Scene, picture: np.ndarray) -> None:
        """Judge one picture, uint8 RGB (H, W, 3)."""
        verdict = draw.judge(picture)
        self.total += 1
        for name in FIELDS:
            self.right[name] += getattr(verdict, name) == getattr(scene, name)

    def __str__(self) -> str:
        return ", ".join(f"{name} {100 * n / self.total:.1f} %" for name, n in self.right.items())


@dataclass(frozen=True)
class Studio:
    """Everything loaded for one performance mode."""

    host: LocalHost
    model: Model
    clip: Clip
    vae: Vae
    settings: SamplingSettings


def open_studio(models: Path, performance: str, loras: list[tuple[str, float]]) -> Studio:
    """Load the checkpoint and the LoRAs that the mode asks for, and those named."""
    host = LocalHost([models])
    model, clip, autoencoder = load.checkpoint(host, CHECKPOINT)
    settings, wanted = plan.performance(performance, SamplingSettings(), load.add_loras((), loras))
    model, clip = load.apply_loras(host, model, clip, wanted)
    return Studio(host, model, clip, autoencoder, settings)


def paint(studio: Studio, prompts: list[Prompt], seed: int, width: int, height: int) -> np.ndarray:
    """One picture per prompt, as a batch, uint8 RGB (B, H, W, 3); all prompts must have equally many sections."""
    sides = [encode.encode(studio.host, studio.clip, prompt, studio.settings) for prompt in prompts]
    positive, negative = (stacked([side[i] for side in sides]) for i in range(2))
    latent = plan.empty_latent("custom", width, height, len(prompts))[0]
    done = sample.sample(studio.host, studio.model, positive, negative, latent, studio.settings, seed)
    pictures = vae.decode(studio.host, studio.vae, done)
    return (pictures.clamp(0, 1) * 255).round().byte().numpy()


def stacked(conditionings: list[list[list]]) -> list[list]:
    """Conditionings of one picture each as one of a batch."""
    tokens = torch.cat([c[0][0] for c in conditionings])
    pooled = torch.cat([c[0][1]["pooled_output"] for c in conditionings])
    return [[tokens, {"pooled_output": pooled}]]


def unseen_captions(count: int, seed: int = 1234) -> list[tuple[draw.Scene, str]]:
    """Scenes of the unseen split with their complete captions, always the same."""
    rng = np.random.default_rng(seed)
    scenes = [draw.random_scene(rng, unseen=True) for _ in range(count)]
    return [(scene, draw.caption(scene, rng, complete=True)) for scene in scenes]


def evaluate(
    studio: Studio, count: int, styles: str, negative: str, width: int, height: int, batch: int, keep: Path | None
) -> Tally:
    """Paint and judge; with `keep`, the pictures are also laid out in one file."""
    tally, kept = Tally(), []
    pairs = unseen_captions(count)
    for start in range(0, count, batch):
        chosen = pairs[start : start + batch]
        prompts = [compose_with(studio.host, text, negative, styles, seed=start)[0][0] for _, text in chosen]
        pictures = paint(studio, prompts, start, width, height)
        for (scene, _), picture in zip(chosen, pictures, strict=True):
            tally.add(scene, picture)
        kept += list(pictures)
    if keep is not None:
        Image.fromarray(contact_sheet(kept)).save(keep)
    return tally


def contact_sheet(pictures: list[np.ndarray], columns: int = 10) -> np.ndarray:
    """Pictures (H, W, 3) of one size in rows, the last one filled up with grey."""
    grey = [np.full_like(pictures[0], 128)] * (-len(pictures) % columns)
    pictures = pictures + grey
    return np.vstack([np.hstack(pictures[i : i + columns]) for i in range(0, len(pictures), columns)])


def seconds_alone(studio: Studio, width: int, height: int) -> float:
    """Wall-clock seconds from prompt to picture, the best of three."""
    times = []
    for seed in range(3):
        start = time.perf_counter()
        prompt = compose_with(studio.host, "a red circle on a blue background")[0][0]
        paint(studio, [prompt], seed, width, height)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=MODELS)
    parser.add_argument("--performance", choices=list(PERFORMANCES), default="Speed")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--styles", default="", help="names separated by commas")
    parser.add_argument("--negative", default="")
    parser.add_argument("--lora", nargs=2, action="append", default=[], metavar=("NAME", "WEIGHT"))
    parser.add_argument("--size", type=int, nargs=2, default=(128, 128), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--keep", type=Path, help="write the pictures into one PNG")
    a = parser.parse_args()
    studio = open_studio(a.models, a.performance, [(name, float(weight)) for name, weight in a.lora])
    tally = evaluate(studio, a.count, a.styles, a.negative, *a.size, a.batch, a.keep)
    print(f"{a.performance}, {tally.total} unseen captions: {tally}")
    print(f"one {a.size[0]}x{a.size[1]} picture: {seconds_alone(studio, *a.size):.1f} s")


if __name__ == "__main__":
    main()
