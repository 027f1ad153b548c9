"""ComfyUI's VAE, encoding as Fooocus does: with a sample of the latent distribution."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

LOWEST, HIGHEST = -30.0, 20.0  # of the logarithm of the variance


class NativeVae:
    """A VAE of ComfyUI, whose `encode` takes a seed."""

    def __init__(self, native: Any) -> None:
        self.native = native

    def encode(self, pixels: Tensor, seed: int | None = None) -> Tensor:
        """Encode images (B, H, W, 3) in 0…1 as latents; a seed samples their distribution, None takes its mean."""
        layer = getattr(self.native.first_stage_model, "regularization", None)
        if seed is None or layer is None:
            return self._tensor(self.native.encode(pixels))
        with sampling(layer, seed):
            return self._tensor(self.native.encode(pixels))

    def decode(self, samples: Tensor) -> Tensor:
        """Decode latents to images (B, H, W, 3) in 0…1."""
        return self._tensor(self.native.decode(samples))

    def encode_tiled(self, pixels: Tensor) -> Tensor:
        """Encode images tile by tile, as the mean of their distribution."""
        return self._tensor(self.native.encode_tiled(pixels))

    def decode_tiled(self, samples: Tensor) -> Tensor:
        """Decode latents tile by tile."""
        return self._tensor(self.native.decode_tiled(samples))

    def _tensor(self, result: Any) -> Tensor:
        tensor: Tensor = result
        return tensor


@contextmanager
def sampling(layer: nn.Module, seed: int) -> Iterator[None]:
    """Let the last layer of an encoder sample its distribution, with the same noise for each image."""

    def sampled(_: nn.Module, given: tuple[Tensor, ...], __: object) -> tuple[Tensor, None]:
        mean, logarithm = given[0].float().chunk(2, dim=1)
        noise = torch.randn(mean.shape[1:], generator=torch.Generator("cpu").manual_seed(seed)).to(mean.device)
        return (mean + (0.5 * logarithm.clamp(LOWEST, HIGHEST)).exp() * noise).to(given[0].dtype), None

    hook = layer.register_forward_hook(sampled)
    try:
        yield
    finally:
        hook.remove()
