"""The drawings: seeded, readable by the judge, and split into seen and unseen scenes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from fooocus_stages.pocket.training import draw

SIZES = [(128, 128), (112, 144), (144, 112), (88, 176), (72, 216)]


def test_the_same_seed_draws_the_same_picture_and_caption():
    first, second = (np.random.default_rng(5) for _ in range(2))
    for _ in range(20):
        a, b = draw.random_scene(first), draw.random_scene(second)
        assert a == b
        assert draw.caption(a, first) == draw.caption(b, second)
        assert np.array_equal(draw.draw(a, first), draw.draw(b, second))


def test_another_seed_draws_another_picture():
    scene = draw.Scene("star", "red", "blue")
    one, other = (draw.draw(scene, np.random.default_rng(seed)) for seed in (1, 2))
    assert one.shape == (128, 128, 3)
    assert one.dtype == np.uint8
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_judge_reads_what_was_drawn(height, width):
    rng = np.random.default_rng(11)
    scenes = [draw.random_scene(rng, unseen=i % 2 == 0) for i in range(100)]
    verdicts = [draw.judge(draw.draw(scene, rng, height, width)) for scene in scenes]
    for field in ("background", "colour", "position"):
        right = sum(getattr(v, field) == getattr(s, field) for v, s in zip(verdicts, scenes, strict=True))
        assert right >= 99, f"{field} at {width}×{height}: {right} of 100"


def test_the_judge_finds_no_shape_on_an_empty_picture():
    verdict = draw.judge(np.full((128, 128, 3), draw.COLOURS["green"], np.uint8))
    assert verdict == draw.Verdict("green", None, None)


def test_shape_and_background_always_differ():
    rng = np.random.default_rng(3)
    assert all(s.colour != s.background for s in (draw.random_scene(rng) for _ in range(500)))


def test_captions_of_the_unseen_split_never_appear_in_training():
    rng = np.random.default_rng(8)
    training = {draw.caption(draw.random_scene(rng), rng) for _ in range(8000)}
    unseen = {draw.caption(draw.random_scene(rng, unseen=True), rng, complete=True) for _ in range(1500)}
    assert not training & unseen


def test_a_complete_caption_names_the_four_words_that_make_the_split():
    rng = np.random.default_rng(4)
    for _ in range(300):
        scene = draw.random_scene(rng, unseen=True)
        words = draw.caption(scene, rng, complete=True)
        assert all(word in words for word in (scene.shape, scene.colour, scene.background))
        assert any(place in words for place in draw.PLACES[scene.position])


def test_about_one_twelfth_of_the_world_is_unseen():
    pairs = itertools.permutations(draw.COLOURS, 2)
    fields = itertools.product(draw.SHAPES, pairs, draw.PATTERNS, draw.SIZES, draw.POSITIONS)
    scenes = [draw.Scene(s, c, b, p, z, at) for s, (c, b), p, z, at in fields]
    assert len(scenes) == len(set(scenes)) == 6 * 56 * 3 * 3 * 5
    assert 0.06 < sum(map(draw.is_unseen, scenes)) / len(scenes) < 0.11
