"""Images to latents and back (Fooocus modules/core.py: encode_vae, decode_vae)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import BadValue
from ..host import Host
from ..models import vae as vaes
from ..models.handles import AnyVae, HostVae, Vae
from ..models.protocols import ImageVae, SeededVae, TiledImageVae
from ..models.weights.soundness import require_finite
from ..types import LATENT_FAMILY, Family, Latent
from . import pictures

NOT_TILED = "the VAE has no tiles of its own, so the image is processed whole"
CHANNELS = 4
BYTES_PER_PIXEL = 2 * 1024  # of activations, per pixel and byte of the dtype


def decode(host: Host, vae: AnyVae | ImageVae, latent: Latent, tiled: bool = False) -> Tensor:
    """Images (B, H, W, 3), 0…1, float32 on the CPU, from a latent's `samples`.

    A latent that a refiner finished is decoded with the refiner's VAE, if it has its own. Raises BadValue for a latent
    of another shape or another family's VAE, and BadFile or BadValue if the result is NaN or infinity.
    """
    if isinstance(vae, Vae | HostVae):
        vae = of_family(vae, latent.get(LATENT_FAMILY, vae.family))
    if not isinstance(vae, Vae):
        network = vae.network if isinstance(vae, HostVae) else vae
        return decoded_natively(host, network, latent["samples"], tiled)
    samples = checked_samples(latent)
    device = ready(host, vae, pixels=64 * samples.shape[-2] * samples.shape[-1])
    picture = vaes.decode(vae, samples.to(device, torch.float32), tiled).cpu()
    return require_finite(picture, "the decoded picture", [(vae.name, vae.network.module)], "decode in float32")


def checked_samples(latent: Latent) -> Tensor:
    """The latent's samples (B, 4, h, w). Raises BadValue for another shape, NaN and infinity."""
    samples: Tensor = latent["samples"]
    if samples.ndim != 4 or samples.shape[1] != CHANNELS or not samples.numel():
        raise BadValue(
            f"the latent has the shape {tuple(samples.shape)}, the VAE takes (B, {CHANNELS}, h, w): connect one of "
            "SDXL or SD 1.5"
        )
    if not samples.isfinite().all():
        raise BadValue("the latent contains NaN or infinity: check the node that made it")
    return samples


def encode(
    host: Host,
    vae: AnyVae | ImageVae,
    image: Tensor,
    seed: int | None = 0,
    tiled: bool = False,
    whole: bool = False,
) -> Latent:
    """The latent of images (B, H, W, 3 or 4), 0…1, center-cropped to multiples of 8 unless `whole`.

    The posterior is sampled with noise of `seed`; None takes its mean. (Fooocus uses the global generator in whatever
    state it is.) Raises BadValue for images with a side below 8 pixels.
    """
    if image.ndim != 4 or image.shape[-1] < 3 or min(image.shape[1:3]) < 8 or not len(image):
        raise BadValue(f"an image to encode must be (B, H, W, 3) with sides of 8 or more, got {tuple(image.shape)}")
    pixels = pictures.rgb(image, "an image to encode")
    if isinstance(vae, HostVae):
        network = vae.network
        samples = encoded_natively(host, network, pixels, True) if tiled else network.encode(pixels, seed)
        return {"samples": samples} | ({LATENT_FAMILY: vae.family} if vae.family == "sd15" else {})
    if not isinstance(vae, Vae):
        if seed:
            host.notice("ComfyUI's VAE encodes the mean of its latent distribution, so the seed has no effect")
        return {"samples": encoded_natively(host, vae, pixels, tiled)}
    device = ready(host, vae, pixels=pixels.shape[1] * pixels.shape[2])
    return {"samples": vaes.encode(vae, pixels.to(device), seed, tiled, whole).cpu(), LATENT_FAMILY: vae.family}


def decoded_natively(host: Host, vae: ImageVae | SeededVae, samples: Tensor, tiled: bool) -> Tensor:
    """Decode samples with a VAE of ComfyUI, in its own tiles if it has them."""
    if tiled and isinstance(vae, TiledImageVae):
        return vae.decode_tiled(samples)
    if tiled:
        host.notice(NOT_TILED)
    return vae.decode(samples)


def encoded_natively(host: Host, vae: ImageVae | SeededVae, pixels: Tensor, tiled: bool) -> Tensor:
    """Encode images with a VAE of ComfyUI, in its own tiles if it has them."""
    if tiled and isinstance(vae, TiledImageVae):
        return vae.encode_tiled(pixels)
    if tiled:
        host.notice(NOT_TILED)
    return vae.encode(pixels)


def of_family(vae: AnyVae, family: Family) -> AnyVae:
    """The VAE, or its refiner's, whose latents are of that family. Raises BadValue if neither's are."""
    for one in (vae, vae.refiner):
        if one is not None and one.family == family:
            return one
    raise BadValue(
        f"the latent is for a VAE of {family}, but the connected VAE is for {vae.family}: use the VAE that Fooocus "
        "Refiner Switch gives"
    )


def ready(host: Host, vae: Vae, pixels: int) -> torch.device:
    """Load the autoencoder on its device, with memory for the activations of that many pixels."""
    itemsize = next(vae.network.module.parameters()).element_size()
    return host.load("vae", vae.network.module, memory=pixels * BYTES_PER_PIXEL * itemsize)
