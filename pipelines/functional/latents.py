"""Latents: scale, size, masks, and previews without a network."""

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
    """Scale of a network's latents: (z - mean)·factor/std per channel of raw VAE latents z."""

    factor: float
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def scaled(self, raw: Tensor) -> Tensor:
        """Scale raw VAE latents (B, 4, h, w) for the network."""
        return (raw - self._channels(self.mean, raw)) * (self.factor / self._channels(self.std, raw))

    def raw(self, scaled: Tensor) -> Tensor:
        """Scale the network's latents (B, 4, h, w) back for the VAE."""
        return scaled * (self._channels(self.std, scaled) / self.factor) + self._channels(self.mean, scaled)

    @staticmethod
    def _channels(values: Sequence[float], like: Tensor) -> Tensor:
        return torch.tensor(values, dtype=like.dtype, device=like.device).view(1, -1, 1, 1)


SDXL = LatentFormat(0.13025)
SD15 = LatentFormat(0.18215)
PLAYGROUND = LatentFormat(0.5, mean=(-1.6574, 1.886, -1.383, 2.5155), std=(8.4927, 5.9022, 6.5498, 5.2299))


def latent_size(width: int, height: int) -> tuple[int, int]:
    """Return (h, w) in latent cells for an image size in pixels, rounded down."""
    return height // CELL, width // CELL


def to_uint8(image: Tensor) -> Tensor:
    """Convert images in 0…1 of any shape to uint8. Truncates as Fooocus does: 0.999 becomes 254."""
    return (image * 255).clamp_(0, 255).to(torch.uint8)


def from_uint8(image: Tensor) -> Tensor:
    """Convert uint8 images to float32 in 0…1."""
    return image.float() / 255


def over_white(image: Tensor) -> Tensor:
    """Convert images (B, H, W, 1, 3 or 4) in 0…1 to RGB (B, H, W, 3), compositing transparency over white."""
    if image.shape[-1] == 1:
        return image.expand(*image.shape[:-1], 3)
    if image.shape[-1] == 3:
        return image
    alpha = image[..., 3:]
    return image[..., :3] * alpha + (1 - alpha)


def grey_out(pixels: Tensor, mask: Tensor) -> Tensor:
    """Fill images (B, H, W, 3) in 0…1 with gray where the mask (B, H, W) rounds to 1, for an inpaint engine."""
    repaint = mask.round()[..., None]
    return pixels * (1 - repaint) + 0.5 * repaint


def latent_mask(mask: Tensor) -> Tensor:
    """Convert a mask (B, H, W), 1 = repaint, to latent cells (B, 1, H // 8, W // 8). One pixel marks its cell."""
    height, width = mask.shape[-2] // CELL, mask.shape[-1] // CELL
    fitted = interpolate(mask.round()[:, None], size=(height * CELL, width * CELL), mode="bilinear").round()
    return max_pool2d(fitted, CELL).round()


RGB = tuple[float, float, float]


@dataclass(frozen=True)
class PreviewColors:
    """RGB in 0…1 that a unit of each latent channel, in the UNet's scale, adds to the color of the zero latent."""

    channels: tuple[RGB, RGB, RGB, RGB]
    zero: RGB


# The factors commonly used for SDXL and SD 1.5, rounded; those of the pocket model's two VAEs are a least-squares fit
# of decoded images (RMSE 0.035 and 0.038).
SDXL_COLORS = PreviewColors(
    ((0.18, 0.21, 0.22), (-0.13, 0.0, 0.05), (0.05, 0.06, -0.02), (-0.16, -0.12, -0.11)), (0.55, 0.49, 0.5)
)
SD15_COLORS = PreviewColors(
    ((0.18, 0.11, 0.16), (0.16, 0.25, 0.12), (-0.14, 0.09, 0.14), (-0.11, -0.13, -0.36)), (0.5, 0.5, 0.5)
)
POCKET_COLORS = PreviewColors(
    ((0.34, 0.03, 0.01), (0.03, 0.29, 0.02), (0.0, 0.03, 0.31), (-0.01, 0.0, 0.01)), (0.59, 0.48, 0.43)
)
POCKET_SD15_COLORS = PreviewColors(
    ((-0.24, 0.02, 0.09), (0.1, 0.01, 0.24), (-0.22, -0.31, -0.08), (0.11, -0.02, -0.18)), (0.58, 0.47, 0.43)
)


def quick_rgb(x0: Tensor, colors: PreviewColors = SDXL_COLORS) -> Tensor:
    """Estimate the image of latents (B, 4, h, w) in the UNet's scale: (B, 3, h, w) in 0…1."""
    rgb = torch.einsum("bchw,cd->bdhw", x0.float(), x0.new_tensor(colors.channels, dtype=torch.float32))
    return (rgb + x0.new_tensor(colors.zero, dtype=torch.float32).view(1, 3, 1, 1)).clamp(0, 1)


def preview_uint8(decoded: Tensor) -> Tensor:
    """Convert one output of the preview network, (3, H, W) of about -1…1, to uint8 (H, W, 3)."""
    return (decoded.float() * 127.5 + 127.5).clamp(0, 255).to(torch.uint8).permute(1, 2, 0)


def batchable(lengths: Sequence[int]) -> bool:
    """Return True when prompts of these token counts can run as one batch, each repeated at most four times."""
    return math.lcm(*lengths) // min(lengths) <= 4


def tiled_tokens(tokens: Sequence[Tensor]) -> list[Tensor]:
    """Repeat each tensor of tokens (B, n, d) along n to their least common multiple.

    Repetition does not change softmax attention; padding with zeros would.
    """
    length = math.lcm(*(t.shape[1] for t in tokens))
    return [t.repeat(1, length // t.shape[1], 1) for t in tokens]
