"""Control hints: how much of each layer is added, and a picture in the size of the latents."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate


def layer_factors(layers: int, weight: float, softness: float) -> list[float]:
    """What each of a control network's outputs is multiplied by, the shallowest first, the middle block last.

    weight·(1 − softness·(1 − i/(n − 1))): the middle is never softened (Fooocus modules/patch.py:
    patched_cldm_forward). `softness` 0…1.
    """
    last = max(layers - 1, 1)
    return [weight * (1 - softness * (1 - i / last)) for i in range(layers)]


def centre_fitted(image: Tensor, height: int, width: int) -> Tensor:
    """Pictures (B, C, H, W) cut about the middle to the proportions of that size, then resized to it.

    Nearest pixel, counted from the centres of the pixels. One that has the size already stays as it is.
    """
    own_height, own_width = image.shape[-2:]
    if (own_height, own_width) == (height, width):
        return image
    ratio, wanted = own_width / own_height, width / height
    left = round((own_width - own_width * (wanted / ratio)) / 2) if ratio > wanted else 0
    top = round((own_height - own_height * (ratio / wanted)) / 2) if ratio < wanted else 0
    cut = image[..., top : own_height - top, left : own_width - left]
    return interpolate(cut, size=(height, width), mode="nearest-exact")


def total(parts: list[list[Tensor]], dtype: torch.dtype) -> list[Tensor]:
    """What several control networks add to each layer, summed in float32."""
    return [sum_of(layer).to(dtype) for layer in zip(*parts, strict=True)]


def sum_of(values: tuple[Tensor, ...]) -> Tensor:
    """The sum of tensors, in float32 when there are several."""
    return values[0] if len(values) == 1 else torch.stack([value.float() for value in values]).sum(dim=0)
