"""Fooocus's fill and soft mask against a straight transcription of them, with equal results.

python benchmarks/inpaint.py [--rounds 5] [--sides 1024,2048]
"""

from __future__ import annotations

import argparse
from functools import partial

import cv2
import numpy as np
import torch
from fooocus_stages.preprocessors import inpaint_fill, masks
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from timing import Stopwatch, in_turn, machine

Bytes = NDArray[np.uint8]


def filled(picture: Bytes, mask: Bytes) -> Bytes:
    """Sixty blurs by Pillow over the whole picture, the known part put back after each."""
    known = mask < 127
    kept, result = picture[known], picture.copy()
    for radius, times in inpaint_fill.BLURS:
        for _ in range(times):
            result = np.array(Image.fromarray(result).filter(ImageFilter.BoxBlur(radius)))
            result[known] = kept
    return result


def softened(mask: Bytes) -> Bytes:
    """Thirty-two dilations by OpenCV over the whole mask."""
    level = np.where(mask > 127, np.int16(256), np.int16(0))
    for _ in range(32):
        level = np.maximum(level, cv2.dilate(level, np.ones((3, 3), np.int16)) - np.int16(8))
    return level.clip(0, 255).astype(np.uint8)


def picture_of(side: int) -> Bytes:
    y, x = np.mgrid[:side, :side]
    noise = np.random.RandomState(0).randint(0, 40, (side, side, 3))
    return (np.stack([x * 200 // side, y * 200 // side, 100 * ((x // 16 + y // 16) % 2)], -1) + noise).astype(np.uint8)


def holes(side: int) -> dict[str, Bytes]:
    """An ellipse in a tenth of the picture, a strip at one side as outpainting adds it, a frame, all of it."""
    y, x = (np.mgrid[:side, :side] / side).astype(np.float32)
    shapes = {
        "ellipse": (x - 0.4) ** 2 / 0.02 + (y - 0.5) ** 2 / 0.05 < 1,
        "strip": x > 0.77,
        "frame": np.maximum(abs(x - 0.5), abs(y - 0.5)) > 0.3125,
        "all": x >= 0,
    }
    return {name: masks.threshold(shape, 0) for name, shape in shapes.items()}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--sides", default="1024,2048")
    given = options.parse_args()
    print(f"{machine()}; times over those of the transcription, and milliseconds")
    watch = Stopwatch(torch.device("cpu"))
    for side in (int(one) for one in given.sides.split(",")):
        picture = picture_of(side)
        for name, mask in holes(side).items():
            ours, plain = partial(inpaint_fill.fill, picture, mask), partial(filled, picture, mask)
            if not np.array_equal(ours(), plain()):
                raise SystemExit(f"the fill of {name} at {side} is another")
            print(
                f"fill {side:5} {name:8} {in_turn(ours, plain, given.rounds, watch)} {watch.seconds(ours) * 1e3:6.0f}"
            )
        mask = holes(side)["ellipse"]
        ours, plain = partial(masks.soft, mask), partial(softened, mask)
        if not np.array_equal(ours(), plain()):
            raise SystemExit(f"the soft mask at {side} is another")
        print(f"soft {side:5} ellipse  {in_turn(ours, plain, given.rounds, watch)} {watch.seconds(ours) * 1e3:6.1f}")


if __name__ == "__main__":
    main()
