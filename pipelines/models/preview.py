"""What a latent will look like, while it is sampled: a small network if its file is there, else fixed colours.

Fooocus modules/core.py: VAEApprox, get_previewer.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu, pad

from ..errors import BadFile, MissingFile
from ..functional.latents import preview_uint8, quick_rgb, to_uint8
from ..host import Host
from ..types import Family, Model
from .files import open_weights
from .filling import build, fill, to_dtype
from .names import Part

KIND = "vae_approx"
FILES: dict[Family, tuple[str, ...]] = {
    "sdxl": ("xlvaeapp.pth",),
    "sdxl-refiner": ("xlvaeapp.pth",),
    "sd15": ("vaeapp_sd15.pth", "vaeapp_sd15.pt"),
}
CHANNELS = (4, 8, 16, 32, 64, 32, 16, 8, 3)
KERNELS = (7, 5, 3, 3, 3, 3, 3, 3)
MARGIN = 11


class PreviewNetwork(nn.Module):
    """Latents (B, 4, h, w) in the UNet's scale to pictures (B, 3, 2h, 2w), about −1…1."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = [f"conv{i + 1}" for i in range(len(KERNELS))]
        for name, channels, kernel in zip(self.convolutions, pairwise(CHANNELS), KERNELS, strict=True):
            self.add_module(name, nn.Conv2d(*channels, kernel))

    def forward(self, x: Tensor) -> Tensor:
        x = pad(interpolate(x, scale_factor=2.0), (MARGIN,) * 4)
        for name in self.convolutions:
            x = leaky_relu(self.get_submodule(name)(x), 0.1)
        return x


def load_preview(path: Path) -> PreviewNetwork:
    """The preview network of a file, float32 on the CPU. Raises BadFile, MissingFile."""
    with open_weights(path) as weights:
        parts = {key: Part(key) for key in weights.shapes}
        return fill(build(PreviewNetwork), weights, parts, to_dtype(torch.float32), "the preview network")


@torch.no_grad()
def picture(network: PreviewNetwork, x0: Tensor) -> Tensor:
    """The first latent of x0 (B, 4, h, w), in the UNet's scale, as a quarter-size picture: uint8 (2h, 2w, 3)."""
    weight = next(network.parameters())
    return preview_uint8(network(x0[:1].to(weight))[0])


def viewer(host: Host, model: Model) -> Callable[[Tensor], Image.Image]:
    """How previews of that model's latents are made. Nothing is read before the first look; a preview file that
    can't be used is noticed once, and previews go on without it."""

    @cache
    def network() -> PreviewNetwork | None:
        for name in FILES[model.family]:
            try:
                return load_preview(host.find(KIND, name, model.home))
            except MissingFile:
                continue
            except BadFile as error:
                host.notice(f"previews are rough: {error}")
        return None

    def look(x0: Tensor) -> Image.Image:
        found = network()
        if found is None:
            pixels = to_uint8(quick_rgb(x0[:1])[0].permute(1, 2, 0))
        else:
            pixels = picture(found.to(x0.device), x0)
        return Image.fromarray(pixels.cpu().numpy())

    return look
