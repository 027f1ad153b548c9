"""Measure the pocket model through the pack's own stages, on captions that training has never seen.

`python -m fooocus_stages.pocket.training.evaluate --performance Speed --count 200` prints how often the background, the
shape's colour and its position are right, and how long one image takes. `... evaluate refiner --at 0.4 0.8` does the
same with the refiner taking over after those fractions of the steps. `... evaluate upscale` compares the upscaler with
bicubic interpolation. `... evaluate control` and `... evaluate image-prompt` combine incomplete captions with hints, at
--weight and until --stop-at. `... evaluate inpaint --engine v2.6 None` inpaints and outpaints drawings with
each engine.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ...pipelines.functional.latents import from_uint8, to_uint8
from ...pipelines.host import LocalHost
from ...pipelines.settings import DEFAULT_ENGINE, DEFAULT_UPSCALER, INPAINT_PATCHES, PERFORMANCES
from ...pipelines.stages import upscale
from . import draw, evaluate_hints, evaluate_inpaint, upscaling
from .painting import (
    MODELS,
    Pipeline,
    Score,
    composed,
    contact_sheet,
    open_pipeline,
    paint,
    unseen_captions,
    with_refiner,
)

WHAT = ("captions", "refiner", "upscale", "control", "image-prompt", "inpaint")


def evaluate(
    pipeline: Pipeline,
    count: int,
    styles: str,
    negative: str,
    width: int,
    height: int,
    batch: int,
    keep: Path | None,
) -> Score:
    """Generate images of unseen captions and judge them; with `keep`, write them as one contact sheet."""
    score, kept = Score(), []
    pairs = unseen_captions(count)
    for start in range(0, count, batch):
        chosen = pairs[start : start + batch]
        prompts = composed(pipeline, [text for _, text in chosen], styles, start, negative)
        pictures = paint(pipeline, prompts, start, width, height)
        for (scene, _), picture in zip(chosen, pictures, strict=True):
            score.add(scene, picture)
        kept += list(pictures)
    if keep is not None:
        Image.fromarray(contact_sheet(kept)).save(keep)
    return score


def seconds_per_image(pipeline: Pipeline, width: int, height: int) -> float:
    """Return the wall-clock seconds from prompt to image, the best of three."""
    times = []
    for seed in range(3):
        start = time.perf_counter()
        paint(pipeline, composed(pipeline, ["a red circle on a blue background"], "", seed), seed, width, height)
        times.append(time.perf_counter() - start)
    return min(times)


def psnr_of_upscalers(host: LocalHost, kind: str, count: int, seed: int = 4321) -> np.ndarray:
    """Return the PSNR in dB of drawings upscaled from 64 to 256 pixels by the upscaler and bicubically: (n, 2).

    `kind` is "scenes", of the unseen split, or "abstract": many shapes on a gradient. They are downscaled by area and
    bicubic interpolation in turn.
    """
    network, rng = upscale.load(host, DEFAULT_UPSCALER), np.random.default_rng(seed)
    found = []
    for i in range(count):
        scene = draw.random_scene(rng, unseen=True)
        large = draw.draw(scene, rng, 256, 256) if kind == "scenes" else draw.draw_abstract(rng, 256, 256)
        small = upscaling.shrink(large, ("area", "cubic")[i % 2])
        ours = to_uint8(upscale.enlarge(host, network, from_uint8(torch.from_numpy(small)[None])))[0].numpy()
        theirs = np.asarray(Image.fromarray(small).resize((256, 256), Image.Resampling.BICUBIC))
        found.append((psnr(ours, large), psnr(theirs, large)))
    return np.array(found)


def psnr(picture: np.ndarray, truth: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio in dB between uint8 images."""
    return float(10 * np.log10(255**2 / ((picture.astype(float) - truth.astype(float)) ** 2).mean()))


def report_upscaler(models: Path, count: int) -> None:
    """Print the PSNR of the upscaler and of bicubic interpolation."""
    for kind in ("scenes", "abstract"):
        ours, theirs = psnr_of_upscalers(LocalHost([models]), kind, count).T
        print(
            f"{count} {kind}: {ours.mean():.1f} dB, bicubic {theirs.mean():.1f} dB; "
            f"better on {100 * (ours > theirs).mean():.0f} %, at worst {(ours - theirs).min():+.1f} dB"
        )


def options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=WHAT, default="captions")
    parser.add_argument(
        "--at",
        type=float,
        nargs="+",
        default=[0.4, 0.8],
        help="when the refiner takes over, as fractions",
    )
    parser.add_argument("--weight", type=float, default=1.0, help="weight of the hint")
    parser.add_argument("--stop-at", type=float, default=1.0, help="when the hint stops, as a fraction")
    parser.add_argument("--engine", nargs="+", choices=list(INPAINT_PATCHES), default=[DEFAULT_ENGINE])
    parser.add_argument("--models", type=Path, default=MODELS)
    parser.add_argument("--performance", choices=list(PERFORMANCES), default="Speed")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--styles", default="", help="names separated by commas")
    parser.add_argument("--negative", default="")
    parser.add_argument("--lora", nargs=2, action="append", default=[], metavar=("NAME", "WEIGHT"))
    parser.add_argument("--size", type=int, nargs=2, default=(128, 128), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--keep", type=Path, help="write the images to this PNG as a contact sheet")
    return parser.parse_args()


def main() -> None:
    """Run the command line."""
    a = options()
    if a.what == "upscale":
        report_upscaler(a.models, a.count)
        return
    pipeline = open_pipeline(a.models, a.performance, [(name, float(weight)) for name, weight in a.lora])
    if a.what in ("control", "image-prompt"):
        evaluate_hints.report(pipeline, a.what, a.count, a.weight, a.stop_at, a.keep)
        return
    if a.what == "inpaint":
        evaluate_inpaint.report(pipeline, a.engine, a.count, a.styles, a.keep)
        return
    pipelines = {"": pipeline}
    if a.what == "refiner":
        pipelines = {f", refiner from {at:g}": with_refiner(pipeline, at) for at in a.at}
    for name, each in pipelines.items():
        width, height = a.size
        score = evaluate(each, a.count, a.styles, a.negative, width, height, a.batch, a.keep)
        print(f"{a.performance}{name}, {score.total} unseen captions: {score}")
        print(f"one {width}x{height} picture: {seconds_per_image(each, width, height):.1f} s", flush=True)


if __name__ == "__main__":
    main()
