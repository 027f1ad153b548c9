"""Structure: worked pictures, the order of the colours, and pictures with nothing in them."""

from __future__ import annotations

import numpy as np
import pytest
from fooocus_stages.preprocessors.cpds import structure

from .pictures import digest, disc, noise, waves


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (waves(256, 320), "46db14d775e10167"),
        (disc(), "0b10092d12bb2315"),
        (noise(64, 80), "5c6615b2bb36df03"),
    ],
    ids=["waves", "disc", "noise"],
)
def test_worked_pictures(picture: np.ndarray, expected: str) -> None:
    assert digest(structure(picture)) == expected


def test_red_and_blue_are_not_swapped() -> None:
    assert not np.array_equal(structure(noise(64, 80)), structure(noise(64, 80)[..., ::-1].copy()))


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 2), (64, 64)])
@pytest.mark.parametrize("level", [0, 90, 255])
def test_a_flat_picture_has_no_structure(size: tuple[int, int], level: int) -> None:
    found = structure(np.full((*size, 3), level, np.uint8))
    assert found.shape == size
    assert not found.any()


@pytest.mark.parametrize("size", [(1, 3000), (3000, 1)])
def test_a_picture_too_narrow_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"{size[1]}×{size[0]} pixels is too narrow"):
        structure(np.zeros((*size, 3), np.uint8))


def test_the_picture_stays() -> None:
    picture = noise(32, 32)
    before = picture.copy()
    structure(picture)
    assert np.array_equal(picture, before)
