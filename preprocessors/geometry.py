"""Sizes and resizing of pictures (Fooocus modules/util.py). Pictures are uint8 (H, W, 3) unless said otherwise."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Picture = NDArray[np.uint8]

GRID = 64
ROUNDS = 256


def as_rgb(picture: Picture) -> Picture:
    """A grey (H, W) or (H, W, 1), RGB or RGBA image as RGB, composited over white (HWC3)."""
    if picture.ndim == 2:
        picture = picture[..., None]
    if picture.shape[-1] == 1:
        return np.repeat(picture, 3, axis=-1)
    if picture.shape[-1] == 3:
        return picture
    colour, alpha = picture[..., :3].astype(np.float32), picture[..., 3:].astype(np.float32) / 255.0
    over_white: Picture = (colour * alpha + 255.0 * (1.0 - alpha)).clip(0, 255).astype(np.uint8)
    return over_white


def resample(picture: Picture, width: float, height: float) -> Picture:
    """The image, RGB or (H, W), stretched to exactly that size with Lanczos; fractional sizes are truncated."""
    if picture.shape[:2] == (int(height), int(width)):
        return picture
    return _array(Image.fromarray(picture).resize((int(width), int(height)), Image.Resampling.LANCZOS))


def cover(picture: Picture, width: int, height: int) -> Picture:
    """The image scaled to cover width × height and center-cropped (resize_image mode 1)."""
    scaled_width, scaled_height = _covering(picture, width, height)
    return _array(_centred(picture, scaled_width, scaled_height, width, height)[1])


def fit(picture: Picture, width: int, height: int) -> Picture:
    """The image scaled to fit into width × height, its border stretched over the rest (resize_image mode 2).

    The bands are resized from a box of zero thickness at the border, which Pillow reads as a sharpened edge.
    """
    w, h = _fitting(picture, width, height)
    scaled, canvas, (left, top) = _centred(picture, w, h, width, height)
    if top > 0:
        canvas.paste(scaled.resize((width, top), box=(0, 0, width, 0)), (0, 0))
        canvas.paste(scaled.resize((width, top), box=(0, h, width, h)), (0, top + h))
    if left > 0:
        canvas.paste(scaled.resize((left, height), box=(0, 0, 0, height)), (0, 0))
        canvas.paste(scaled.resize((left, height), box=(w, 0, w, height)), (left + w, 0))
    return _array(canvas)


def size_class(height: float, width: float) -> int:
    """The side of the square of equal area, rounded up to a multiple of 64 (get_shape_ceil)."""
    return math.ceil(math.sqrt(height * width) / GRID) * GRID


def size_of_class(height: int, width: int, target: int) -> tuple[int, int]:
    """(height, width) near the given proportions whose size class is `target` (set_image_shape_ceil).

    A size that is already in the class is kept; any other becomes multiples of 64, each side by itself, so that
    proportions drift. Raises ValueError for an image so narrow that a side would become 0.
    """
    h, w = height, width
    for _ in range(ROUNDS):
        current = size_class(h, w)
        if current == target:
            break
        scale = target / current
        h, w = round(h * scale / GRID) * GRID, round(w * scale / GRID) * GRID
        if not h or not w:
            raise ValueError(f"a picture of {width}×{height} pixels is too narrow to be scaled to {target}×{target}")
    return h, w


def to_size_class(picture: Picture, target: int) -> Picture:
    """The image resampled to the size of `size_of_class`. Raises ValueError as that does."""
    height, width = size_of_class(picture.shape[0], picture.shape[1], target)
    return resample(picture, width, height)


def _covering(picture: Picture, width: int, height: int) -> tuple[int, int]:
    own_height, own_width = picture.shape[:2]
    wider = width / height > own_width / own_height
    return (width, own_height * width // own_width) if wider else (own_width * height // own_height, height)


def _fitting(picture: Picture, width: int, height: int) -> tuple[int, int]:
    own_height, own_width = picture.shape[:2]
    narrower = width / height < own_width / own_height
    return (width, own_height * width // own_width) if narrower else (own_width * height // own_height, height)


def _centred(
    picture: Picture, scaled_width: int, scaled_height: int, width: int, height: int
) -> tuple[Image.Image, Image.Image, tuple[int, int]]:
    """The scaled image, a black canvas with it in the center, and its left and top there."""
    scaled = Image.fromarray(picture).resize((scaled_width, scaled_height), Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", (width, height))
    place = (width // 2 - scaled_width // 2, height // 2 - scaled_height // 2)
    canvas.paste(scaled, place)
    return scaled, canvas, place


def _array(image: Image.Image) -> Picture:
    return np.array(image, dtype=np.uint8)
