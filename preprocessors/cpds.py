"""CPDS: structure as grey that keeps contrasts of colour (Fooocus extras/preprocessors.py: cpds)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..pipelines.opencv import cv2
from .geometry import Picture
from .levels import stretched

BLUR = 0.8
PERCENTILES = (4, 96)
NARROW = 100


def structure(picture: Picture) -> NDArray[np.uint8]:
    """The structure (H, W) of an RGB image (H, W, 3): contrast-preserving grey plus the distance by which the colours
    were moved to preserve contrast.

    OpenCV expects BGR here, but the published networks were trained on RGB. Raises ValueError for an image so narrow
    that the small copy on which contrasts are measured has no pixels.
    """
    raw = cv2.GaussianBlur(picture, (0, 0), BLUR)
    try:
        grey, boosted = cv2.decolor(raw)
    except cv2.error as error:
        if min(raw.shape[:2]) * NARROW > max(raw.shape[:2]):
            raise
        raise ValueError(f"a picture of {raw.shape[1]}×{raw.shape[0]} pixels is too narrow for CPDS") from error
    moved = cv2.absdiff(raw, boosted).astype(np.float32)
    distance = np.sqrt(np.einsum("hwc,hwc->hw", moved, moved))
    return stretched(grey + distance, *PERCENTILES)
