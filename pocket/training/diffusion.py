"""SDXL's noise schedule, prompt encoding, and a plain Euler sampler for checking training progress."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from . import networks, tokenizer


def schedule() -> torch.Tensor:
    """Return sigma of the 1000 training steps, (1000,), computed in float64."""
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    kept = np.cumprod(1 - betas)
    return torch.from_numpy(np.sqrt((1 - kept) / kept)).float()


SIGMAS = schedule()


@dataclass
class Condition:
    """Conditioning of the UNet: context (B, 77 k, 192), pooled (B, 128), time_ids (B, 6)."""

    context: torch.Tensor
    pooled: torch.Tensor
    time_ids: torch.Tensor


class TextEncoders(nn.Module):
    """Both text encoders and the tokenizer, read as SDXL does (clip skip 2)."""

    def __init__(self, words: tokenizer.Tokenizer) -> None:
        super().__init__()
        self.words = words
        self.clip_l, self.clip_g = networks.build_text_encoders(len(words))

    def forward(
        self, texts: Sequence[Sequence[str]], kept: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode B prompts of k sections each to context (B, 77 k, 192) and pooled (B, 128).

        `kept` (B, k) weights the sections' pooled vectors in their sum; by default each counts once.
        """
        count = len(texts[0])
        flat = [text for prompt in texts for text in prompt]
        ids_l = torch.tensor([self.words.section(text, self.words.end) for text in flat])
        ids_g = torch.tensor([self.words.section(text, 0) for text in flat])
        hidden_l = self.clip_l(ids_l, output_hidden_states=True).hidden_states[-2]
        out_g = self.clip_g(ids_g, output_hidden_states=True)
        context = torch.cat([hidden_l, out_g.hidden_states[-2]], dim=-1).reshape(len(texts), 77 * count, -1)
        pooled = out_g.text_embeds.float().reshape(len(texts), count, -1)
        return context, (pooled.sum(1) if kept is None else (pooled * kept[..., None]).sum(1))

    def condition(
        self, texts: Sequence[Sequence[str]], time_ids: torch.Tensor, kept: torch.Tensor | None = None
    ) -> Condition:
        """Encode prompts as `forward` does, with the sizes (B, 6) that go with them."""
        context, pooled = self(texts, kept)
        return Condition(context, pooled, time_ids)


def predict_noise(
    unet: nn.Module, x: torch.Tensor, sigma: torch.Tensor, t: torch.Tensor, condition: Condition
) -> torch.Tensor:
    """Predict eps of x = x0 + sigma n, float32 (B, 4, h, w); sigma and t are (B,)."""
    added = {"text_embeds": condition.pooled, "time_ids": condition.time_ids}
    scaled = x / (sigma.view(-1, 1, 1, 1) ** 2 + 1).sqrt()
    noise: torch.Tensor = unet(scaled, t.float(), condition.context, added_cond_kwargs=added).sample.float()
    return noise


def sample_timesteps(count: int, lowest: int, fraction: float) -> torch.Tensor:
    """Draw timesteps (B,): about that fraction at `lowest` or above, where positions and colours are decided, and the
    rest uniformly."""
    high, anywhere = torch.randint(lowest, 1000, (count,)), torch.randint(0, 1000, (count,))
    return torch.where(torch.rand(count) < fraction, high, anywhere)


def layout_loss(error: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Return the mean square of the clean latent's error on a 4 x 4 grid: background colour and position of the shape.

    `error` is that of the noise, (B, 4, h, w). The usual loss hardly registers these at high noise, where they are
    decided.
    """
    coarse = F.adaptive_avg_pool2d(error, 4) * sigma.clamp(max=6).view(-1, 1, 1, 1)
    return (coarse**2).mean()


def nearest_step(sigma: torch.Tensor) -> torch.Tensor:
    """Return the integer timestep whose log sigma is nearest, (B,)."""
    return (sigma.clamp(min=1e-6).log()[:, None] - SIGMAS.log()).abs().argmin(1)


def karras(steps: int, low: float = 0.0292, high: float = 14.6146, rho: float = 7.0) -> torch.Tensor:
    """Karras et al. 2022, equation 5, with a final zero: (steps + 1,)."""
    ramp = torch.linspace(0, 1, steps)
    sigmas = (high ** (1 / rho) + ramp * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    return torch.cat([sigmas, torch.zeros(1)])


@torch.no_grad()
def sample_euler(
    denoise: Callable[[torch.Tensor, float], torch.Tensor], noise: torch.Tensor, sigmas: torch.Tensor
) -> torch.Tensor:
    """Take Euler steps from unit noise (B, 4, h, w) along sigmas that end in zero."""
    x = noise * sigmas[0]
    for sigma, following in zip(sigmas[:-1].tolist(), sigmas[1:].tolist(), strict=True):
        x = x + (x - denoise(x, sigma)) / sigma * (following - sigma)
    return x


def guided(
    unet: nn.Module, positive: Condition, negative: Condition | None, cfg: float = 4.0
) -> Callable[[torch.Tensor, float], torch.Tensor]:
    """Return denoise(x, sigma) with classifier-free guidance, or of the positive prompt alone without a negative."""

    def denoise(x: torch.Tensor, sigma: float) -> torch.Tensor:
        level = torch.full((len(x),), sigma)
        t = nearest_step(level)
        eps = predict_noise(unet, x, level, t, positive)
        if negative is not None:
            other = predict_noise(unet, x, level, t, negative)
            eps = other + cfg * (eps - other)
        return x - sigma * eps

    return denoise
