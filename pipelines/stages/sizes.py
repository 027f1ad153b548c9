"""Resizing images (B, H, W, 3) through uint8, as Fooocus does; see `preprocessors.geometry`."""

from __future__ import annotations

from torch import Tensor

from ...preprocessors import geometry
from ..errors import BadValue
from . import pictures


def size_class(height: float, width: float) -> int:
    """The side of the square of equal area, rounded up to a multiple of 64."""
    return geometry.size_class(height, width)


def resample(images: Tensor, height: int, width: int) -> Tensor:
    """The images stretched to that size with Lanczos."""
    return pictures.mapped(images, lambda array: geometry.resample(array, width, height))


def to_size_class(images: Tensor, target: int) -> Tensor:
    """The images in the size that their proportions have in a size class. Raises BadValue for very narrow ones."""
    return resample(images, *size_in_class(images.shape[1], images.shape[2], target))


def size_in_class(height: int, width: int, target: int) -> tuple[int, int]:
    """(height, width) to which images of that size are resampled for a size class. Raises BadValue if too narrow."""
    try:
        return geometry.size_of_class(height, width, target)
    except ValueError as error:
        raise BadValue(f"{error}: cut it to a wider part first") from error
