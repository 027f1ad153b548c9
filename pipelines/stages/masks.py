"""Mask tools: masks (B, H, W) in 0…1, 1 = repaint, by way of uint8 as in Fooocus; see `preprocessors.masks`.

An all-zero mask of another size than its picture is ComfyUI's way to say that there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from ...preprocessors import geometry, masks
from ..errors import BadValue, UnknownName
from ..functional.latents import from_uint8, over_white, to_uint8
from ..settings import MASK_COMBINATIONS, SIDES

WAYS: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    torch.maximum,
    torch.minimum,
    lambda first, second: torch.minimum(first, 1 - second),
)
COMBINE = dict(zip(MASK_COMBINATIONS, WAYS, strict=True))


def threshold(mask: Tensor, level: int = masks.LEVEL, like: Tensor | None = None) -> Tensor:
    """1 where a mask, or the mean of a picture's channels (B, H, W, 1, 3 or 4), is above `level` of 255, else 0.

    With `like`, pictures (B, H, W, C), it is resampled to their size first.
    """
    is_picture = mask.ndim == 4 and mask.shape[-1] in (1, 3, 4)
    parts = to_uint8(checked_picture(mask)).cpu().numpy() if is_picture else to_bytes(mask)
    height, width = parts.shape[1:3] if like is None else like.shape[1:3]
    return from_bytes([masks.of_picture(part, height, width, level) for part in parts])


def combine(first: Tensor, second: Tensor, how: str) -> Tensor:
    """Two masks as one: added, what they share, or the first without the second, which is resampled to its size.

    Raises UnknownName, and BadValue for masks of different counts.
    """
    if how not in COMBINE:
        raise UnknownName("way to combine masks", how, COMBINE)
    first, second = checked(first), fitted(second, *checked(first).shape[1:])
    if len(first) != len(second) and 1 not in (len(first), len(second)):
        raise BadValue(f"the masks are for {len(first)} and {len(second)} pictures: take one, or as many")
    return COMBINE[how](first, second)


def grow(mask: Tensor, amount: int) -> Tensor:
    """The mask grown by that many pixels to all sides, or shrunk when it is negative."""
    return from_bytes([masks.erode_or_dilate(part, amount) for part in to_bytes(mask)])


def invert(mask: Tensor) -> Tensor:
    """What was not repainted is."""
    return 1 - checked(mask)


def pad_out(
    image: Tensor, mask: Tensor | None, sides: Sequence[str], share: float = masks.PAD, pixels: int = 0
) -> tuple[Tensor, Tensor]:
    """Pictures continued to the sides named ('left', 'top', 'right', 'bottom') by their border, and a mask that is 1
    there.

    They grow by a share of their own width or height, or by that many pixels when it is above 0. Raises BadValue.
    """
    if unknown := [side for side in sides if side not in SIDES]:
        raise UnknownName("side", unknown[0], SIDES)
    if not 0 <= share <= 4 or pixels < 0:
        raise BadValue(f"a picture can't grow by {pixels or share}: choose a share of 0 to 4, or pixels above 0")
    pictures = checked_picture(image)
    height, width = pictures.shape[1:3]
    top, bottom, left, right = masks.pad_sizes(height, width, frozenset(sides), share, pixels)
    grown = (left, right, top, bottom)
    wider = pad(pictures.movedim(-1, 1), grown, mode="replicate").movedim(1, -1)
    return wider, pad(mask_for(mask, pictures), grown, value=1.0)


def mask_for(mask: Tensor | None, image: Tensor) -> Tensor:
    """A mask in the size of pictures (B, H, W, C), one or one each; zeros when there is none. Raises BadValue."""
    height, width = image.shape[1:3]
    if mask is None:
        return torch.zeros(1, height, width)
    fit = fitted(mask, height, width)
    if len(fit) not in (1, len(image)):
        raise BadValue(f"the mask is for {len(fit)} pictures and there are {len(image)}: take one mask, or one each")
    return fit


def fitted(mask: Tensor, height: int, width: int) -> Tensor:
    """A mask in that size: one of another is resampled and set above one half, as Fooocus does with a mask file."""
    given = checked(mask)
    if given.shape[1:] == (height, width):
        return given
    if not given.any():
        return torch.zeros(len(given), height, width)
    return from_bytes([masks.of_picture(part, height, width) for part in to_bytes(given)])


def checked(mask: Tensor) -> Tensor:
    """A mask ((B,) (1,) H, W) as (B, H, W) float32 in 0…1. Raises BadValue for what is none."""
    if mask.ndim not in (2, 3, 4) or not mask.numel() or (mask.ndim == 4 and mask.shape[1] != 1):
        raise BadValue(
            f"a mask must be (B, H, W), got {tuple(mask.shape)}: turn a picture into one with Fooocus Mask Threshold"
        )
    return mask.reshape(-1, *mask.shape[-2:]).float().cpu().nan_to_num().clamp(0, 1)


def checked_picture(image: Tensor) -> Tensor:
    """Pictures (B, H, W, 3), what is transparent over white. Raises BadValue for what is none."""
    if image.ndim != 4 or image.shape[-1] not in (1, 3, 4) or not image.numel():
        raise BadValue(f"a picture must be (B, H, W, 3), got {tuple(image.shape)}")
    return over_white(image)


def to_bytes(mask: Tensor) -> masks.Mask:
    """A mask as uint8 (B, H, W): rounded, since ComfyUI's are 1 − alpha and not exact."""
    values: masks.Mask = (checked(mask) * 255).round().to(torch.uint8).numpy()
    return values


def from_bytes(parts: Sequence[geometry.Picture]) -> Tensor:
    """uint8 masks (H, W) as one (B, H, W) in 0…1."""
    return from_uint8(torch.from_numpy(np.stack(parts)))
