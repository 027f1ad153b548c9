"""Edges at nine scales: worked pictures, a plain transcription, and pictures with nothing in them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from fooocus_stages.preprocessors.canny import pyramid_canny

from .pictures import digest, disc, noise, waves

SCALES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def plainly(picture: np.ndarray, low: int, high: int) -> np.ndarray:
    """Each step by itself, colour by colour, as it is written down; for pictures with edges enough."""
    total = np.zeros(picture.shape[:2], np.float32)
    for channel in range(3):
        mean = None
        for scale in SCALES:
            size = (int(picture.shape[1] * scale), int(picture.shape[0] * scale))
            small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)[..., channel]
            edges = cv2.Canny(np.ascontiguousarray(small), low, high).astype(np.float32) / 255.0
            mean = edges if mean is None else cv2.resize(mean, size) * 0.75 + edges * 0.25
        total += mean
    first, last = np.percentile(total, 1), np.percentile(total, 99)
    return (((total - first) / (last - first)) * 255).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (waves(256, 320), "b6cc5be130473f5c"),
        (disc(), "0619e9172a96b2aa"),
        (noise(64, 80), "95c5c6beaf7bfc7a"),
    ],
    ids=["waves", "disc", "noise"],
)
def test_worked_pictures(picture: np.ndarray, expected: str) -> None:
    assert digest(pyramid_canny(picture)) == expected


@pytest.mark.parametrize("thresholds", [(64, 128), (1, 255), (255, 255), (128, 64)])
@pytest.mark.parametrize("size", [(97, 61), (40, 200), (5, 9)])
def test_it_is_what_the_steps_give(size: tuple[int, int], thresholds: tuple[int, int]) -> None:
    picture = noise(*size)
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = plainly(picture, *thresholds)
    assert np.array_equal(pyramid_canny(picture, *thresholds), expected)


def test_few_edges_are_black_and_white() -> None:
    picture = np.zeros((512, 512, 3), np.uint8)
    picture[250:262, 250:262] = 255
    edges = pyramid_canny(picture)
    assert set(np.unique(edges)) == {0, 255}
    assert (edges == 255).sum() == 656


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (4, 4), (5, 5), (1, 3000), (64, 64)])
@pytest.mark.parametrize("level", [0, 90, 255])
def test_a_flat_picture_has_no_edges(size: tuple[int, int], level: int) -> None:
    edges = pyramid_canny(np.full((*size, 3), level, np.uint8))
    assert edges.shape == size
    assert not edges.any()


def test_the_picture_stays() -> None:
    picture = noise(32, 32)
    before = picture.copy()
    pyramid_canny(picture)
    assert np.array_equal(picture, before)
