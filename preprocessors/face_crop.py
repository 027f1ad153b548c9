"""A face cut out by five points: both eyes, the nose, both corners of the mouth (Fooocus extras/face_crop.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ..pipelines.opencv import cv2
from .geometry import Picture

Points = Sequence[Sequence[float]]

SIDE = 512
PLACES = np.array(
    [
        (192.98138, 239.94708),
        (318.90277, 240.1936),
        (256.63416, 314.01935),
        (201.26117, 371.41043),
        (313.08905, 371.15118),
    ]
)
OUTSIDE = (132, 133, 135)  # the published border, there in BGR


def placement(points: Points) -> NDArray[np.float64]:
    """The 2×3 similarity matrix that maps five points (x, y) of an image onto their places in 512×512.

    The points are left eye, right eye, nose, left and right corner of the mouth, as seen in the image. Outliers are
    ignored (least median of squares). Raises ValueError for points that coincide.
    """
    found = np.asarray(points, dtype=np.float64)
    if found.shape != (len(PLACES), 2) or not np.isfinite(found).all():
        raise ValueError(f"a face is placed by five points x, y, got {np.round(found, 1).tolist()}")
    matrix, _ = cv2.estimateAffinePartial2D(found, PLACES, method=cv2.LMEDS)
    if matrix is None or not np.isfinite(matrix).all() or np.linalg.det(matrix[:, :2]) < np.finfo(np.float32).eps:
        raise ValueError(f"no face can be placed by the points {np.round(found, 1).tolist()}: they lie too near")
    return cast(NDArray[np.float64], matrix)


def cropped(picture: Picture, points: Points) -> Picture:
    """The face of an image (H, W, 3), upright in 512×512, grey outside the image. Raises as `placement`."""
    crop = cv2.warpAffine(picture, placement(points), (SIDE, SIDE), borderMode=cv2.BORDER_CONSTANT, borderValue=OUTSIDE)
    return cast(Picture, crop)
