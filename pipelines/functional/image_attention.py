"""Cross-attention over text and image prompts, in two formulations.

Together: text and images share one softmax (Fooocus extras/ip_adapter.py). Apart: each image has a softmax of its own,
and its result is added (IP-Adapter, Ye et al. 2023, equation 5).
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
class LayerImages:
    """Image prompts of one cross-attention, as keys and values (B, n, C).

    `together` shares a softmax with the text; it is already weighted and concatenated along n. Each entry of `apart`
    has a softmax and a weight of its own.
    """

    together: KeyValue | None = None
    apart: tuple[tuple[KeyValue, float], ...] = ()

    def of_sides(self, chosen: Sequence[int], sides: int) -> LayerImages:
        """Return the rows of the chosen sides of guidance, in their order, out of `sides` sides."""

        def rows(pair: KeyValue) -> KeyValue:
            key, value = (torch.cat([tensor.chunk(sides)[i] for i in chosen]) for tensor in pair)
            return key, value

        together = None if self.together is None else rows(self.together)
        return LayerImages(together, tuple((rows(pair), weight) for pair, weight in self.apart))


@dataclass(frozen=True, eq=False)
class ImagePrompts:
    """Image prompts of every cross-attention of a network, for all `sides` of guidance: rows (sides·B, n, C)."""

    layers: tuple[LayerImages, ...]
    sides: int = 1

    def of_sides(self, chosen: Sequence[int]) -> ImagePrompts:
        """Return the rows of the chosen sides, in their order; a side may be chosen several times."""
        if list(chosen) == list(range(self.sides)):
            return self
        return ImagePrompts(tuple(layer.of_sides(chosen, self.sides) for layer in self.layers), len(chosen))


def weighted(key: Tensor, value: Tensor, weight: float) -> KeyValue:
    """Weight k and v (…, n, C) of an image: k·w and (v - m) + m·w, w = weight·C/1280 and m the mean of v over n.

    Weight 0 differs from no image: keys of 0 still take part in the softmax.
    """
    w = weight * key.shape[-1] / WIDTH_OF_FULL_WEIGHT
    mean = value.mean(dim=-2, keepdim=True)
    return key * w, (value - mean) + mean * w


def joined(images: Sequence[KeyValue]) -> KeyValue:
    """Concatenate keys and values (B, n, C) along n."""
    keys, values = zip(*images, strict=True)
    return torch.cat(keys, dim=1), torch.cat(values, dim=1)


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Multi-head attention softmax(q·k^T/sqrt(d))·v: (B, m, C) and (B, n, C) to (B, m, C)."""
    q, k, v = (x.view(len(x), -1, heads, x.shape[-1] // heads).transpose(1, 2) for x in (query, key, value))
    return scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def image_attention(query: Tensor, key: Tensor, value: Tensor, images: LayerImages, heads: int) -> Tensor:
    """Attend from `query` (B, m, C) to text `key` and `value` (B, n, C) and to the images: (B, m, C)."""
    text = (key, value) if images.together is None else joined([(key, value), images.together])
    result = attend(query, *text, heads)
    for (k, v), weight in images.apart:
        result = result + weight * attend(query, k, v, heads)
    return result
