"""The resampler of IP-Adapter Plus: a vision encoder's hidden states as a few tokens (Fooocus extras/resampler.py).

Parameters are named as in the published files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import LayerNorm, Linear

from ...functional.image_attention import attend

HEAD_WIDTH = 64


class PerceiverAttention(nn.Module):
    """Attention of the queries l to the image x and to themselves: q from norm(l), k and v from [norm(x), norm(l)]."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.heads = max(1, inner // HEAD_WIDTH)
        self.norm1, self.norm2 = LayerNorm(width), LayerNorm(width)
        self.to_q = Linear(width, inner, bias=False)
        self.to_kv = Linear(width, 2 * inner, bias=False)
        self.to_out = Linear(inner, width, bias=False)

    def forward(self, x: Tensor, latents: Tensor) -> Tensor:
        latents = self.norm2(latents)
        key, value = self.to_kv(torch.cat([self.norm1(x), latents], dim=1)).chunk(2, dim=-1)
        attended: Tensor = self.to_out(attend(self.to_q(latents), key, value, self.heads))
        return attended


class Resampler(nn.Module):
    """Maps the hidden states of an image (B, m, embed) to tokens (B, queries, out)."""

    def __init__(self, embed: int, width: int, queries: int, depth: int, inner: int, hidden: int, out: int) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.zeros(1, queries, width))
        self.proj_in = Linear(embed, width)
        self.layers = nn.ModuleList(
            nn.ModuleList([PerceiverAttention(width, inner), _feed_forward(width, hidden)]) for _ in range(depth)
        )
        self.proj_out = Linear(width, out)
        self.norm_out = LayerNorm(out)

    def forward(self, hidden: Tensor) -> Tensor:
        x = self.proj_in(hidden)
        latents = self.latents.expand(len(x), -1, -1)
        for attention, feed_forward in cast(Iterable[tuple[nn.Module, nn.Module]], self.layers):
            latents = latents + attention(x, latents)
            latents = latents + feed_forward(latents)
        tokens: Tensor = self.norm_out(self.proj_out(latents))
        return tokens


def resampler_settings(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """Derive the arguments of Resampler from the shapes of weights. Raises KeyError for a missing weight."""
    return {
        "embed": shapes["proj_in.weight"][1],
        "width": shapes["latents"][2],
        "queries": shapes["latents"][1],
        "depth": len({key.split(".")[1] for key in shapes if key.startswith("layers.")}),
        "inner": shapes["layers.0.0.to_q.weight"][0],
        "hidden": shapes["layers.0.1.1.weight"][0],
        "out": shapes["proj_out.weight"][0],
    }


def _feed_forward(width: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(
        LayerNorm(width), Linear(width, hidden, bias=False), nn.GELU(), Linear(hidden, width, bias=False)
    )
