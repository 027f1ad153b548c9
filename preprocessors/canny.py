"""PyraCanny: edges at nine scales (Fooocus extras/preprocessors.py: canny_pyramid)."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from ..pipelines.opencv import cv2
from .geometry import Picture
from .levels import stretched

SCALES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
NEW_EDGES = np.float32(0.25)  # weight of each scale in the running mean over the smaller ones
PERCENTILES = (1, 99)


def pyramid_canny(picture: Picture, low: int = 64, high: int = 128) -> NDArray[np.uint8]:
    """White edges (H, W) on black of an image (H, W, 3); `low` and `high` (1…255) are Canny's two thresholds.

    The edges of each channel are a running mean over the scales, the smallest first. If fewer than 1 % of the pixels
    have edges, the map is binary; without edges it is black.
    """
    height, width = picture.shape[:2]
    sizes = [(max(1, int(width * scale)), max(1, int(height * scale))) for scale in SCALES]
    mean = _edges(picture, sizes[0], low, high).astype(np.float32)
    for size in sizes[1:]:
        mean = cast(NDArray[np.float32], cv2.resize(mean, size, interpolation=cv2.INTER_LINEAR))
        mean *= 1 - NEW_EDGES
        mean += _edges(picture, size, low, high) * NEW_EDGES
    return stretched(mean[..., 0] + mean[..., 1] + mean[..., 2], *PERCENTILES)


def _edges(picture: Picture, size: tuple[int, int], low: int, high: int) -> NDArray[np.uint8]:
    """1 where a channel of the image scaled to size (width, height) has an edge, else 0: (height, width, 3)."""
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    edges = cast(Picture, cv2.merge([cv2.Canny(channel, low, high) for channel in cv2.split(small)]))
    ones: NDArray[np.uint8] = edges >> np.uint8(7)
    return ones
