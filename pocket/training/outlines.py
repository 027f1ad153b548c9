"""Comparison of images with control images: agreement of edges, and recognition of shapes."""

from __future__ import annotations

import numpy as np

from ...pipelines.opencv import cv2
from ...preprocessors.canny import pyramid_canny
from . import draw

STRONG = 64  # of 255: threshold of edges
SLACK = 2  # tolerance of edge positions in pixels
SIDE = 64  # of the silhouettes, in pixels


def edges(picture: np.ndarray) -> np.ndarray:
    """Return the strong edges that PyraCanny finds, bool (H, W), in an RGB image (H, W, 3)."""
    return pyramid_canny(picture) > STRONG


def agreement(picture: np.ndarray, target: np.ndarray) -> float:
    """Return the F1 score (0…1) of an image's edges against another's (H, W, 3), with a tolerance of two pixels."""
    found, due = edges(picture), edges(target)
    if not found.any() or not due.any():
        return float(not found.any() and not due.any())
    precision, recall = (found & _wider(due)).sum() / found.sum(), (due & _wider(found)).sum() / due.sum()
    return float(2 * precision * recall / max(precision + recall, 1e-9))


def shape_of(picture: np.ndarray) -> str | None:
    """Return the shape most similar to the largest silhouette in the image, or None if there is none."""
    seen = silhouette(picture)
    if seen is None:
        return None
    return max(draw.SHAPES, key=lambda shape: _overlap(seen, _PATTERNS[shape]))


def silhouette(picture: np.ndarray) -> np.ndarray | None:
    """Return the largest connected region off the background, filled and stretched to a square: bool (64, 64)."""
    border = max(3, min(picture.shape[:2]) // 24)
    rim = np.ones(picture.shape[:2], bool)
    rim[border:-border, border:-border] = False
    away = np.abs(picture.astype(np.float32) - np.median(picture[rim], axis=0)).max(-1) > 48
    outer, _ = cv2.findContours(away.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not outer:
        return None
    largest = max(outer, key=cv2.contourArea)
    x, y, width, height = cv2.boundingRect(largest)
    filled = np.zeros(picture.shape[:2], np.uint8)
    cv2.drawContours(filled, [largest], 0, 255, cv2.FILLED)
    return cv2.resize(filled[y : y + height, x : x + width], (SIDE, SIDE), interpolation=cv2.INTER_LINEAR) > 127


def _wider(mask: np.ndarray) -> np.ndarray:
    return cv2.dilate(mask.astype(np.uint8), np.ones((2 * SLACK + 1, 2 * SLACK + 1), np.uint8)) > 0


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def _pattern(shape: str) -> np.ndarray:
    mask = draw.shape_mask(shape, (128.0, 128.0), 100, 256, 256) > 0.5
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    cut = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.uint8) * 255
    return cv2.resize(cut, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR) > 127


_PATTERNS = {shape: _pattern(shape) for shape in draw.SHAPES}
