"""Encoding and decoding with the autoencoder, whole or in tiles (Fooocus ldm_patched/modules/sd.py: VAE)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor

from ..errors import BadValue
from ..functional.tiles import tiled_decode, tiled_encode
from .handles import Vae
from .weights.networks import VaeModule

CELL = 8
log = logging.getLogger("fooocus_stages")


@torch.no_grad()
def encode(vae: Vae, image: Tensor, seed: int | None = None, tiled: bool = False, whole: bool = False) -> Tensor:
    """Encode images (B, H, W, 3) in 0…1 to raw latents (B, 4, H/8, W/8), float32 on the autoencoder's device.

    Images are center-cropped to multiples of 8 unless `whole`. With a `seed` the posterior is sampled with float32
    noise from the CPU, the same for each image; without, its mean is returned. When memory runs out, tiles are used.
    Raises BadValue for an image with a side below 8 pixels.
    """
    pixels = centre_crop(image).movedim(-1, 1) * 2 - 1
    if not tiled:
        with _falling_back():
            return _encode_whole(vae, image.movedim(-1, 1) * 2 - 1 if whole else pixels, _noise(seed))
    return _encode_tiled(vae, pixels, seed)


@torch.no_grad()
def decode(vae: Vae, latents: Tensor, tiled: bool = False) -> Tensor:
    """Decode raw latents (B, 4, h, w) to images (B, 8h, 8w, 3) in 0…1, float32 on the autoencoder's device.

    When memory runs out, tiles are used.
    """
    if not tiled:
        with _falling_back():
            return (_decode_whole(vae, latents) / 2 + 0.5).clamp(0, 1).movedim(1, -1)
    return tiled_decode(latents, lambda tiles: _decode_whole(vae, tiles)).movedim(1, -1)


@contextmanager
def _falling_back() -> Iterator[None]:
    """Suppress out-of-memory errors of any device, so that the caller continues with tiles."""
    try:
        yield
    except RuntimeError as error:
        words = str(error).lower()
        if not any(hint in words for hint in ("out of memory", "not enough memory", "allocate memory")):
            raise
        log.info("the autoencoder is out of memory and continues in tiles: %s", error)


def centre_crop(image: Tensor) -> Tensor:
    """Center-crop images (B, H, W, C) to multiples of 8. Raises BadValue for a side below 8 pixels."""
    height, width = (side // CELL * CELL for side in image.shape[1:3])
    if not height or not width:
        raise BadValue(
            f"an image of {image.shape[2]}×{image.shape[1]} pixels is too small: its sides must be 8 or more"
        )
    top, left = image.shape[1] % CELL // 2, image.shape[2] % CELL // 2
    return image[:, top : top + height, left : left + width]


def _noise(seed: int | None) -> torch.Generator | None:
    return None if seed is None else torch.Generator("cpu").manual_seed(seed)


def _encode_tiled(vae: Vae, pixels: Tensor, seed: int | None) -> Tensor:
    """Encode each image by itself, sampling its tiles one after another from the seed."""

    def one(picture: Tensor) -> Tensor:
        noise = _noise(seed)
        return tiled_encode(picture, lambda tiles: _encode_whole(vae, tiles, noise))

    return torch.cat([one(picture) for picture in torch.chunk(pixels, len(pixels))])


def _encode_whole(vae: Vae, pixels: Tensor, noise: torch.Generator | None) -> Tensor:
    """Encode pixels (B, 3, H, W) in -1…1 to latents, with the same noise for each image."""
    posterior = cast(VaeModule, vae.network.module).encode(pixels.to(_parameter(vae))).latent_dist
    mean = posterior.mean.float()
    if noise is None:
        return mean
    drawn = torch.randn(mean.shape[1:], generator=noise).to(mean.device)
    return mean + posterior.std.float() * drawn


def _decode_whole(vae: Vae, latents: Tensor) -> Tensor:
    """Decode latents to pixels (B, 3, H, W) of about -1…1, float32."""
    module = cast(VaeModule, vae.network.module)
    return module.decode(latents.to(_parameter(vae)), return_dict=False)[0].float()


def _parameter(vae: Vae) -> Tensor:
    """Return a weight, for its device and dtype."""
    return next(vae.network.module.parameters())
