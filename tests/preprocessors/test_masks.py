"""Masks: Fooocus's worked areas, a plain transcription of the soft edge, and masks at every border."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from fooocus_stages.preprocessors import masks
from hypothesis import given
from hypothesis import strategies as st

AREAS = [
    ((512, 512), (200, 300, 220, 260), (193, 306, 183, 296),
     {0.25: (185, 314, 175, 304), 0.5: (121, 378, 111, 368), 0.618: (91, 408, 81, 398), 0.8: (44, 455, 34, 445)}),
    ((512, 768), (10, 40, 700, 760), (0, 58, 696, 763),
     {0.25: (0, 191, 576, 768), 0.5: (0, 383, 384, 768), 0.618: (0, 474, 293, 768), 0.8: (0, 512, 153, 768)}),
    ((480, 640), (100, 101, 200, 201), (100, 101, 200, 201),
     {0.25: (21, 180, 120, 281), 0.5: (0, 319, 40, 361), 0.618: (0, 395, 2, 399), 0.8: (0, 480, 0, 512)}),
    ((1024, 1024), (400, 700, 100, 220), (378, 721, 0, 331),
     {0.25: (378, 721, 0, 331), 0.5: (293, 806, 0, 512), 0.618: (233, 866, 0, 633), 0.8: (139, 960, 0, 820)}),
    ((832, 1216), (300, 500, 600, 700), (286, 513, 536, 763),
     {0.25: (248, 551, 497, 802), 0.5: (96, 703, 345, 954), 0.618: (24, 775, 273, 1026), 0.8: (0, 832, 163, 1136)}),
    ((1000, 600), (0, 1000, 0, 600), (0, 1000, 0, 600), {0.25: (0, 1000, 0, 600), 0.8: (0, 1000, 0, 600)}),
]  # fmt: skip


def box_mask(shape: tuple[int, int], box: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    mask[box[0] : box[1], box[2] : box[3]] = 255
    return mask


def soft_plainly(mask: np.ndarray) -> np.ndarray:
    """Thirty-two dilations, each 8 lower than the one before."""
    level = np.where(mask > 127, np.int16(256), np.int16(0))
    for _ in range(32):
        level = np.maximum(level, cv2.dilate(level, np.ones((3, 3), np.int16)) - 8)
    return level.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(("shape", "box", "first", "grown"), AREAS)
def test_areas(shape: tuple[int, int], box: tuple[int, ...], first: tuple[int, ...], grown: dict[float, tuple]) -> None:
    mask = box_mask(shape, box)
    assert masks.first_area(mask) == first
    assert {field: masks.area_of(mask, field) for field in grown} == grown
    assert masks.area_of(mask, 0.0) == first
    assert masks.area_of(mask, 1.0) == (0, shape[0], 0, shape[1])


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_an_area_holds_the_mask_and_its_share_of_the_picture(height: int, width: int, seed: int, field: float) -> None:
    rng = np.random.RandomState(seed)
    mask = box_mask((height, width), (rng.randint(height), height, rng.randint(width), width))
    top, bottom, left, right = masks.area_of(mask, field)
    assert 0 <= top < bottom <= height
    assert 0 <= left < right <= width
    assert bottom - top >= height * field
    assert right - left >= width * field
    rows, columns = np.nonzero(mask)
    assert top <= rows.min() <= rows.max() <= bottom  # of a mask of a few pixels the last row may be left out
    assert left <= columns.min() <= columns.max() <= right


@pytest.mark.parametrize("field", [-0.1, 1.1, float("nan")])
def test_a_field_that_is_no_share_is_refused(field: float) -> None:
    with pytest.raises(ValueError, match="respective_field is"):
        masks.area_of(np.full((4, 4), 255, np.uint8), field)


def test_an_empty_mask_has_no_area() -> None:
    with pytest.raises(ValueError, match="the mask is empty"):
        masks.area_of(np.zeros((4, 4), np.uint8), 0.5)


@given(st.integers(1, 90), st.integers(1, 90), st.floats(0, 0.02), st.integers(0, 2**32 - 1))
def test_the_soft_edge_is_what_32_dilations_make(height: int, width: int, share: float, seed: int) -> None:
    values = np.random.RandomState(seed)
    mask = np.where(values.rand(height, width) < share, values.randint(0, 256, (height, width)), 0).astype(np.uint8)
    assert (masks.soft(mask) == soft_plainly(mask)).all()


def test_the_soft_edge_of_one_pixel() -> None:
    softened = masks.soft(box_mask((101, 101), (50, 51, 50, 51)))
    assert softened[50, 50:84].tolist() == [255, *range(248, 0, -8), 0, 0]
    assert np.count_nonzero(softened) == 63 * 63


@pytest.mark.parametrize("amount", [1, -1, 5, -3, 0])
def test_growing_moves_each_edge_by_that_many_pixels(amount: int) -> None:
    grown = masks.erode_or_dilate(box_mask((40, 40), (12, 26, 9, 30)), amount)
    assert (grown == box_mask((40, 40), (12 - amount, 26 + amount, 9 - amount, 30 + amount))).all()


def test_a_full_mask_does_not_shrink_at_the_border() -> None:
    full = np.full((9, 9), 255, np.uint8)
    assert (masks.erode_or_dilate(full, -64) == full).all()


def test_a_mask_of_a_picture_is_the_mean_of_its_channels() -> None:
    picture = np.array([[[255, 127, 0], [255, 128, 0], [255, 0, 0], [128, 128, 126]]], np.uint8)
    assert masks.of_picture(picture, 1, 4).tolist() == [[255, 255, 0, 255]]
    assert masks.of_picture(picture, 2, 8).shape == (2, 8)
    assert masks.of_picture(picture[..., 1], 1, 4).tolist() == [[0, 255, 0, 255]]


@pytest.mark.parametrize(
    ("sides", "expected"),
    [
        ("left right top bottom", (30, 30, 45, 45)),
        ("left", (0, 0, 45, 0)),
        ("top", (30, 0, 0, 0)),
        ("", (0, 0, 0, 0)),
    ],
)
def test_padding_is_a_share_of_its_own_side(sides: str, expected: tuple[int, ...]) -> None:
    assert masks.pad_sizes(100, 150, frozenset(sides.split())) == expected


def test_padding_cuts_fractions_off_and_can_be_given() -> None:
    assert masks.pad_sizes(333, 1023, frozenset(("bottom", "right"))) == (0, 99, 0, 306)
    assert masks.pad_sizes(333, 1023, frozenset(("bottom", "right")), pixels=7) == (0, 7, 0, 7)
