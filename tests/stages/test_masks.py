"""Mask tools on wires: ComfyUI's masks of every shape, alpha channels, batches, and what is no mask."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fooocus_stages.pipelines.errors import BadValue, UnknownName
from fooocus_stages.pipelines.stages import masks


@pytest.mark.parametrize("shape", [(6, 8), (1, 6, 8), (1, 1, 6, 8), (3, 6, 8), (3, 1, 6, 8)])
def test_masks_of_every_shape(shape: tuple[int, ...]) -> None:
    mask = torch.zeros(shape)
    mask[..., 2:4, 3:5] = 1
    rows = mask.reshape(-1, 6, 8)
    assert torch.equal(masks.invert(mask), 1 - rows)
    assert masks.grow(mask, 1).sum() == 4 * 4 * len(rows)
    assert masks.grow(mask, -1).sum() == 0


def test_a_picture_becomes_a_mask() -> None:
    picture = torch.tensor([[[[1, 0.49, 0], [1, 0.51, 0], [0.5, 0.5, 0.5]]]])
    assert masks.threshold(picture).tolist() == [[[0, 1, 0]]]
    assert masks.threshold(picture, level=126).tolist() == [[[1, 1, 1]]]
    assert masks.threshold(picture, like=torch.zeros(1, 4, 6, 3)).shape == (1, 4, 6)
    transparent = torch.cat([picture, torch.zeros(1, 1, 3, 1)], dim=-1)
    assert masks.threshold(transparent).tolist() == [[[1, 1, 1]]]


def test_a_soft_mask_becomes_a_clear_one() -> None:
    assert masks.threshold(torch.tensor([[0.0, 0.49, 0.51, 1.0]])).tolist() == [[[0, 0, 1, 1]]]


@pytest.mark.parametrize(
    ("how", "expected"), [("add", [0, 1, 1, 1]), ("intersect", [0, 0, 0, 1]), ("subtract", [0, 0, 1, 0])]
)
def test_two_masks(how: str, expected: list[int]) -> None:
    first, second = torch.tensor([[[0.0, 0, 1, 1]]]), torch.tensor([[[0.0, 1, 0, 1]]])
    assert masks.combine(first, second, how).tolist() == [[expected]]
    assert masks.combine(first.expand(3, 1, 4), second, how).shape == (3, 1, 4)


def test_two_masks_that_don_t_fit() -> None:
    with pytest.raises(BadValue, match="for 2 and 3 images"):
        masks.combine(torch.zeros(2, 4, 4), torch.zeros(3, 4, 4), "add")
    with pytest.raises(UnknownName, match="did you mean 'add'"):
        masks.combine(torch.zeros(2, 4, 4), torch.zeros(2, 4, 4), "addd")


def test_a_mask_of_another_size_is_resampled() -> None:
    mask = torch.zeros(1, 10, 10)
    mask[:, :, 5:] = 1
    fitted = masks.mask_for(mask, torch.zeros(2, 40, 60, 3))
    assert fitted.shape == (1, 40, 60)
    assert fitted.unique().tolist() == [0, 1]
    assert fitted[0, :, 32:].all()
    assert not fitted[0, :, :28].any()


@pytest.mark.parametrize("mask", [None, torch.zeros(1, 64, 64), torch.zeros(64, 64)])
def test_no_mask(mask: Any) -> None:
    assert not masks.mask_for(mask, torch.zeros(1, 8, 12, 3)).any()
    assert masks.mask_for(mask, torch.zeros(1, 8, 12, 3)).shape == (1, 8, 12)


def test_masks_of_another_count() -> None:
    with pytest.raises(BadValue, match="for 2 images and there are 3"):
        masks.mask_for(torch.zeros(2, 8, 12), torch.zeros(3, 8, 12, 3))


def test_a_picture_grows_by_its_border() -> None:
    image = torch.rand(2, 10, 20, 3)
    soft = torch.full((1, 10, 20), 0.25)
    grown, mask = masks.pad_out(image, soft, ["top", "left"])
    assert grown.shape == (2, 13, 26, 3)
    assert mask.shape == (1, 13, 26)
    assert torch.equal(grown[:, 3:, 6:], image)
    assert torch.equal(grown[:, 0, 6:], image[:, 0])
    assert torch.equal(grown[:, 3:, 0], image[:, :, 0])
    assert torch.equal(mask[:, 3:, 6:], soft)
    assert (mask[:, :3] == 1).all()
    assert (mask[:, :, :6] == 1).all()


@pytest.mark.parametrize("size", [(1, 1), (2, 3)])
def test_a_picture_of_few_pixels_grows(size: tuple[int, int]) -> None:
    image = torch.rand(1, *size, 3)
    assert masks.pad_out(image, None, ["left", "bottom"])[0].shape == (1, *size, 3)  # 30 % of it is no pixel
    assert masks.pad_out(image, None, ["left", "bottom"], pixels=9)[0].shape == (1, size[0] + 9, size[1] + 9, 3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sides": ["up"]}, "unknown side 'up'"),
        ({"sides": ["top"], "fraction": -0.5}, "can't grow by -0.5"),
        ({"sides": ["top"], "pixels": -5}, "can't grow by -5"),
    ],
)
def test_growth_that_is_none(given: dict[str, Any], message: str) -> None:
    with pytest.raises(BadValue, match=message):
        masks.pad_out(torch.rand(1, 4, 4, 3), None, **given)
