"""The preview network: a small decoder for latents that are still being sampled.

Fooocus modules/core.py: VAEApprox, get_previewer.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import Conv2d
from torch.nn.functional import interpolate, leaky_relu, pad

from ..functional.latents import preview_uint8
from .weights.files import open_weights
from .weights.filling import build, fill, to_dtype
from .weights.key_names import Part

CHANNELS = (4, 8, 16, 32, 64, 32, 16, 8, 3)
KERNELS = (7, 5, 3, 3, 3, 3, 3, 3)
MARGIN = 11


class PreviewNetwork(nn.Module):
    """Decodes latents (B, 4, h, w) in the UNet's scale to images (B, 3, 2h, 2w) of about -1…1."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = [f"conv{i + 1}" for i in range(len(KERNELS))]
        for name, channels, kernel in zip(self.convolutions, pairwise(CHANNELS), KERNELS, strict=True):
            self.add_module(name, Conv2d(*channels, kernel))

    def forward(self, x: Tensor) -> Tensor:
        x = pad(interpolate(x, scale_factor=2.0), (MARGIN,) * 4)
        for name in self.convolutions:
            x = leaky_relu(self.get_submodule(name)(x), 0.1)
        return x


def load_preview(path: Path) -> PreviewNetwork:
    """Load a preview network, float32 on the CPU. Raises BadFile and MissingFile."""
    with open_weights(path) as weights:
        parts = {key: Part(key) for key in weights.shapes}
        return fill(build(PreviewNetwork), weights, parts, to_dtype(torch.float32), "the preview network")


@torch.no_grad()
def preview_image(network: PreviewNetwork, x0: Tensor) -> Tensor:
    """Decode the first latent of x0 (B, 4, h, w), in the UNet's scale, at quarter size: uint8 (2h, 2w, 3)."""
    weight = next(network.parameters())
    return preview_uint8(network(x0[:1].to(weight))[0])
