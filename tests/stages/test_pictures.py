"""Images and masks on wires: every float dtype, other shapes, alpha, and values that are none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from fooocus_stages.pipelines.errors import BadValue
from fooocus_stages.pipelines.stages import pictures
from fooocus_stages.preprocessors import geometry

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
EVERY_BYTE = np.arange(256, dtype=np.uint8).reshape(1, 256, 1).repeat(3, axis=2)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_byte_survives(dtype: torch.dtype) -> None:
    image = (torch.from_numpy(EVERY_BYTE).double() / 255).to(dtype)[None]
    (array,) = pictures.to_arrays(image)
    assert np.array_equal(array, EVERY_BYTE)
    assert np.array_equal(pictures.mask_to_arrays(image[..., 0])[0], EVERY_BYTE[..., 0])
    assert torch.equal(pictures.from_arrays([array]), pictures.rgb(image))
    assert pictures.rgb(image).dtype == torch.float32


def test_values_between_bytes_are_kept_and_truncated() -> None:
    between = torch.tensor([0.4999, 0.5, 0.9999, -1.0, 2.0]).reshape(1, 1, 5, 1)
    assert pictures.to_arrays(between)[0][0, :, 0].tolist() == [127, 127, 254, 0, 255]
    assert torch.equal(pictures.checked(between), between)
    half = torch.tensor([0.3333], dtype=torch.float16).reshape(1, 1, 1, 1)
    assert pictures.checked(half).item() == pytest.approx(half.item(), abs=2**-12)


def test_inputs_are_left_unchanged() -> None:
    image, mask = torch.full((1, 2, 2, 4), 0.7, dtype=torch.float16), torch.full((2, 2), 1.5)
    pictures.to_arrays(image)
    pictures.rgb(image)
    pictures.mask_to_arrays(mask)
    assert (image == torch.tensor(0.7, dtype=torch.float16)).all()
    assert (mask == 1.5).all()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels(channels: int) -> None:
    array = np.random.RandomState(1).randint(0, 256, (5, 7, channels)).astype(np.uint8)
    image = torch.from_numpy(array).float()[None] / 255
    assert np.array_equal(pictures.to_arrays(image)[0], geometry.as_rgb(array))
    assert pictures.rgb(image).shape == (1, 5, 7, 3)
    assert pictures.checked(image).shape == image.shape


def test_an_opaque_image_is_the_same_image() -> None:
    colours = torch.rand(1, 4, 5, 3)
    assert torch.equal(pictures.rgb(torch.cat([colours, torch.ones(1, 4, 5, 1)], dim=-1)), colours)


@pytest.mark.parametrize("count", [1, 3])
def test_each_image_is_changed(count: int) -> None:
    images = torch.rand(count, 4, 6, 3)
    turned = pictures.mapped(images, lambda array: array[:, ::-1])
    assert torch.equal(turned, pictures.mapped(images, lambda array: array).flip(2))


@pytest.mark.parametrize("shape", [(4, 4, 3), (1, 4, 4, 2), (1, 3, 4, 5), (0, 4, 4, 3), (1, 0, 4, 3), (1, 1, 4, 4, 3)])
def test_what_is_no_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadValue, match=r"a hint must be \(B, H, W, 3\), got .*: connect an IMAGE") as error:
        pictures.rgb(torch.zeros(shape), "a hint")
    assert str(shape) in str(error.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", DTYPES)
def test_values_that_are_no_numbers_are_refused(value: float, dtype: torch.dtype) -> None:
    image = torch.zeros(1, 2, 2, 3, dtype=dtype)
    image[0, 1, 1, 2] = value
    with pytest.raises(BadValue, match=r"NaN or infinity.*the node that made it"):
        pictures.to_arrays(image)


@pytest.mark.parametrize("dtype", [*DTYPES, torch.bool])
@pytest.mark.parametrize("shape", [(6, 8), (1, 6, 8), (1, 1, 6, 8), (3, 6, 8), (3, 1, 6, 8)])
def test_masks_of_every_shape(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    mask = torch.zeros(shape, dtype=dtype)
    mask[..., 2:4, 3:5] = 1
    assert torch.equal(pictures.checked_mask(mask), mask.reshape(-1, 6, 8).float())
    assert pictures.mask_to_arrays(mask).sum() == 255 * 4 * len(mask.reshape(-1, 6, 8))


@pytest.mark.parametrize("shape", [(8,), (2, 3, 6, 8), (1, 6, 8, 3), (0, 4, 4), (1, 0, 4)])
def test_what_is_no_mask_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadValue, match=r"a mask must be .*Fooocus Mask Threshold"):
        pictures.checked_mask(torch.zeros(shape))


def test_values_outside_a_mask_s_range_are_clamped() -> None:
    mask: Any = torch.tensor([[-1.0, 2.0, float("nan"), 0.4]])
    assert pictures.checked_mask(mask).tolist() == [[[0, 1, 0, pytest.approx(0.4)]]]


def test_every_alpha_comes_through() -> None:
    alpha = torch.arange(256) / 255  # LoadImage makes masks as 1 - alpha
    assert pictures.mask_to_arrays(1 - alpha[None, None])[0, 0].tolist() == list(range(255, -1, -1))
