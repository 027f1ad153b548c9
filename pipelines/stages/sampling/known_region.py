"""The known region of a latent, which sampling leaves as it is: ComfyUI's `noise_mask`, applied as Fooocus does.

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
class KnownRegion:
    """A mask (1 or B, 1, h, w) in 0…1, 1 = repaint, and the latents known outside it."""

    mask: Tensor
    known: Known

    def reimposed(self, denoise: Denoise, form: LatentFormat, seeds: Sequence[int], device: torch.device) -> Denoise:
        """Wrap `denoise` so that each call sees the known region under fresh noise and returns it unchanged."""
        latents = form.scaled(self.known.latents.float()).to(device)
        streams = noise.energy_generators(seeds)
        shape = tuple(latents.shape[1:])
        mask = self.mask.to(device)
        return blend.known_region_reimposed(denoise, latents, mask, lambda: noise.draw(streams, shape).to(device))

    def head_output(self, model: Model, form: LatentFormat) -> Tensor | None:
        """Return the output (1 or B, C, h, w) of the model's inpaint head; None without an inpaint engine."""
        if model.inpaint is None:
            return None
        if self.known.masked is None:
            raise BadValue(
                f"the latent was encoded without an inpaint engine and the model has {model.inpaint.name}: connect the "
                "model of Fooocus Inpaint Model to Fooocus Inpaint Encode too"
            )
        masked = form.scaled(self.known.masked.float())
        rows = max(len(self.mask), len(masked))
        mask, masked = (tensor.expand(rows, *tensor.shape[1:]) for tensor in (self.mask, masked))
        return inpaint_patch.feature(model.inpaint.head, mask, masked)

    def for_refiner(self, network: interposer.Interposer | None) -> KnownRegion:
        """Return the region in the refiner's latents: encoded for it, or else converted by the interposer."""
        if self.known.swapped is not None:
            return replace(self, known=Known(self.known.swapped))
        if network is None:
            return self
        return replace(self, known=Known(interposer.convert(network, self.known.latents).to(self.known.latents)))


def known_region_of(latent: Latent, samples: Tensor, model: Model) -> KnownRegion | None:
    """Return the known region of a latent, or None for one without a mask.

    Latents that were not encoded for inpainting are known from their own samples (B, C, h, w), and an inpaint head
    reads those, as ComfyUI's VAE Encode (for Inpainting) prepares them. Raises BadValue when the batch or the size of
    mask and known latents does not match, and for an inpaint engine without a mask.
    """
    if latent.get(LATENT_MASK) is None:
        if model.inpaint is not None:
            raise BadValue(
                f"the model has the inpaint engine {model.inpaint.name} and the latent has no mask: connect the latent "
                "of Fooocus Inpaint Encode, or choose the engine None"
            )
        return None
    known: Known = latent.get(LATENT_KNOWN) or Known(samples, masked=samples)
    for tensor in (known.latents, known.masked, known.swapped):
        if tensor is not None and (tensor.shape[-2:] != samples.shape[-2:] or len(tensor) not in (1, len(samples))):
            raise BadValue(
                f"the latent was encoded for inpainting as {tuple(tensor.shape)} and is {tuple(samples.shape)} now: "
                "encode the image at the size and batch size at which it is sampled"
            )
    return KnownRegion(latent_mask_of(latent[LATENT_MASK], samples), known)


def latent_mask_of(mask: Tensor, samples: Tensor) -> Tensor:
    """Resize a mask ((B,) (1,) H, W) in 0…1 to the latents, as ComfyUI does: (1 or B, 1, h, w). Raises BadValue."""
    height, width = mask.shape[-2:]
    rows = mask.reshape(-1, 1, height, width).cpu().float()
    if len(rows) not in (1, len(samples)):
        raise BadValue(
            f"the latent's noise mask has {len(rows)} rows and the latent has {len(samples)}: give one mask, or one "
            "for each"
        )
    if (height, width) == samples.shape[-2:]:
        return rows
    return interpolate(rows, size=samples.shape[-2:], mode="bilinear")
