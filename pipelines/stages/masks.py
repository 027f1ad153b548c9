"""Mask tools: masks (B, H, W) in 0…1, 1 = repaint, changed as uint8 as in Fooocus; see `preprocessors.masks`.

ComfyUI stands for a missing mask with an all-zero one, often of another size than the image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn.functional import pad

from ...preprocessors import masks
from ..errors import BadValue, chosen
from ..settings import MASK_COMBINATIONS, SIDES
from . import pictures

Combination = Callable[[Tensor, Tensor], Tensor]
_COMBINATIONS: tuple[Combination, ...] = (
    torch.maximum,
    torch.minimum,
    lambda first, second: torch.minimum(first, 1 - second),
)
COMBINE: Mapping[str, Combination] = MappingProxyType(dict(zip(MASK_COMBINATIONS, _COMBINATIONS, strict=True)))


def threshold(mask: Tensor, level: int = masks.LEVEL, like: Tensor | None = None) -> Tensor:
    """1 where a mask, or the mean of the channels of an image (B, H, W, 1, 3 or 4), is above `level` of 255, else 0.

    With `like`, images (B, H, W, C), it is resampled to their size first. Raises BadValue.
    """
    is_image = mask.ndim == 4 and mask.shape[-1] in pictures.CHANNELS
    parts = pictures.to_arrays(mask) if is_image else pictures.mask_to_arrays(mask)
    height, width = parts[0].shape[:2] if like is None else like.shape[1:3]
    return pictures.mask_from_arrays(masks.of_picture(part, height, width, level) for part in parts)


def combine(first: Tensor, second: Tensor, how: str) -> Tensor:
    """Two masks as one: their union, their intersection, or the first without the second.

    The second is resampled to the size of the first. Raises UnknownName, and BadValue for masks of different counts.
    """
    combined = COMBINE[chosen("way to combine masks", how, COMBINE)]
    first = pictures.checked_mask(first)
    second = fitted(second, *first.shape[1:])
    if len(first) != len(second) and 1 not in (len(first), len(second)):
        raise BadValue(f"the masks are for {len(first)} and {len(second)} images: connect one mask, or one per image")
    return combined(first, second)


def grow(mask: Tensor, amount: int) -> Tensor:
    """The mask grown by `amount` pixels in all directions; a negative amount shrinks it."""
    return pictures.mask_from_arrays(masks.erode_or_dilate(part, amount) for part in pictures.mask_to_arrays(mask))


def invert(mask: Tensor) -> Tensor:
    """The mask with repainted and kept areas exchanged."""
    return 1 - pictures.checked_mask(mask)


def pad_out(
    image: Tensor, mask: Tensor | None, sides: Sequence[str], fraction: float = masks.PAD, pixels: int = 0
) -> tuple[Tensor, Tensor]:
    """Images extended at the named sides by repeating their border, and a mask that is 1 in the new area.

    `sides`: any of 'left', 'top', 'right', 'bottom'. Each grows by a `fraction` (0…4) of the image's own width or
    height, or by `pixels` if that is above 0. Raises BadValue, and UnknownName for another side.
    """
    images = pictures.rgb(image)
    top, bottom, left, right = area = padding(images, sides, fraction, pixels)
    return extended(images, area), pad(mask_for(mask, images), (left, right, top, bottom), value=1.0)


def padding(images: Tensor, sides: Sequence[str], fraction: float = masks.PAD, pixels: int = 0) -> masks.Area:
    """Pixels to add at top, bottom, left and right; see `pad_out`."""
    named = frozenset(chosen("side", side, SIDES) for side in sides)
    if not 0 <= fraction <= 4 or pixels < 0:
        raise BadValue(f"an image can't grow by {pixels or fraction}: choose a fraction of 0 to 4, or pixels above 0")
    height, width = images.shape[1:3]
    return masks.pad_sizes(height, width, named, fraction, pixels)


def extended(images: Tensor, area: masks.Area) -> Tensor:
    """Images (B, H, W, 3) with that many pixels of their border repeated at top, bottom, left and right."""
    top, bottom, left, right = area
    return pad(images.movedim(-1, 1), (left, right, top, bottom), mode="replicate").movedim(1, -1)


def mask_for(mask: Tensor | None, image: Tensor) -> Tensor:
    """A mask of the size of images (B, H, W, C), one for all or one for each; zeros without one. Raises BadValue."""
    height, width = image.shape[1:3]
    if mask is None:
        return torch.zeros(1, height, width)
    fit = fitted(mask, height, width)
    if len(fit) not in (1, len(image)):
        raise BadValue(
            f"the mask is for {len(fit)} images and there are {len(image)}: connect one mask, or one per image"
        )
    return fit


def fitted(mask: Tensor, height: int, width: int) -> Tensor:
    """A mask of that size. One of another size is resampled and set to 1 above one half, as Fooocus's mask files are.

    Raises BadValue as `pictures.checked_mask`.
    """
    given = pictures.checked_mask(mask)
    if given.shape[1:] == (height, width):
        return given
    if not given.any():
        return torch.zeros(len(given), height, width)
    return pictures.mask_from_arrays(masks.of_picture(p, height, width) for p in pictures.mask_to_arrays(given))
