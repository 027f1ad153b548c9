"""Areas, masks and weights of regional conditioning."""

from __future__ import annotations

import pytest
import torch
from fooocus_stages.pipelines.functional import regions
from fooocus_stages.pipelines.functional.regions import Area


def test_an_area_is_feathered_inside_the_latent_only() -> None:
    weight = regions.weights((32, 64), Area(32, 20, 0, 44), None, 2.0)
    assert weight.shape == (1, 1, 32, 20)
    assert torch.allclose(weight[0, 0, 7], 2.0 * torch.tensor([0.2, 0.4, 0.6, 0.8, *[1.0] * 16]))


def test_a_mask_is_cropped_to_the_area_and_not_feathered() -> None:
    mask = torch.rand(2, 32, 64)
    weight = regions.weights((32, 64), Area(8, 9, 4, 5), mask, 0.5)
    assert torch.equal(weight, 0.5 * mask[:, None, 4:12, 5:14])


def test_fractions_of_any_size_are_at_least_one_cell() -> None:
    assert regions.fractional_area(0.5, 0.25, 0.5, 0.75, (32, 64)) == Area(16, 16, 16, 48)
    assert regions.fractional_area(0.0, 0.0, 0.0, 0.0, (32, 64)) == Area(1, 1, 0, 0)


def test_bounds_of_a_mask_have_a_least_size() -> None:
    mask = torch.zeros(2, 32, 64)
    assert regions.bounds(mask) == Area(8, 8, 0, 0)
    mask[0, 3, 5] = mask[1, 20, 10] = 1
    assert regions.bounds(mask) == Area(18, 8, 3, 5)


def test_overlapping_predictions_are_normalised() -> None:
    x = torch.zeros(1, 4, 8, 8)
    one, three = torch.ones(1, 1, 1, 1), torch.full((1, 1, 1, 1), 3.0)
    area = Area(4, 4, 2, 2)
    whole, part = torch.ones(1, 4, 8, 8), torch.full((1, 4, 4, 4), 5.0)
    mixed = regions.blended(x, [(Area(8, 8), one, whole), (area, three, part)])
    assert torch.allclose(area.crop(mixed), torch.tensor(4.0))
    assert mixed[..., 0, 0].tolist() == [[1.0] * 4]
    assert not x.any()


def test_nothing_covers_the_rest() -> None:
    x, area = torch.ones(1, 4, 8, 8), Area(4, 8)
    mixed = regions.blended(x, [(area, torch.ones(1, 1, 4, 8), torch.ones(1, 4, 4, 8))])
    assert mixed[..., :4, :].eq(1).all()
    assert mixed[..., 4:, :].eq(0).all()
    rest = regions.remaining(x, [(area, torch.full((1, 1, 4, 8), 1.5))])
    assert torch.equal(rest, 1 - mixed)


@pytest.mark.parametrize(("inner", "inside"), [(Area(4, 4, 2, 2), True), (Area(4, 8, 2, 2), False)])
def test_containment(inner: Area, inside: bool) -> None:
    assert Area(8, 8).contains(inner) is inside
