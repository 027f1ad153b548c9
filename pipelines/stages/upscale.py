"""Upscaling: by the super-resolution network alone, or followed by sampling at low strength.

Fooocus modules/upscaler.py: perform_upscale; modules/async_worker.py: apply_upscale.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor, nn

from ..errors import BadValue, chosen
from ..files import file_state
from ..functional.latents import CELL
from ..functional.tiles import tiled_scale
from ..host import Host, find_or_pocket
from ..models.handles import AnyVae, Hint, Info, Model
from ..models.protocols import UpscaleModel
from ..models.upscaler import Upscaler, bytes_per_cell, load_upscaler
from ..names import match_name
from ..settings import DEFAULT_UPSCALER, FAST_UPSCALES, PERFORMANCES, SIZE_OF_SDXL, UPSCALE_FACTORS
from ..types import Conditioning, SamplingSettings
from . import pictures, sizes, vae
from .sampling import refiner, sample

KIND = "upscale_models"
NAME = "an image to enlarge"
TILE, SMALLEST_TILE, OVERLAP = 512, 128, 32
STRENGTH = 0.382
LARGEST_SAMPLED = 2800  # the size class above which a picture is not sampled over, for a network of 1024
MOST_TILES_AT_ONCE = 16
OUT_OF_MEMORY = (torch.OutOfMemoryError if hasattr(torch, "OutOfMemoryError") else torch.cuda.OutOfMemoryError,)


AnyUpscaler: TypeAlias = Upscaler | UpscaleModel


@dataclass(frozen=True)
class Sampling:
    """The inputs for sampling the enlarged image."""

    model: Model
    vae: AnyVae
    positive: Conditioning
    negative: Conditioning
    settings: SamplingSettings
    seed: int = 0
    control: tuple[Hint, ...] = ()


def find(host: Host, name: str) -> Path:
    """Path of an upscaler. Raises MissingFile."""
    return find_or_pocket(host, KIND, name, DEFAULT_UPSCALER)


def load(host: Host, name: str) -> Upscaler:
    """Load an upscaler. Raises MissingFile and BadFile."""
    path = find(host, name)
    upscaler = host.keep_networks(("upscaler", *file_state(path)), lambda: load_upscaler(path))
    host.manage("upscaler", upscaler)
    return upscaler


def sampling_of(
    model: Model | None,
    autoencoder: AnyVae | None,
    positive: Conditioning | None,
    negative: Conditioning | None,
    settings: SamplingSettings | None,
    seed: int,
    control: tuple[Hint, ...] = (),
) -> Sampling | None:
    """The inputs of sampling, or None if one is missing."""
    if model is None or autoencoder is None or positive is None or negative is None or settings is None:
        return None
    return Sampling(model, autoencoder, positive, negative, settings, seed, control)


def enlarge(host: Host, upscaler: AnyUpscaler, image: Tensor, factor: float = 0.0) -> Tensor:
    """Images (B, H, W, 1, 3 or 4) enlarged by a network: (B, k·H, k·W, 3), float32 on the CPU.

    A `factor` above 0 resamples the result to that multiple of the images' own size. Raises BadValue for what is no
    image, and for a factor that leaves no pixel.
    """
    pixels = pictures.rgb(image, NAME)
    each = [_enlarged(host, upscaler, one) for one in pixels]
    large = each[0][None] if len(each) == 1 else torch.stack(each)
    if not factor:
        return large
    height, width = (int(side * factor) for side in pixels.shape[1:3])
    if min(height, width) < 1:
        raise BadValue(
            f"factor {factor} reduces {pixels.shape[2]}×{pixels.shape[1]} pixels to nothing: choose a larger"
        )
    return sizes.resample(large, height, width)


def upscale(
    host: Host,
    upscaler: AnyUpscaler,
    image: Tensor,
    method: str,
    factor: float = 2.0,
    strength: float = STRENGTH,
    steps: int = 0,
    sampling: Sampling | None = None,
) -> tuple[Tensor, Info | None]:
    """Images (B, H, W, 3) enlarged as Fooocus does, and how they were sampled; None if they were not.

    `factor` applies to the method 'custom'. The network enlarges first; the result is resampled to the factor, or to
    the size that the model was trained for if that is larger. It is then sampled at `strength` with `steps` (0: the
    performance mode's steps for upscaling) and decoded in tiles, unless the method is a fast one, the strength is 0,
    or the result is above the size class 2800. Raises BadValue and UnknownName.
    """
    native = sampling.model.native_size if sampling else SIZE_OF_SDXL
    pixels = pictures.rgb(image, NAME)
    height, width, size_class = enlarged_size(upscaler, pixels, method, factor, native)
    picture = sizes.resample(enlarge(host, upscaler, pixels), height, width)
    if not is_sampled(method, strength) or size_class > LARGEST_SAMPLED * native / SIZE_OF_SDXL:
        return picture, None
    if sampling is None:
        raise BadValue(f"{method} samples the image: connect model, VAE, both conditionings and settings")
    settings = replace(sampling.settings, steps=steps or upscale_steps(sampling.settings))
    return sampled_over(host, replace(sampling, settings=settings), picture, strength)


def sampled_size(
    upscaler: AnyUpscaler, image: Tensor, method: str, factor: float = 2.0, model: Model | None = None
) -> tuple[int, int]:
    """Width and height in pixels, multiples of 8, at which `upscale` samples images (B, H, W, 3).

    Control images are prepared at this size. Without a `model`, SDXL's size of 1024 is assumed. Raises as `upscale`.
    """
    native = model.native_size if model else SIZE_OF_SDXL
    height, width, _ = enlarged_size(upscaler, pictures.rgb(image, NAME), method, factor, native)
    return width // CELL * CELL, height // CELL * CELL


def enlarged_size(
    upscaler: AnyUpscaler, image: Tensor, method: str, factor: float, native: int
) -> tuple[int, int, int]:
    """Height and width in pixels of the enlarged images (B, H, W, 3), and their size class.

    Images that stay below the size class `native` at the factor are brought into that class; the factor then has no
    effect. Raises UnknownName, and BadValue for a factor out of range and for images that are too narrow.
    """
    used = factor_of(method, factor)
    height, width = image.shape[1] * used, image.shape[2] * used
    size_class = sizes.size_class(height, width)
    if size_class >= native:
        return int(height), int(width), size_class
    scale = _parts(upscaler)[2]
    return *sizes.size_in_class(round(image.shape[1] * scale), round(image.shape[2] * scale), native), native


def sampled_over(host: Host, what: Sampling, picture: Tensor, strength: float) -> tuple[Tensor, Info]:
    """Images encoded with the VAE of the model that runs, sampled at `strength` and decoded, in tiles."""
    encoder = refiner.encoding_vae(what.vae, what.model, what.settings, strength)
    latent = vae.encode(host, encoder, picture, what.seed, tiled=True)
    args = (what.model, what.positive, what.negative, latent, what.settings, what.seed)
    done = sample.sample(host, *args, denoise=strength, control=what.control)
    info = sample.sampling_info(what.model, what.positive, done, what.settings, what.seed)
    return vae.decode(host, what.vae, done, tiled=True), info


def is_sampled(method: str, strength: float) -> bool:
    """True if the method samples the enlarged image."""
    return match_name(method, FAST_UPSCALES) is None and strength > 0


def factor_of(method: str, factor: float) -> float:
    """The factor of a method, or `factor` for 'custom'. Raises UnknownName, and BadValue for a factor outside 1…8."""
    used = UPSCALE_FACTORS[chosen("upscale method", method, UPSCALE_FACTORS)] or factor
    if not 1 <= used <= 8:
        raise BadValue(f"factor is {used}: choose one from 1 to 8")
    return used


def upscale_steps(settings: SamplingSettings) -> int:
    """The performance mode's steps for upscaling, or the settings' own if they differ from the mode's."""
    mode = PERFORMANCES.get(settings.performance)
    return mode.upscale_steps if mode is not None and settings.steps == mode.steps else settings.steps


def _enlarged(host: Host, upscaler: AnyUpscaler, picture: Tensor) -> Tensor:
    """One image (H, W, 3) enlarged in tiles, in smaller ones each time memory runs out."""
    module, ask, scale = _parts(upscaler)
    patcher = None if module is upscaler else getattr(upscaler, "patcher", None)  # native ones carry theirs since 0.33
    device = host.load("upscaler", module, patcher=patcher)
    tile = TILE
    while True:
        try:
            return _tiled(host, picture, ask, scale, device, tile, _tiles_at_once(module, device, tile))
        except OUT_OF_MEMORY as error:
            tile //= 2
            if tile < SMALLEST_TILE:
                raise BadValue(
                    f"an image of {picture.shape[1]}×{picture.shape[0]} pixels does not fit into memory even in tiles "
                    f"of {SMALLEST_TILE}: free some, or enlarge a smaller one"
                ) from error


@torch.no_grad()
def _tiled(
    host: Host,
    picture: Tensor,
    ask: Callable[[Tensor], Tensor],
    scale: float,
    device: torch.device,
    tile: int,
    at_once: int,
) -> Tensor:
    done, total = 0, _count(picture.shape[0], tile) * _count(picture.shape[1], tile)

    def enlarged(tiles: Tensor) -> Tensor:
        nonlocal done
        host.check_interrupted()
        result = ask(tiles.to(device)).float().cpu()
        done += len(tiles)
        host.progress(done, total)
        return result

    pixels = picture.movedim(-1, 0)[None]
    return tiled_scale(pixels, enlarged, tile, tile, OVERLAP, scale, at_once)[0].clamp_(0, 1).movedim(0, -1)


def _count(side: int, tile: int) -> int:
    return len(range(0, side, tile - OVERLAP))


def _parts(upscaler: AnyUpscaler) -> tuple[nn.Module, Callable[[Tensor], Tensor], float]:
    """The module to load, the function to call with tiles, and the scale."""
    if isinstance(upscaler, Upscaler):
        return upscaler, upscaler, upscaler.scale
    return upscaler.model, upscaler, upscaler.scale


def _tiles_at_once(module: nn.Module, device: torch.device, tile: int) -> int:
    """Number of tiles that fit into the device's free memory; 1 if that is unknown."""
    if device.type != "cuda" or not isinstance(module, Upscaler):
        return 1
    free = torch.cuda.mem_get_info(device)[0]
    return int(max(1, min(MOST_TILES_AT_ONCE, free // (2 * tile**2 * bytes_per_cell(module)))))
