"""What is known of a latent and stays as it is while the rest is sampled: ComfyUI's `noise_mask`, and Fooocus's way.

Fooocus modules/patch.py: patched_KSamplerX0Inpaint_forward; modules/inpaint_worker.py: InpaintWorker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ...errors import BadValue
from ...functional import blend, noise
from ...functional.latents import LatentFormat
from ...functional.stepping import Denoise
from ...models import interposer
from ...models.handles import Model
from ...models.hints import inpaint_patch
from ...types import LATENT_KNOWN, LATENT_MASK, Known, Latent


@dataclass(frozen=True)
class Hold:
    """A mask (1 or B, 1, h, w) in 0…1, 1 = repaint, and what is known."""

    mask: Tensor
    known: Known

    def around(self, denoise: Denoise, form: LatentFormat, seeds: Sequence[int], device: torch.device) -> Denoise:
        """`denoise` with the known region put back at every call, in noise of its own for each picture."""
        latents = form.scaled(self.known.latents.float()).to(device)
        streams = noise.energy_generators(seeds)
        shape = tuple(latents.shape[1:])
        return blend.holding(denoise, latents, self.mask.to(device), lambda: noise.draw(streams, shape).to(device))

    def feature(self, model: Model, form: LatentFormat) -> Tensor | None:
        """What the head of the model's inpaint engine adds (1 or B, C, h, w); None without an engine."""
        if model.inpaint is None:
            return None
        if self.known.masked is None:
            raise BadValue(
                f"the latent was encoded for no inpaint engine, and the model has {model.inpaint.name}: wire the model "
                "of Fooocus Inpaint Model into Fooocus Inpaint Encode too"
            )
        masked = form.scaled(self.known.masked.float())
        rows = max(len(self.mask), len(masked))
        sides = (tensor.expand(rows, *tensor.shape[1:]) for tensor in (self.mask, masked))
        return inpaint_patch.feature(model.inpaint.head, *sides)

    def swapped(self, network: interposer.Interposer | None) -> Hold:
        """The same for a refiner's latents: those that were encoded for it, or else converted."""
        if self.known.swapped is not None:
            return replace(self, known=Known(self.known.swapped))
        if network is None:
            return self
        return replace(self, known=Known(interposer.convert(network, self.known.latents).to(self.known.latents)))


def hold_of(latent: Latent, samples: Tensor, model: Model) -> Hold | None:
    """What of a latent stays; None for one without a mask.

    What is not told otherwise is known from the samples (B, C, h, w) themselves, and an engine's head reads those, as
    ComfyUI's VAE Encode (for Inpainting) makes them. Raises BadValue for a mask of another count or known latents of
    another size, and for an inpaint engine without a mask.
    """
    if latent.get(LATENT_MASK) is None:
        if model.inpaint is not None:
            raise BadValue(
                f"the model has the inpaint engine {model.inpaint.name} and the latent has no mask: take the latent of "
                "Fooocus Inpaint Encode, or choose the engine None"
            )
        return None
    known: Known = latent.get(LATENT_KNOWN) or Known(samples, masked=samples)
    for tensor in (known.latents, known.masked, known.swapped):
        if tensor is not None and (tensor.shape[-2:] != samples.shape[-2:] or len(tensor) not in (1, len(samples))):
            raise BadValue(
                f"the latent was encoded for inpainting as {tuple(tensor.shape)} and is {tuple(samples.shape)} now: "
                "encode the picture in the size and number that it is sampled in"
            )
    return Hold(cells(latent[LATENT_MASK], samples), known)


def cells(mask: Tensor, samples: Tensor) -> Tensor:
    """A mask ((B,) (1,) H, W) in 0…1 of any size as (1 or B, 1, h, w), resized as ComfyUI does. Raises BadValue."""
    height, width = mask.shape[-2:]
    rows = mask.reshape(-1, 1, height, width).cpu().float()
    if len(rows) not in (1, len(samples)):
        raise BadValue(f"the latent's mask is for {len(rows)} pictures, the latent holds {len(samples)}")
    if (height, width) == samples.shape[-2:]:
        return rows
    return interpolate(rows, size=samples.shape[-2:], mode="bilinear")
