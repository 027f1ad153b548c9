"""Measure the pocket model through the pack's own stages, on captions that training has never seen.

`python -m fooocus_stages.pocket.training.evaluate --performance Speed --count 200` prints how often the judge finds the
background, the shape's colour and its position right, and the seconds that one picture takes alone.
`... evaluate refiner --at 0.4 0.8` does the same with the refiner taking over after those shares of the steps, and
`... evaluate upscale` compares the upscaler with bicubic interpolation. `... evaluate control` and `... evaluate
image-prompt` paint silent captions beside hints, with --weight and until --stop-at. `... evaluate inpaint --engine v2.6
None` paints into holes of drawings, and beside them, with each of these engines.
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
from .painting import MODELS, Studio, Tally, composed, contact_sheet, open_studio, paint, unseen_captions, with_refiner

WHAT = ("captions", "refiner", "upscale", "control", "image-prompt", "inpaint")


def evaluate(
    studio: Studio, count: int, styles: str, negative: str, width: int, height: int, batch: int, keep: Path | None
) -> Tally:
    """Paint and judge; with `keep`, the pictures are also laid out in one file."""
    tally, kept = Tally(), []
    pairs = unseen_captions(count)
    for start in range(0, count, batch):
        chosen = pairs[start : start + batch]
        prompts = composed(studio, [text for _, text in chosen], styles, start, negative)
        pictures = paint(studio, prompts, start, width, height)
        for (scene, _), picture in zip(chosen, pictures, strict=True):
            tally.add(scene, picture)
        kept += list(pictures)
    if keep is not None:
        Image.fromarray(contact_sheet(kept)).save(keep)
    return tally


def seconds_alone(studio: Studio, width: int, height: int) -> float:
    """Wall-clock seconds from prompt to picture, the best of three."""
    times = []
    for seed in range(3):
        start = time.perf_counter()
        paint(studio, composed(studio, ["a red circle on a blue background"], "", seed), seed, width, height)
        times.append(time.perf_counter() - start)
    return min(times)


def gains(host: LocalHost, kind: str, count: int, seed: int = 4321) -> np.ndarray:
    """PSNR in dB of drawings of 256 pixels enlarged from 64, by the upscaler and by bicubic interpolation: (n, 2).

    The kind is "scenes", of the unseen split, or "abstract": many shapes on a gradient. They are made small by area
    and by bicubic interpolation in turn.
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
    """Peak signal to noise in dB between uint8 pictures."""
    return float(10 * np.log10(255**2 / ((picture.astype(float) - truth.astype(float)) ** 2).mean()))


def report_gains(models: Path, count: int) -> None:
    """Print the upscaler's PSNR beside that of bicubic interpolation."""
    for kind in ("scenes", "abstract"):
        ours, theirs = gains(LocalHost([models]), kind, count).T
        print(
            f"{count} {kind}: {ours.mean():.1f} dB, bicubic {theirs.mean():.1f} dB; "
            f"better on {100 * (ours > theirs).mean():.0f} %, at worst {(ours - theirs).min():+.1f} dB"
        )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=WHAT, default="captions")
    parser.add_argument("--at", type=float, nargs="+", default=[0.4, 0.8], help="when the refiner takes over")
    parser.add_argument("--weight", type=float, default=1.0, help="of a hint")
    parser.add_argument("--stop-at", type=float, default=1.0, help="the share of the timesteps that a hint acts for")
    parser.add_argument("--engine", nargs="+", choices=list(INPAINT_PATCHES), default=[DEFAULT_ENGINE])
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
    if a.what == "upscale":
        report_gains(a.models, a.count)
        return
    studio = open_studio(a.models, a.performance, [(name, float(weight)) for name, weight in a.lora])
    if a.what in ("control", "image-prompt"):
        evaluate_hints.report(studio, a.what, a.count, a.weight, a.stop_at, a.keep)
        return
    if a.what == "inpaint":
        evaluate_inpaint.report(studio, a.engine, a.count, a.styles, a.keep)
        return
    studios = {"": studio}
    if a.what == "refiner":
        studios = {f", refiner from {at:g}": with_refiner(studio, at) for at in a.at}
    for name, each in studios.items():
        width, height = a.size
        tally = evaluate(each, a.count, a.styles, a.negative, width, height, a.batch, a.keep)
        print(f"{a.performance}{name}, {tally.total} unseen captions: {tally}")
        print(f"one {width}x{height} picture: {seconds_alone(each, width, height):.1f} s", flush=True)


if __name__ == "__main__":
    main()
