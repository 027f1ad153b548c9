"""Filling: Pillow's own blurs one after the other, Fooocus's worked pictures, and holes of every kind."""

from __future__ import annotations

import numpy as np
import pytest
from fooocus_stages.preprocessors import inpaint_fill
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from .pictures import digest, noise

RADII = tuple(radius for radius, _ in inpaint_fill.BLURS)


def plainly(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Each blur by Pillow, over the whole picture."""
    known = mask < 127
    filled = picture
    for radius, times in inpaint_fill.BLURS:
        for _ in range(times):
            filled = np.array(Image.fromarray(filled).filter(ImageFilter.BoxBlur(radius)))
            filled[known] = picture[known]
    return filled


def test_the_worked_picture_of_sixteen_pixels() -> None:
    y, x = np.mgrid[0:16, 0:16]
    picture = np.stack([x**2, (15 - y) ** 2, 255 * ((x // 4 + y // 4) % 2)], -1).astype(np.uint8)
    mask = np.zeros((16, 16), np.uint8)
    mask[4:12, 4:12] = 255
    picture[mask > 0] = (255, 0, 255)
    filled = inpaint_fill.fill(picture, mask)
    assert digest(filled) == "898d105a494720e7"
    assert filled[8, :, 0].tolist() == [0, 1, 4, 9, 27, 38, 51, 65, 80, 96, 113, 132, 144, 169, 196, 225]
    assert filled.sum(axis=(0, 1)).tolist() == [20588, 20588, 32640]


def test_a_ramp_is_reproduced() -> None:
    y, x = np.mgrid[0:256, 0:256]
    picture = np.stack([x, y, (x + y) // 2], -1).astype(np.uint8)
    filled = inpaint_fill.fill(picture, np.where((x - 128) ** 2 + (y - 120) ** 2 < 3600, 255, 0).astype(np.uint8))
    assert digest(filled) == "799b52dd134661f3"
    assert filled[120, 128].tolist() == [128, 120, 124]


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([0.0, 0.02, 0.5, 1.0]), st.integers(0, 2**32 - 1))
def test_it_is_what_sixty_blurs_make(height: int, width: int, share: float, seed: int) -> None:
    values = np.random.RandomState(seed)
    picture = values.randint(0, 256, (height, width, 3), np.uint8)
    mask = np.where(values.rand(height, width) < share, values.randint(120, 256, (height, width)), 0).astype(np.uint8)
    assert (inpaint_fill.fill(picture, mask) == plainly(picture, mask)).all()


@pytest.mark.parametrize(
    "hole",
    [np.s_[:, :], np.s_[0:9, :], np.s_[:, 290:], np.s_[20:21, 7:8], np.s_[0:1, 0:1], np.s_[100:, 150:200], np.s_[0:0]],
    ids=["all", "top", "right", "pixel", "corner", "bottom", "none"],
)
def test_holes_at_every_border_of_a_picture_larger_than_a_strip(hole: tuple[slice, slice]) -> None:
    picture = noise(150, 300)
    mask = np.zeros((150, 300), np.uint8)
    mask[hole] = 255
    assert (inpaint_fill.fill(picture, mask) == plainly(picture, mask)).all()


@pytest.mark.parametrize("radius", RADII)
@pytest.mark.parametrize("value", [0, 1, 127, 128, 254, 255])
def test_a_blur_is_pillow_s_at_the_ends_of_the_scale(radius: int, value: int) -> None:
    line = np.full((1, 1400, 3), value, np.uint8)
    line[0, 600:] = noise(1, 800)[0]
    blurred = np.array(Image.fromarray(line).filter(ImageFilter.BoxBlur((radius, 0))))
    assert (inpaint_fill.box_blur(line, radius, axis=1) == blurred).all()
    upright = line.swapaxes(0, 1)
    assert (inpaint_fill.box_blur(upright, radius, axis=0) == blurred.swapaxes(0, 1)).all()


def test_a_sum_whose_mean_is_next_to_a_half() -> None:
    """Every sum of a window, two values at a time: of all radii only 128 strays from the mean's rounding."""
    for radius in RADII:
        width = 2 * radius + 1
        sums = np.arange(255 * width + 1, dtype=np.int64)
        inner, outer = inpaint_fill.weights(radius)
        ends = [(sums * inner + far * outer + inpaint_fill.ONE // 2) >> 24 for far in (0, 510)]
        strays = any((end != (2 * sums + width) // (2 * width)).any() for end in ends)
        assert strays == (not inpaint_fill.is_plain(radius)) == (radius == 128)


@pytest.mark.parametrize("radius", [radius for radius in RADII if inpaint_fill.is_plain(radius)])
def test_every_mean_is_rounded_to_the_nearest(radius: int) -> None:
    """One column of a channel for every sum that a window can have."""
    width = 2 * radius + 1
    sums = np.arange(255 * width + 3).clip(max=255 * width)
    for part in np.array_split(sums[: len(sums) // 3 * 3].reshape(-1, 3), len(sums) // 4000 + 1):
        columns = np.clip(part - 255 * np.arange(width)[:, None, None], 0, 255).astype(np.uint8)
        nearest = (2 * part + width) // (2 * width)
        assert (inpaint_fill.box_blur(columns, radius, axis=0)[radius] == nearest).all()
        rows = np.ascontiguousarray(columns.swapaxes(0, 1))
        assert (inpaint_fill.box_blur(rows, radius, axis=1)[:, radius] == nearest).all()


def test_the_picture_stays_as_it_was() -> None:
    picture = noise(20, 20)
    before = picture.copy()
    inpaint_fill.fill(picture, np.full((20, 20), 255, np.uint8))
    assert (picture == before).all()
