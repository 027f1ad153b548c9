"""Cross-attention that reads pictures beside the text, in two formulations.

Together: text and pictures share one softmax (Fooocus extras/ip_adapter.py). Apart: each picture has a softmax of its
own, and what it says is added (IP-Adapter, Ye et al. 2023, eq. 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

KeyValue = tuple[Tensor, Tensor]
WIDTH_OF_FULL_WEIGHT = 1280


@dataclass(frozen=True, eq=False)
class Pictures:
    """What one cross-attention reads beside the text, keys and values (B, n, C): `together` with it, already at their
    weights and joined along n, and `apart` from it, each with its weight."""

    together: KeyValue | None = None
    apart: tuple[tuple[KeyValue, float], ...] = ()


def weighted(key: Tensor, value: Tensor, weight: float) -> KeyValue:
    """A picture's k and v (…, n, C) at a weight: k·w and (v − v̄) + v̄·w, with w = weight·C/1280 and v̄ the mean over n.

    Weight 0 is not the same as no picture: keys of 0 still take their share of the softmax.
    """
    w = weight * key.shape[-1] / WIDTH_OF_FULL_WEIGHT
    mean = value.mean(dim=-2, keepdim=True)
    return key * w, (value - mean) + mean * w


def joined(pictures: Sequence[KeyValue]) -> KeyValue:
    """Several keys and values (B, n, C) as one, along n."""
    keys, values = zip(*pictures, strict=True)
    return torch.cat(keys, dim=1), torch.cat(values, dim=1)


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """softmax(q·kᵀ/√d)·v in each head: (B, m, C) and (B, n, C) to (B, m, C)."""
    q, k, v = (x.view(len(x), -1, heads, x.shape[-1] // heads).transpose(1, 2) for x in (query, key, value))
    return scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def read(query: Tensor, key: Tensor, value: Tensor, pictures: Pictures, heads: int) -> Tensor:
    """What a cross-attention reads from text `key` and `value` (B, n, C) and the pictures: (B, m, C)."""
    text = (key, value) if pictures.together is None else joined([(key, value), pictures.together])
    result = attend(query, *text, heads)
    for (k, v), weight in pictures.apart:
        result = result + weight * attend(query, k, v, heads)
    return result
