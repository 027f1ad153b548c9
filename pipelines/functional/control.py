"""Control hints: the factor of each layer, and the image at the size of the latents."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate


def layer_factors(layers: int, weight: float, softness: float) -> list[float]:
    """Return the factor of each output of a control network, the shallowest first, the middle block last.

    weight·(1 - softness·(1 - i/(n - 1))): the middle block is never softened (Fooocus modules/patch.py:
    patched_cldm_forward). `softness` 0…1.
    """
    last = max(layers - 1, 1)
    return [weight * (1 - softness * (1 - i / last)) for i in range(layers)]


def centre_fitted(image: Tensor, height: int, width: int) -> Tensor:
    """Center-crop images (B, C, H, W) to the aspect ratio of `height` and `width`, then resize them to that size.

    Takes the nearest pixel by pixel centers. Images of that size are returned unchanged.
    """
    own_height, own_width = image.shape[-2:]
    if (own_height, own_width) == (height, width):
        return image
    ratio, target = own_width / own_height, width / height
    left = round((own_width - own_width * (target / ratio)) / 2) if ratio > target else 0
    top = round((own_height - own_height * (ratio / target)) / 2) if ratio < target else 0
    cut = image[..., top : own_height - top, left : own_width - left]
    return interpolate(cut, size=(height, width), mode="nearest-exact")


def total(parts: list[list[Tensor]], dtype: torch.dtype) -> list[Tensor]:
    """Return the sum of the outputs of several control networks for each layer, computed in float32."""
    return [sum_of(layer).to(dtype) for layer in zip(*parts, strict=True)]


def sum_of(values: tuple[Tensor, ...]) -> Tensor:
    """Return the sum of tensors, in float32 when there are several."""
    return values[0] if len(values) == 1 else torch.stack([value.float() for value in values]).sum(dim=0)
