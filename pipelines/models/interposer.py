"""The latent interposer, which converts SDXL latents to SD 1.5 latents (Fooocus extras/vae_interpose.py)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import Conv2d
from torch.nn.functional import batch_norm, relu

from ..errors import BadFile
from .weights.files import open_weights
from .weights.filling import build, derive_for_file, fill, to_dtype
from .weights.key_names import Part

CHANNELS = 4
COUNTER = ".num_batches_tracked"  # of training; nothing reads it


class Norm(nn.Module):
    """Batch normalisation by the statistics of training."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = self.get_buffer("running_mean"), self.get_buffer("running_var")
        return batch_norm(x, mean, variance, self.weight, self.bias)


class Head(nn.Module):
    """relu(long(x) + short(x)), from latent channels to `width`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.short = _convolution(CHANNELS, width)
        self.long = _long(CHANNELS, width)

    def forward(self, x: Tensor) -> Tensor:
        return relu(self.long(x) + self.short(x))


class Block(nn.Module):
    """y = norm(x); relu(long(y) + y)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = Norm(width)
        self.long = _long(width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        return relu(self.long(y) + y)


class Interposer(nn.Module):
    """Network from raw latents of SDXL's VAE (B, 4, h, w) to those of SD 1.5's, of the same size."""

    def __init__(self, width: int = 64, blocks: int = 12) -> None:
        super().__init__()
        self.head = Head(width)
        same_size = nn.Identity()  # version 4.0 has a resize by the factor 1 here
        self.core = nn.Sequential(same_size, *(Block(width) for _ in range(blocks)), Norm(width), nn.SiLU())
        self.tail = _convolution(width, CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        converted: Tensor = self.tail(self.core(self.head(x)))
        return converted


def load_interposer(path: Path) -> Interposer:
    """Load an interposer of version 4.0, float32 on the CPU. Raises BadFile and MissingFile."""
    with open_weights(path) as weights:
        if "head.short.weight" not in weights.shapes:
            raise BadFile(f"{path.name} is not a latent interposer of version 4.0: choose xl-to-v1_interposer-v4.0")
        width, blocks = derive_for_file(path, _size, weights.shapes)
        parts = {key: Part(key) for key in weights.shapes if not key.endswith(COUNTER)}
        return fill(build(lambda: Interposer(width, blocks)), weights, parts, to_dtype(torch.float32), "the interposer")


@torch.no_grad()
def convert(interposer: Interposer, raw: Tensor) -> Tensor:
    """Convert raw latents of SDXL (B, 4, h, w) to those of SD 1.5, on the network's device."""
    converted: Tensor = interposer(raw.to(next(interposer.parameters())))
    return converted


def _size(shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, int]:
    blocks = {key.split(".")[1] for key in shapes if key.startswith("core.") and ".long." in key}
    return shapes["head.short.weight"][0], len(blocks)


def _convolution(channels: int, out: int) -> nn.Conv2d:
    return Conv2d(channels, out, 3, padding=1)


def _long(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        _convolution(channels, width), nn.SiLU(), _convolution(width, width), nn.SiLU(), _convolution(width, width)
    )
