"""Masks for inpainting: uint8 (H, W), 255 = repaint (Fooocus modules/inpaint_worker.py, modules/util.py)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..pipelines.opencv import cv2
from .geometry import Picture, resample

Mask = NDArray[np.uint8]
Values = NDArray[np.uint8] | NDArray[np.bool_] | NDArray[np.float64]
Area = tuple[int, int, int, int]

LEVEL = 127  # a mask is set above it
MARGIN = 1.15  # of the area over the mask's longer side
SOFT_STEP, SOFT_REACH = 8, 32
PAD = 0.3  # fraction of a side by which outpainting extends an image


def threshold(mask: Values, level: float = LEVEL) -> Mask:
    """255 where the values (H, W) are above the level, else 0."""
    set_: Mask = (mask > level).astype(np.uint8) * np.uint8(255)
    return set_


def of_picture(picture: Picture, height: int, width: int, level: float = LEVEL) -> Mask:
    """An image (H, W) or (H, W, 3) as a mask of that size: resampled, channels averaged, 255 above the level."""
    resized = resample(picture, width, height)
    return threshold(resized if resized.ndim == 2 else np.mean(resized, axis=2), level)


def erode_or_dilate(mask: Mask, amount: int) -> Mask:
    """The mask grown by `amount` pixels in all directions; a negative amount shrinks it, but not at the border."""
    if not amount:
        return mask
    change = cv2.dilate if amount > 0 else cv2.erode
    return np.asarray(change(mask, np.ones((3, 3), np.uint8), iterations=abs(amount)), np.uint8)


def box_of(mask: Values) -> Area:
    """Rows and columns, ends excluded, of the bounding box of nonzero values. Raises ValueError without any."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        raise ValueError("the mask is empty")
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def first_area(mask: Mask) -> Area:
    """Rows and columns, ends excluded, of a square around the mask, clipped at the image's borders
    (compute_initial_abcd). Raises ValueError for an empty mask."""
    top, bottom, left, right = box_of(mask)
    middles = (bottom - 1 + top) // 2, (right - 1 + left) // 2
    half = int(max((bottom - 1 - top) // 2, (right - 1 - left) // 2) * MARGIN)
    rows, columns = middles
    return _clamped((rows - half, rows + half + 1, columns - half, columns + half + 1), mask.shape)


def area_of(mask: Mask, respective_field: float) -> Area:
    """The part of the image to work on: `first_area`, grown to at least the fraction `respective_field` of both sides
    (solve_abcd). Raises ValueError for an empty mask and for a fraction outside 0…1."""
    if not 0 <= respective_field <= 1:
        raise ValueError(f"respective_field is {respective_field}: choose a fraction of the image from 0 to 1")
    area = first_area(mask)
    height, width = mask.shape
    if respective_field == 1:
        return 0, height, 0, width
    while area[1] - area[0] < height * respective_field or area[3] - area[2] < width * respective_field:
        area = _grown(area, height, width)
    return area


def soft(mask: Mask) -> Mask:
    """Blending weights: 255 in the mask, falling by 8 per pixel of Chebyshev distance (morphological_open; 8 at a
    distance of 31, then 0)."""
    softened = np.zeros_like(mask)
    inside = mask > LEVEL
    if not inside.any():
        return softened
    top, bottom, left, right = box_of(inside)
    reached = np.s_[max(top - SOFT_REACH, 0) : bottom + SOFT_REACH, max(left - SOFT_REACH, 0) : right + SOFT_REACH]
    away = cv2.distanceTransform(np.where(inside[reached], np.uint8(0), np.uint8(1)), cv2.DIST_C, 3)
    softened[reached] = np.clip(256 - SOFT_STEP * away, 0, 255)
    return softened


def pad_sizes(height: int, width: int, sides: frozenset[str], fraction: float = PAD, pixels: int = 0) -> Area:
    """Rows to add at top and bottom, and columns at left and right: a `fraction` of the image's own side, rounded down,
    or `pixels` if that is above 0."""
    rows, columns = (pixels or int(side * fraction) for side in (height, width))
    above, below = (rows if side in sides else 0 for side in ("top", "bottom"))
    left, right = (columns if side in sides else 0 for side in ("left", "right"))
    return above, below, left, right


def _grown(area: Area, height: int, width: int) -> Area:
    top, bottom, left, right = area
    rows, columns = bottom - top, right - left
    if rows < columns or columns == width:
        top, bottom = top - 1, bottom + 1
    if rows >= columns or rows == height:
        left, right = left - 1, right + 1
    return _clamped((top, bottom, left, right), (height, width))


def _clamped(area: Area, shape: tuple[int, ...]) -> Area:
    top, bottom, left, right = area
    height, width = shape[:2]
    return max(top, 0), min(bottom, height), max(left, 0), min(right, width)
