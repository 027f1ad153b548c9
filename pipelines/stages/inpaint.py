"""Inpainting: part of an image is cropped, filled, encoded, sampled, and pasted back with a soft edge.

Fooocus modules/inpaint_worker.py: InpaintWorker; modules/async_worker.py: apply_inpaint, apply_outpaint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...preprocessors import inpaint_fill
from ...preprocessors import masks as shapes
from ..errors import BadValue, chosen
from ..functional.latents import from_uint8, grey_out, latent_mask, to_uint8
from ..host import Host
from ..models.handles import AnyVae, InpaintEngine, Model
from ..models.hints.inpaint_patch import load_head, load_patch
from ..settings import INPAINT_HEAD, INPAINT_MODES, INPAINT_PATCHES, NO_FILE, SIZE_OF_SDXL, InpaintMode
from ..types import LATENT_KNOWN, LATENT_MASK, InpaintRegion, Known, Latent, SamplingSettings, SwapMethod
from . import masks, pictures, sizes, upscale, vae
from .pictures import Masks
from .sampling import refiner
from .upscale import AnyUpscaler

KIND = "inpaint"
SMALLEST_CLASS = 64  # side of the smallest size class
FILL_ABOVE = 0.99  # strength above which nothing of the hole's content is left, so that it is filled


@dataclass(frozen=True)
class Prepared:
    """The inputs of an inpaint run; `filled` (B, h, w, 3) is the part that was encoded."""

    model: Model
    latent: Latent
    denoise: float
    region: InpaintRegion
    filled: Tensor


def with_engine(host: Host, model: Model, engine: str, at: float = 0.8, method: SwapMethod = "joint") -> Model:
    """Attach an inpaint engine to a model: the head and a patch, applied while a latent with a mask is sampled.

    A model without a refiner drops both after the fraction `at` (0…1) of the steps; 1 keeps them on. 'None' detaches
    an engine. Raises UnknownName, MissingFile, BadFile and BadValue.
    """
    engine = chosen("inpaint engine", engine, INPAINT_PATCHES)
    if not 0 <= at <= 1:
        raise BadValue(f"refiner_switch is {at}: choose a fraction of the steps between 0 and 1")
    if engine == NO_FILE:
        return replace(model, inpaint=None)
    head, patch = find_engine(host, engine, model.home)
    return replace(model, inpaint=InpaintEngine(engine, load_head(head, model), load_patch(patch, model), at, method))


def find_engine(host: Host, engine: str, home: Path | None = None) -> tuple[Path, Path]:
    """Find the head and the patch of an inpaint engine other than 'None'. Raises MissingFile."""
    return host.find(KIND, INPAINT_HEAD, home), host.find(KIND, INPAINT_PATCHES[engine], home)


def crop(
    host: Host,
    image: Tensor,
    mask: Tensor | None,
    respective_field: float = 0.618,
    model: Model | None = None,
    upscaler: AnyUpscaler | None = None,
) -> InpaintRegion:
    """The part of images (B, H, W, 3) around their mask (1 or B, H, W), in the size class that the model works in.

    The part is a square around the mask, grown to the fraction `respective_field` (0…1) of both sides; a batch has one
    part that holds all masks. The upscaler enlarges parts below the size class, which is 1024 without a model. Raises
    BadValue for an empty mask and for images too narrow.
    """
    images = pictures.rgb(image)
    return cut_out(
        host, images, pictures.mask_to_arrays(masks.mask_for(mask, images)), respective_field, model, upscaler
    )[0]


def cut_out(
    host: Host, images: Tensor, given: Masks, respective_field: float, model: Model | None, upscaler: AnyUpscaler | None
) -> tuple[InpaintRegion, Masks]:
    """The region of `crop`, and its mask as uint8 (1 or B, h, w)."""
    if not (given > shapes.LEVEL).any():
        raise BadValue("the mask is empty: paint over what is to be repainted, or choose a side to outpaint")
    try:
        top, bottom, left, right = area = shapes.area_of(given.max(axis=0), respective_field)
    except ValueError as error:
        raise BadValue(str(error)) from error
    native = model.native_size if model else SIZE_OF_SDXL
    part = in_working_size(host, images[:, top:bottom, left:right], native, upscaler)
    height, width = part.shape[1:3]
    holes = np.stack([shapes.of_picture(one, height, width) for one in given[:, top:bottom, left:right]])
    soft = pictures.mask_from_arrays(shapes.soft(one) for one in given)
    return InpaintRegion(images, area, soft, part, pictures.mask_from_arrays(holes)), holes


def in_working_size(host: Host, part: Tensor, native: int, upscaler: AnyUpscaler | None) -> Tensor:
    """Images resampled to the size class `native`, after the upscaler enlarged those below it.

    Raises BadValue for images too narrow.
    """
    height, width = part.shape[1:3]
    if sizes.size_class(height, width) < native:
        if upscaler is None:
            host.notice(
                f"the part to inpaint, {width}×{height} pixels, is enlarged by resampling only: connect an upscaler "
                "for more detail"
            )
        else:
            part = upscale.enlarge(host, upscaler, part)
    try:
        return sizes.to_size_class(part, native)
    except BadValue:
        if height * width >= SMALLEST_CLASS**2:
            raise
        return sizes.to_size_class(of_smallest_class(part), native)


def of_smallest_class(part: Tensor) -> Tensor:
    """Images of a few pixels enlarged to the area of 64×64, from which sizes in steps of 64 can grow."""
    height, width = part.shape[1:3]
    scale = SMALLEST_CLASS / (height * width) ** 0.5
    return sizes.resample(part, max(round(height * scale), 1), max(round(width * scale), 1))


def fill(image: Tensor, mask: Tensor) -> Tensor:
    """Images (B, H, W, 3) with their holes filled from the surroundings.

    `mask`: (1 or B, H, W), 1 = hole. Raises BadValue for masks of another count.
    """
    images = pictures.rgb(image)
    return filled_holes(images, pictures.mask_to_arrays(masks.mask_for(mask, images)))


def filled_holes(images: Tensor, holes: Masks) -> Tensor:
    """Images (B, H, W, 3) filled where their mask, uint8 (1 or B, H, W), is set."""
    arrays = pictures.to_arrays(images)
    return pictures.from_arrays(inpaint_fill.fill(one, holes[i % len(holes)]) for i, one in enumerate(arrays))


def encode(
    host: Host,
    model: Model,
    autoencoder: AnyVae,
    region: InpaintRegion,
    settings: SamplingSettings,
    strength: float = 1.0,
    filled: Tensor | None = None,
    initial_latent: bool = True,
    seed: int | None = 0,
) -> Latent:
    """Encode a region as a latent to be sampled at `strength` (above 0, up to 1), with its mask and known latents.

    `filled` (B, h, w, 3) replaces the region's own crop. Without `initial_latent` the samples are zeros. The VAE is
    that of the model which runs; both are used if an SD 1.5 refiner takes over. Raises BadValue.
    """
    if not 0 < strength <= 1:
        raise BadValue(f"strength is {strength}: choose a value above 0, up to 1")
    chosen = refiner.encoding_vae(autoencoder, model, settings, strength)
    picture = region.crop if filled is None else filled
    latent = vae.encode(host, chosen, picture, seed)
    masked = swapped = None
    if model.inpaint is not None:
        masked = vae.encode(host, chosen, grey_out(region.crop, region.mask), seed, whole=True)["samples"]
    if autoencoder.refiner is not None and refiner.route(model, settings, strength) == "vae":
        swapped = vae.encode(host, autoencoder.refiner, picture, seed)["samples"]
    known = Known(latent["samples"], masked, swapped)
    samples = known.latents if initial_latent else torch.zeros_like(known.latents)
    return {**latent, "samples": samples, LATENT_MASK: latent_mask(region.mask), LATENT_KNOWN: known}


def paste(image: Tensor, region: InpaintRegion) -> Tensor:
    """Paste sampled parts (N, h, w, 3) into their images, blended by the soft mask: (N, H, W, 3).

    Pixels where the soft mask is 0 are left bit-identical. Raises BadValue for another number of parts than images.
    """
    parts = pictures.rgb(image)
    if len(region.image) not in (1, len(parts)):
        raise BadValue(f"there are {len(parts)} images to paste into {len(region.image)}: connect one part per image")
    original = region.image.expand(len(parts), -1, -1, -1)
    top, bottom, left, right = region.area
    before = to_uint8(original).float()
    pasted = before.clone()
    pasted[:, top:bottom, left:right] = to_uint8(sizes.resample(parts, bottom - top, right - left))
    weight = region.soft[..., None]
    blended = pasted * weight + before * (1 - weight)
    return torch.where(weight > 0, from_uint8(blended.to(torch.uint8)), original)


def with_additional(text: str, additional: str) -> str:
    """The prompt after an additional one, whose line becomes the main line; blank texts are left out, as in Fooocus."""
    return "\n".join(part for part in (additional, text) if part)


def inpaint(
    host: Host,
    image: Tensor,
    mask: Tensor | None,
    model: Model,
    autoencoder: AnyVae,
    settings: SamplingSettings,
    mode: str,
    override: InpaintMode | None = None,
    sides: Sequence[str] = (),
    erode_or_dilate: int = 0,
    invert_mask: bool = False,
    upscaler: AnyUpscaler | None = None,
    seed: int = 0,
) -> Prepared:
    """Prepare an inpaint run in one of Fooocus's modes, up to the sampler.

    The mask is changed, the image extended at `sides`, cropped, filled and encoded, and the mode's engine attached.
    Raises as these steps do.
    """
    chosen, sides = mode_of(host, mode, override, sides)
    images = pictures.rgb(image)
    area = pictures.mask_to_arrays(masks.mask_for(mask, images))
    area = np.stack([shapes.erode_or_dilate(one, erode_or_dilate) for one in area])
    area = 255 - area if invert_mask else area
    top, bottom, left, right = padding = masks.padding(images, sides)
    images = masks.extended(images, padding)
    area = np.pad(area, ((0, 0), (top, bottom), (left, right)), constant_values=255)
    region, holes = cut_out(host, images, area, chosen.respective_field, model, upscaler)
    filled = filled_holes(region.crop, holes) if chosen.strength > FILL_ABOVE else region.crop
    model = with_engine(host, model, chosen.engine)
    latent = encode(host, model, autoencoder, region, settings, chosen.strength, filled, chosen.initial_latent, seed)
    return Prepared(model, latent, chosen.strength, region, filled)


def mode_of(
    host: Host, name: str, override: InpaintMode | None, sides: Sequence[str]
) -> tuple[InpaintMode, Sequence[str]]:
    """The settings of a mode and the sides at which it extends images; `override` replaces all settings.

    Outpainting works at strength 1 on the whole image, as Fooocus's interface promises. Raises UnknownName.
    """
    name = chosen("inpaint mode", name, INPAINT_MODES)
    if override is not None:
        return override, sides
    mode = INPAINT_MODES[name]
    if not sides:
        return mode, ()
    if not mode.outpaints:
        host.notice(f"the mode {name} does not outpaint, so the image keeps its size")
        return mode, ()
    return replace(mode, strength=1.0, respective_field=1.0), sides
