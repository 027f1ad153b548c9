"""The judges of hints: they recognise every shape, and tell matching edges from others."""

from __future__ import annotations

import numpy as np
import pytest
from fooocus_stages.pocket.training import draw, outlines


@pytest.mark.parametrize("pattern", draw.PATTERNS)
@pytest.mark.parametrize("shape", draw.SHAPES)
def test_a_drawn_shape_is_seen(shape, pattern):
    rng = np.random.default_rng(1)
    for size in draw.SIZES:
        scene = draw.Scene(shape, "red", "white", pattern, size, "left")
        assert outlines.shape_of(draw.draw(scene, rng)) == shape


def test_nothing_has_no_shape():
    assert outlines.shape_of(np.full((64, 64, 3), 90, np.uint8)) is None


def test_edges_agree_with_themselves_and_not_with_those_of_another_place():
    rng = np.random.default_rng(2)
    left = draw.draw(draw.Scene("circle", "red", "white", position="left"), rng)
    recoloured = np.where(left < 128, left + 40, left - 40).astype(np.uint8)
    right = draw.draw(draw.Scene("circle", "red", "white", position="right"), rng)
    assert outlines.agreement(left, left) == 1
    assert outlines.agreement(recoloured, left) > 0.95
    assert outlines.agreement(right, left) < 0.1


@pytest.mark.parametrize(("seen", "expected"), [("flat", 0.0), ("drawn", 1.0)])
def test_a_picture_without_edges_agrees_only_with_its_like(seen, expected):
    flat = np.full((64, 64, 3), 90, np.uint8)
    drawn = draw.draw(draw.Scene("star", "black", "white"), np.random.default_rng(3), 64, 64)
    pictures = {"flat": flat, "drawn": drawn}
    assert outlines.agreement(pictures[seen], drawn) == expected
    assert outlines.agreement(flat, flat) == 1
