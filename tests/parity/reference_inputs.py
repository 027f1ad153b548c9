"""Inputs and weights by formula: the values of a tensor follow from its name alone, on every machine.

    mean + std · RandomState(crc32(name)).standard_normal(shape)

numpy's legacy RandomState is frozen across versions, so the golden files need hold only outputs.
"""

from __future__ import annotations

import math
import zlib

import numpy as np
import torch

CHUNK = 1 << 20  # values at a time, so that no tensor is ever whole in float64


def tensor(name: str, shape: list[int], mean: float, std: float) -> torch.Tensor:
    """The float32 tensor of that name."""
    state = np.random.RandomState(zlib.crc32(name.encode()))
    values = np.empty(math.prod(shape), np.float32)
    for start in range(0, len(values), CHUNK):
        part = values[start : start + CHUNK]
        part[:] = mean + std * state.standard_normal(len(part))
    return torch.from_numpy(values.reshape(shape))


def state_dict(manifest: dict[str, tuple[list[int], float, float]]) -> dict[str, torch.Tensor]:
    """The weights that a manifest {name: [shape, mean, std]} stands for. Names keep their tag ('sd15:…')."""
    return {name: tensor(name, shape, mean, std) for name, (shape, mean, std) in manifest.items()}


def picture(height: int, width: int, k: int = 0) -> np.ndarray:
    """A smooth colourful picture with edges: uint8 (H, W, 3), RGB. `k` varies it."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    u, v = x / width, y / height
    red = 0.5 + 0.5 * np.sin(6.1 * u + 3.3 * v * v + k)
    green = 0.5 + 0.5 * np.cos(9.7 * v - 4.2 * u * v + 1.7 * k)
    blue = 0.5 + 0.5 * np.sin(17 * (u - 0.5) ** 2 + 23 * (v - 0.4) ** 2 + 0.6 * k)
    image = np.stack([red, green, blue], -1)
    image[((u - 0.62) ** 2 + (v - 0.38) ** 2) < 0.03] = [0.92, 0.2, 0.15]
    image[(np.abs(u - 0.27) < 0.11) & (np.abs(v - 0.68) < 0.16)] = [0.1, 0.35, 0.85]
    stripes = (np.floor(u * 37 + k) % 2 == 0) & (v > 0.85)
    image[stripes] = 1.0 - image[stripes]
    return np.clip(image * 255.0, 0, 255).astype(np.uint8)


def blob_mask(height: int, width: int, k: int = 0) -> np.ndarray:
    """An ellipse and a box, 255 inside: uint8 (H, W). `k` moves the ellipse."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    u, v = x / width, y / height
    ellipse = (u - 0.4 - 0.07 * k) ** 2 / 0.02 + (v - 0.55) ** 2 / 0.03 < 1.0
    box = (np.abs(u - 0.7) < 0.06) & (np.abs(v - 0.3) < 0.1)
    return ((ellipse | box) * 255).astype(np.uint8)


def formula_denoiser(x: torch.Tensor, sigma: torch.Tensor | float) -> torch.Tensor:
    """D(x, sigma) = x / (1 + sigma²) + ½ tanh(roll(x, 1, width) / (1 + sigma)): smooth, no network."""
    return x / (1 + sigma * sigma) + 0.5 * torch.tanh(torch.roll(x, 1, -1) / (1 + sigma))
