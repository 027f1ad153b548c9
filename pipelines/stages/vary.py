"""Varying: an image resized for the model and encoded, to be sampled again (Fooocus async_worker.py: apply_vary)."""

from __future__ import annotations

from torch import Tensor

from ..errors import BadValue, chosen
from ..functional.latents import CELL
from ..host import Host
from ..models.handles import AnyVae, Model
from ..settings import VARY_STRENGTHS
from ..types import Latent, SamplingSettings
from . import pictures, sizes, vae
from .sampling import refiner

LARGEST = 2  # multiple of the side that the model was trained for


def vary(
    host: Host,
    model: Model,
    autoencoder: AnyVae,
    image: Tensor,
    settings: SamplingSettings,
    method: str,
    strength: float = 0.5,
    seed: int = 0,
) -> tuple[Latent, float, int, int]:
    """The latent of images (B, H, W, 3), the denoise strength, and width and height in pixels.

    Images of a size class outside 1024…2048 are resampled to its nearest end (for smaller models, from their own side
    to twice that). `strength` applies to the method 'custom'. The VAE is that of the model that will run, which may be
    an SD 1.5 refiner's. Raises UnknownName and BadValue.
    """
    denoise = strength_of(method, strength)
    pixels = pictures.rgb(image, "an image to vary")
    current = sizes.size_class(*pixels.shape[1:3])
    target = min(max(current, model.native_size), LARGEST * model.native_size)
    pixels = sizes.to_size_class(pixels, target)
    encoder = refiner.encoding_vae(autoencoder, model, settings, denoise)
    latent = vae.encode(host, encoder, pixels, seed)
    rows, columns = latent["samples"].shape[-2:]
    return latent, denoise, columns * CELL, rows * CELL


def strength_of(method: str, strength: float) -> float:
    """The denoise strength of a method, or `strength` for 'custom'. Raises UnknownName and BadValue."""
    used = VARY_STRENGTHS[chosen("vary method", method, VARY_STRENGTHS)] or strength
    if not 0 < used <= 1:
        raise BadValue(f"strength is {used}: choose a value above 0, up to 1")
    return used
