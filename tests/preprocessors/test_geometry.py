"""Sizes and resizing: the sizes that Fooocus gives, and pictures that it divides by zero on."""

from __future__ import annotations

import numpy as np
import pytest
from fooocus_stages.preprocessors import geometry

CLASSES = [
    (1, 1, 64), (64, 64, 64), (65, 64, 128), (512, 512, 512), (600, 900, 768), (768, 768, 768), (1023, 1023, 1024),
    (896, 1152, 1024), (960, 1088, 1024), (704, 1408, 1024), (1024, 1024, 1024), (1025, 1024, 1088),
    (1080, 1920, 1472), (1728, 2592, 2176), (2048, 2048, 2048),
]  # fmt: skip

SIZES = [
    ((512, 512), (1024, 1024), (2048, 2048)),
    ((512, 768), (832, 1216), (1664, 2432)),
    ((600, 900), (768, 1216), (1664, 2496)),
    ((640, 480), (1152, 832), (2304, 1728)),
    ((333, 777), (640, 1536), (1280, 3072)),
    ((1080, 1920), (768, 1344), (1472, 2688)),
    ((2160, 3840), (768, 1344), (1472, 2688)),
    ((64, 2000), (192, 5312), (384, 10752)),
    ((10, 10), (1024, 1024), (2048, 2048)),
    ((1023, 1025), (1023, 1025), (2048, 2048)),
]


@pytest.mark.parametrize(("height", "width", "expected"), CLASSES)
def test_size_class(height: int, width: int, expected: int) -> None:
    assert geometry.size_class(height, width) == expected


@pytest.mark.parametrize(("size", "at_1024", "at_2048"), SIZES)
def test_size_of_class(size: tuple[int, int], at_1024: tuple[int, int], at_2048: tuple[int, int]) -> None:
    assert geometry.size_of_class(*size, 1024) == at_1024
    assert geometry.size_of_class(*size, 2048) == at_2048


@pytest.mark.parametrize("size", [(1, 5000), (2, 64), (5000, 1)])
def test_a_picture_too_narrow_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"{size[1]}×{size[0]} pixels is too narrow"):
        geometry.size_of_class(*size, 1024)


def test_transparency_lies_over_white() -> None:
    colours = np.full((1, 3, 4), (10, 20, 30, 0), np.uint8)
    colours[0, :, 3] = (0, 128, 255)
    assert geometry.as_rgb(colours).tolist() == [[[255, 255, 255], [132, 137, 142], [10, 20, 30]]]


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1)])
def test_grey_is_repeated_in_three_channels(shape: tuple[int, ...]) -> None:
    grey = np.arange(20, dtype=np.uint8).reshape(shape)
    assert (geometry.as_rgb(grey) == grey.reshape(4, 5, 1)).all()
    assert geometry.as_rgb(grey).shape == (4, 5, 3)


def test_fractions_of_a_size_are_cut_off() -> None:
    assert geometry.resample(np.zeros((8, 8, 3), np.uint8), 200.9, 150.2).shape == (150, 200, 3)
    assert geometry.resample(np.zeros((8, 8), np.uint8), 3, 4).shape == (4, 3)


def test_fitting_stretches_the_border_outwards() -> None:
    picture = np.full((4, 8, 3), 150, np.uint8)
    picture[:2], picture[-2:] = 100, 200
    tall = geometry.fit(picture, 8, 12)
    assert tall.shape == (12, 8, 3)
    assert set(tall[:4].flatten().tolist()) == {100}
    assert set(tall[-4:].flatten().tolist()) == {200}
