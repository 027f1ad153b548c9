"""Pictures through the autoencoder, whole or in tiles (Fooocus ldm_patched/modules/sd.py: VAE)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor

from ..errors import BadValue
from ..functional.tiles import tiled_decode, tiled_encode
from .handles import Vae

CELL = 8
log = logging.getLogger("fooocus_stages")


@torch.no_grad()
def encode(vae: Vae, image: Tensor, seed: int | None = None, tiled: bool = False, whole: bool = False) -> Tensor:
    """Pictures (B, H, W, 3) in 0…1 to raw latents (B, 4, H/8, W/8), float32, where the autoencoder is.

    Sides are cropped about the middle to multiples of 8, or, `whole`, handed over as they are. With `seed` the
    posterior is sampled, with float32 noise drawn on the CPU, for each picture as for one alone; without, its mean is
    taken. When memory runs out, tiles are used. Raises BadValue for a picture of less than 8 pixels a side.
    """
    pixels = centre_crop(image).movedim(-1, 1) * 2 - 1
    if not tiled:
        with _falling_back():
            return _encode_whole(vae, image.movedim(-1, 1) * 2 - 1 if whole else pixels, _noise(seed))
    return _encode_tiled(vae, pixels, seed)


@torch.no_grad()
def decode(vae: Vae, latents: Tensor, tiled: bool = False) -> Tensor:
    """Raw latents (B, 4, h, w) to pictures (B, 8h, 8w, 3) in 0…1, float32, where the autoencoder is.

    When memory runs out, tiles are used.
    """
    if not tiled:
        with _falling_back():
            return (_decode_whole(vae, latents) / 2 + 0.5).clamp(0, 1).movedim(1, -1)
    return tiled_decode(latents, lambda tiles: _decode_whole(vae, tiles)).movedim(1, -1)


@contextmanager
def _falling_back() -> Iterator[None]:
    """Swallow the error of any device that is out of memory, so that the caller goes on to tiles."""
    try:
        yield
    except RuntimeError as error:
        words = str(error).lower()
        if not any(hint in words for hint in ("out of memory", "not enough memory", "allocate memory")):
            raise
        log.info("the autoencoder is out of memory and goes on in tiles: %s", error)


def centre_crop(image: Tensor) -> Tensor:
    """Pictures (B, H, W, C) with sides cut about the middle to multiples of 8. Raises BadValue below 8 pixels."""
    height, width = (side // CELL * CELL for side in image.shape[1:3])
    if not height or not width:
        raise BadValue(
            f"a picture of {image.shape[2]}×{image.shape[1]} pixels is too small: its sides must be 8 or more"
        )
    top, left = image.shape[1] % CELL // 2, image.shape[2] % CELL // 2
    return image[:, top : top + height, left : left + width]


def _noise(seed: int | None) -> torch.Generator | None:
    return None if seed is None else torch.Generator("cpu").manual_seed(seed)


def _encode_tiled(vae: Vae, pixels: Tensor, seed: int | None) -> Tensor:
    """Each picture by itself, its tiles sampled one after another from the seed."""

    def one(picture: Tensor) -> Tensor:
        noise = _noise(seed)
        return tiled_encode(picture, lambda tiles: _encode_whole(vae, tiles, noise))

    return torch.cat([one(picture) for picture in torch.chunk(pixels, len(pixels))])


def _encode_whole(vae: Vae, pixels: Tensor, noise: torch.Generator | None) -> Tensor:
    """Pixels (B, 3, H, W) in −1…1 to latents; the noise is that of one picture, for all of them."""
    module: Any = vae.network.module
    posterior = module.encode(pixels.to(_parameter(vae))).latent_dist
    mean = cast(Tensor, posterior.mean).float()
    if noise is None:
        return mean
    drawn = torch.randn(mean.shape[1:], generator=noise).to(mean.device)
    return mean + cast(Tensor, posterior.std).float() * drawn


def _decode_whole(vae: Vae, latents: Tensor) -> Tensor:
    """Latents to pixels (B, 3, H, W), about −1…1, float32."""
    module: Any = vae.network.module
    return cast(Tensor, module.decode(latents.to(_parameter(vae)), return_dict=False)[0]).float()


def _parameter(vae: Vae) -> Tensor:
    """A weight, for its device and dtype."""
    return next(vae.network.module.parameters())
