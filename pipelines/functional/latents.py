"""Latents: their scale, their size, their masks, and a quick look at them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d

CELL = 8  # pixels per latent cell


@dataclass(frozen=True)
class LatentFormat:
    """How raw VAE latents become the network's: (z − mean)·factor/std per channel."""

    factor: float
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def scaled(self, raw: Tensor) -> Tensor:
        """Raw VAE latents (B, 4, h, w) in the network's scale."""
        return (raw - self._channels(self.mean, raw)) * (self.factor / self._channels(self.std, raw))

    def raw(self, scaled: Tensor) -> Tensor:
        """The network's latents (B, 4, h, w) as the VAE decodes them."""
        return scaled * (self._channels(self.std, scaled) / self.factor) + self._channels(self.mean, scaled)

    @staticmethod
    def _channels(values: Sequence[float], like: Tensor) -> Tensor:
        return torch.tensor(values, dtype=like.dtype, device=like.device).view(1, -1, 1, 1)


SDXL = LatentFormat(0.13025)
SD15 = LatentFormat(0.18215)
PLAYGROUND = LatentFormat(0.5, mean=(-1.6574, 1.886, -1.383, 2.5155), std=(8.4927, 5.9022, 6.5498, 5.2299))


def latent_size(width: int, height: int) -> tuple[int, int]:
    """(h, w) in latent cells of a picture in pixels, rounded down."""
    return height // CELL, width // CELL


def to_uint8(image: Tensor) -> Tensor:
    """Pictures of any shape in 0…1 as uint8, cut off and not rounded, as Fooocus does: 0.999 is 254."""
    return (image * 255).clamp_(0, 255).to(torch.uint8)


def from_uint8(image: Tensor) -> Tensor:
    """uint8 pictures as float32 in 0…1."""
    return image.float() / 255


def over_white(image: Tensor) -> Tensor:
    """Pictures (B, H, W, 1, 3 or 4) in 0…1 as RGB (B, H, W, 3); what is transparent is laid over white."""
    if image.shape[-1] == 1:
        return image.expand(*image.shape[:-1], 3)
    if image.shape[-1] == 3:
        return image
    alpha = image[..., 3:]
    return image[..., :3] * alpha + (1 - alpha)


def grey_out(pixels: Tensor, mask: Tensor) -> Tensor:
    """Pictures (B, H, W, 3) in 0…1, grey where the mask (B, H, W) rounds to 1: what inpainting encodes."""
    repaint = mask.round()[..., None]
    return pixels * (1 - repaint) + 0.5 * repaint


def latent_mask(mask: Tensor) -> Tensor:
    """A mask (B, H, W) in 0…1, 1 = repaint, in latent cells: (B, 1, ⌊H/8⌋, ⌊W/8⌋). One pixel marks its cell."""
    height, width = mask.shape[-2] // CELL, mask.shape[-1] // CELL
    fitted = interpolate(mask.round()[:, None], size=(height * CELL, width * CELL), mode="bilinear").round()
    return max_pool2d(fitted, CELL).round()


# RGB in 0…1 of a unit of each latent channel, and of zero: the factors commonly used for SDXL previews, rounded.
RGB_OF_SDXL = ((0.18, 0.21, 0.22), (-0.13, 0.0, 0.05), (0.05, 0.06, -0.02), (-0.16, -0.12, -0.11))
RGB_OF_ZERO = (0.55, 0.49, 0.5)


def quick_rgb(x0: Tensor) -> Tensor:
    """A rough picture of SDXL's latents in the network's scale: (B, 4, h, w) -> (B, 3, h, w) in 0…1."""
    rgb = torch.einsum("bchw,cd->bdhw", x0.float(), x0.new_tensor(RGB_OF_SDXL, dtype=torch.float32))
    return (rgb + x0.new_tensor(RGB_OF_ZERO, dtype=torch.float32).view(1, 3, 1, 1)).clamp(0, 1)


def preview_uint8(decoded: Tensor) -> Tensor:
    """What the preview network gives for one picture, (3, H, W) about -1…1, as uint8 (H, W, 3)."""
    return (decoded.float() * 127.5 + 127.5).clamp(0, 255).to(torch.uint8).permute(1, 2, 0)


def batchable(lengths: Sequence[int]) -> bool:
    """Whether prompts of these token counts run as one batch: none has to be repeated more than four times."""
    return math.lcm(*lengths) // min(lengths) <= 4


def tiled_tokens(tokens: Sequence[Tensor]) -> list[Tensor]:
    """Token tensors (B, n, d), each repeated along n to the least common length.

    Softmax attention does not notice; padding with zeros would.
    """
    length = math.lcm(*(t.shape[1] for t in tokens))
    return [t.repeat(1, length // t.shape[1], 1) for t in tokens]
