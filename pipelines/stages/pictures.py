"""Checks and conversions of the images and masks that stages receive.

A stage takes images (B, H, W, 1, 3 or 4) and masks of any float dtype, on any device, and computes with float32 on the
CPU. Transparent pixels are composited over white. Conversions to and from uint8 follow Fooocus modules/core.py:
pytorch_to_numpy, numpy_to_pytorch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...preprocessors.geometry import Picture, as_rgb
from ..errors import BadValue
from ..functional.latents import from_uint8, over_white, to_uint8

Masks = NDArray[np.uint8]
"""Masks (B, H, W), 255 = repaint."""

CHANNELS = (1, 3, 4)
REMEDY = "check the node that made it"


def checked(image: Tensor, name: str = "an image") -> Tensor:
    """Images with their own channels. Raises BadValue for another shape, for no images, and for NaN and infinity."""
    if image.ndim != 4 or image.shape[-1] not in CHANNELS or not image.numel():
        raise BadValue(f"{name} must be (B, H, W, 3), got {tuple(image.shape)}: connect an IMAGE")
    if not image.isfinite().all():
        raise BadValue(f"{name} contains NaN or infinity: {REMEDY}")
    return as_float32(image)


def rgb(image: Tensor, name: str = "an image") -> Tensor:
    """Images as RGB (B, H, W, 3). Raises BadValue as `checked`."""
    return over_white(checked(image, name))


def to_arrays(image: Tensor, name: str = "an image") -> list[Picture]:
    """Images as uint8 RGB arrays (H, W, 3), composited in uint8 as Fooocus does. Raises BadValue as `checked`."""
    return [as_rgb(to_uint8(one).numpy()) for one in checked(image, name)]


def from_arrays(arrays: Iterable[Picture]) -> Tensor:
    """uint8 arrays of one size, (H, W) or (H, W, 1, 3 or 4), as images (B, H, W, 3)."""
    return from_uint8(_batch(as_rgb(array) for array in arrays))


def mapped(image: Tensor, change: Callable[[Picture], Picture], name: str = "an image") -> Tensor:
    """Images (B, H, W, 3) of which each was changed as a uint8 array. Raises BadValue as `checked`."""
    return from_arrays([change(array) for array in to_arrays(image, name)])


def checked_mask(mask: Tensor) -> Tensor:
    """A mask ((B,) (1,) H, W) as (B, H, W) in 0…1, NaN as 0. Raises BadValue for another shape."""
    if mask.ndim not in (2, 3, 4) or not mask.numel() or (mask.ndim == 4 and mask.shape[1] != 1):
        raise BadValue(
            f"a mask must be (B, H, W), got {tuple(mask.shape)}: turn an image into one with Fooocus Mask Threshold"
        )
    return as_float32(mask.reshape(-1, *mask.shape[-2:])).nan_to_num().clamp(0, 1)


def mask_to_arrays(mask: Tensor) -> Masks:
    """A mask as uint8 (B, H, W): rounded, because ComfyUI's masks are 1 - alpha and not exact."""
    values: Masks = (checked_mask(mask) * 255).round().to(torch.uint8).numpy()
    return values


def mask_from_arrays(arrays: Iterable[NDArray[np.uint8]]) -> Tensor:
    """uint8 masks (H, W) as one (B, H, W) in 0…1."""
    return from_uint8(_batch(arrays))


def as_float32(values: Tensor) -> Tensor:
    """Values in 0…1 as float32 on the CPU.

    k/255 is not exact in half precision, where truncation would turn the byte k into k - 1: a value that is the
    nearest to k/255 in its dtype becomes k/255.
    """
    exact = values.detach().cpu().float()
    if not values.is_floating_point() or torch.finfo(values.dtype).bits >= 32:
        return exact
    whole = (exact * 255).round() / 255
    return torch.where(whole.to(values.dtype).float() == exact, whole, exact)


def _batch(arrays: Iterable[NDArray[np.uint8]]) -> Tensor:
    """uint8 arrays (H, W, …) of one size as a tensor (B, H, W, …); a single one is not copied."""
    each = [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]
    return each[0][None] if len(each) == 1 else torch.stack(each)
