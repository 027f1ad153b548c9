"""Resizing pictures on a wire, (B, H, W, 3) in 0…1, by way of uint8 as Fooocus does; see `preprocessors.geometry`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...preprocessors import geometry
from ..errors import BadValue
from ..functional.latents import from_uint8, to_uint8


def size_class(height: float, width: float) -> int:
    """The side of the square of equal area, rounded up to a multiple of 64."""
    return geometry.size_class(height, width)


def resample(images: Tensor, height: int, width: int) -> Tensor:
    """The pictures stretched to that size with Lanczos."""
    return _each(images, lambda picture: geometry.resample(picture, width, height))


def to_size_class(images: Tensor, wanted: int) -> Tensor:
    """The pictures in the size that their proportions have in a size class. Raises BadValue for very narrow ones."""
    try:
        height, width = geometry.size_of_class(images.shape[1], images.shape[2], wanted)
    except ValueError as error:
        raise BadValue(f"{error}: cut it to a wider part first") from error
    return resample(images, height, width)


def _each(images: Tensor, change: Callable[[geometry.Picture], geometry.Picture]) -> Tensor:
    changed = [from_uint8(torch.from_numpy(change(to_uint8(image).cpu().numpy()))) for image in images]
    return changed[0][None] if len(changed) == 1 else torch.stack(changed)
