"""Filling a hole from its surroundings (Fooocus modules/inpaint_worker.py: fooocus_fill), bit-identical.

Sixty box blurs of the whole image, each followed by restoring the known pixels, spread the surroundings into the hole.
Only the hole is read from a blur, so each blur is computed only within its radius of the hole.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..pipelines.opencv import cv2
from .geometry import Picture
from .masks import Mask, box_of

BLURS = ((512, 2), (256, 2), (128, 4), (64, 4), (33, 8), (15, 8), (5, 16), (3, 16))  # (radius, times)
HOLE = 127  # and above: one less than what is repainted
STRIP = 128  # rows or columns at a time, so that the sums stay in the processor's cache
ONE = 1 << 24  # of Pillow's fixed point


def fill(picture: Picture, mask: Mask) -> Picture:
    """The image (H, W, 3) with its hole, where the mask (H, W) is 127 or more, filled by blurs from the edges inwards.

    The hole's former content takes part in the first blurs, as in Fooocus.
    """
    hole = mask >= HOLE
    filled: Picture = picture.copy()
    if not hole.any():
        return filled
    top, bottom, left, right = box_of(hole)
    inside = filled[top:bottom, left:right]
    open_ = hole[top:bottom, left:right].astype(np.uint8)
    for radius, times in BLURS:
        reach = radius + 1
        up, west = max(top - reach, 0), max(left - reach, 0)
        around = filled[up : bottom + reach, west : right + reach]
        for _ in range(times):
            across = box_blur(around, radius, axis=1)[:, left - west :][:, : right - left]
            cv2.copyTo(box_blur(across, radius, axis=0)[top - up :][: bottom - top], open_, inside)
    return filled


def box_blur(picture: Picture, radius: int, axis: int) -> Picture:
    """The mean over 2·radius + 1 rows (axis 0) or columns (axis 1), borders replicated, rounded as Pillow's BoxBlur.

    Pillow's fixed-point weight is below 1/(2·radius + 1), and the two pixels just outside the window get half of the
    difference each. Where that can't change the rounding, OpenCV's mean is used.
    """
    window = (1, 2 * radius + 1) if axis == 0 else (2 * radius + 1, 1)
    if is_plain(radius):
        return cast(Picture, cv2.blur(picture, window, borderType=cv2.BORDER_REPLICATE))
    blurred: Picture = np.empty_like(picture)
    for start in range(0, picture.shape[1 - axis], STRIP):
        strip = np.s_[:, start : start + STRIP] if axis == 0 else np.s_[start : start + STRIP]
        part = picture[strip]
        sums = cv2.boxFilter(part, cv2.CV_32S, window, normalize=False, borderType=cv2.BORDER_REPLICATE)
        blurred[strip] = _weighed(sums, part, radius, axis)
    return blurred


def weights(radius: int) -> tuple[int, int]:
    """Pillow's weights of each pixel in the window and of the two outside it, in units of 2**-24."""
    width = 2 * radius + 1
    weight = int(np.float32(ONE) / np.float32(width))
    return weight, (ONE - width * weight) // 2


def is_plain(radius: int) -> bool:
    """True if Pillow's result is the rounded mean, because its error stays below the distance to a half.

    The denominator is odd, so that the nearest mean to a half is 1/(2·width) away.
    """
    width = 2 * radius + 1
    return 2 * 255 * (ONE - width * weights(radius)[0]) * width < ONE


def _weighed(sums: NDArray[Any], part: Picture, radius: int, axis: int) -> Picture:
    """Pillow's arithmetic on the sums of the windows, which are overwritten."""
    inner, outer = weights(radius)
    places = np.arange(part.shape[axis])
    before = np.take(part, np.maximum(places - radius - 1, 0), axis).astype(np.uint32)
    after = np.take(part, np.minimum(places + radius + 1, places[-1]), axis)
    total = sums.view(np.uint32)
    total *= np.uint32(inner)
    total += (before + after) * np.uint32(outer)
    total += np.uint32(ONE // 2)
    total >>= np.uint32(24)
    return total.astype(np.uint8)
