"""A face cut out by five points: worked matrices, the way back, borders, and points that make no face."""

from __future__ import annotations

import numpy as np
import pytest
from fooocus_stages.preprocessors.face_crop import OUTSIDE, PLACES, cropped, placement

TURNED = [[2.46201938613, 0.43412015844, -301.521895155], [-0.43412015844, 2.46201938613, -26.478883547]]
SHAKEN = [[2.51968809, 0.48420722, -322.592664], [-0.48420722, 2.51968809, -27.261966]]
SHAKE = [(1, 0), (0, 2), (-1, 1), (2, -1), (0, 0)]


def turned() -> np.ndarray:
    """The places turned by ten degrees about their middle, made smaller and moved."""
    cos, sin = np.cos(np.radians(10)), np.sin(np.radians(10))
    return (PLACES - 256) @ np.array([[cos, sin], [-sin, cos]]) * 0.4 + (200, 150)


@pytest.mark.parametrize(("points", "expected"), [(turned(), TURNED), (turned() + SHAKE, SHAKEN)])
def test_worked_matrices(points: np.ndarray, expected: list[list[float]]) -> None:
    np.testing.assert_allclose(placement(points.tolist()), expected, rtol=1e-5)


@pytest.mark.parametrize("scale", [0.02, 0.4, 1.0, 3.0])
@pytest.mark.parametrize("angle", [0, 45, 180, -90])
def test_any_turn_scale_and_shift_is_undone(angle: float, scale: float) -> None:
    cos, sin = np.cos(np.radians(angle)) * scale, np.sin(np.radians(angle)) * scale
    points = PLACES @ np.array([[cos, sin], [-sin, cos]]) + (31, -17)
    matrix = placement(points.tolist())
    np.testing.assert_allclose(points @ matrix[:, :2].T + matrix[:, 2], PLACES, atol=1e-3)


def test_a_face_in_its_place_is_the_picture() -> None:
    picture = np.random.RandomState(3).randint(0, 256, (512, 512, 3)).astype(np.uint8)
    assert np.abs(cropped(picture, PLACES.tolist()).astype(int) - picture).mean() < 1


def test_what_lies_outside_is_grey() -> None:
    crop = cropped(np.zeros((200, 200, 3), np.uint8), (PLACES - 512).tolist())
    assert crop.shape == (512, 512, 3)
    assert (crop == OUTSIDE).all()


@pytest.mark.parametrize(
    ("points", "match"),
    [
        ([[5, 5]] * 5, "lie too near"),
        ([[1, 2]] * 4, "five points"),
        ([[1, 2, 3]] * 5, "five points"),
        ([[np.nan, 0]] * 5, "five points"),
    ],
)
def test_points_that_make_no_face_are_refused(points: list[list[float]], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        cropped(np.zeros((8, 8, 3), np.uint8), points)
