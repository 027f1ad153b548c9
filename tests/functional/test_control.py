"""Softened layers by the published numbers, and a picture fitted to the latents by plain counting."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fooocus_stages.pipelines.functional.control import centre_fitted, layer_factors, total


def test_the_published_softness() -> None:
    published = [0.75, 0.7778, 0.8056, 0.8333, 0.8611, 0.8889, 0.9167, 0.9444, 0.9722, 1.0]
    assert layer_factors(10, 1.0, 0.25) == pytest.approx(published, abs=5e-5)


@pytest.mark.parametrize("weight", [0.0, 0.7, 2.0])
def test_without_softness_all_layers_have_the_weight(weight: float) -> None:
    assert layer_factors(10, weight, 0.0) == [weight] * 10
    assert layer_factors(1, weight, 1.0)[-1] in (0.0, weight)


def test_the_middle_block_is_never_softened() -> None:
    assert [layer_factors(7, 0.5, softness)[-1] for softness in (0, 0.3, 1)] == [0.5] * 3
    assert layer_factors(7, 0.5, 1.0)[0] == 0


@pytest.mark.parametrize(
    ("size", "wanted", "rows", "columns"),
    [
        ((8, 8), (8, 8), (0, 8), (0, 8)),
        ((8, 16), (8, 8), (0, 8), (4, 12)),
        ((16, 8), (4, 4), (4, 12), (0, 8)),
        ((10, 10), (24, 8), (0, 10), (3, 7)),
        ((7, 13), (16, 16), (0, 7), (3, 10)),
        ((1, 1), (8, 24), (0, 1), (0, 1)),
    ],
)
def test_a_picture_is_cut_about_the_middle_and_resized(
    size: tuple[int, int], wanted: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    picture = torch.arange(size[0] * size[1] * 3.0).reshape(1, 3, *size)
    cut = picture[..., rows[0] : rows[1], columns[0] : columns[1]].numpy()
    nearest = [np.floor((np.arange(w) + 0.5) * n / w).astype(int) for w, n in zip(wanted, cut.shape[-2:], strict=True)]
    assert np.array_equal(centre_fitted(picture, *wanted).numpy(), cut[..., nearest[0][:, None], nearest[1]])


def test_several_networks_add_up_in_any_order() -> None:
    parts = [[torch.randn(2, 3), torch.randn(4)] for _ in range(3)]
    forward, backward = total(parts, torch.float32), total(parts[::-1], torch.float32)
    for i in range(2):
        torch.testing.assert_close(forward[i], sum(part[i] for part in parts))
        torch.testing.assert_close(forward[i], backward[i])
    assert total(parts[:1], torch.bfloat16)[0].dtype == torch.bfloat16
