"""The UNet's cross-attentions, and pictures that they read while a context lasts (Fooocus extras/ip_adapter.py:
patch_model)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn

from ...functional import image_attention
from ...functional.image_attention import KeyValue, Pictures


@dataclass(frozen=True, eq=False)
class Readings:
    """What every cross-attention of a UNet reads beside the text, for all `sides` of guidance: rows (sides·B, n, C)."""

    layers: tuple[Pictures, ...]
    sides: int = 1

    def side(self, i: int) -> Readings:
        """The rows of one side."""
        return Readings(tuple(_rows(pictures, i, self.sides) for pictures in self.layers))


class Reader:
    """diffusers' attention processor that reads text and pictures."""

    def __init__(self, pictures: Pictures) -> None:
        self.pictures = pictures

    def __call__(
        self, attention: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, *args: Any, **kwargs: Any
    ) -> Tensor:
        query = attention.to_q(hidden_states)
        key, value = attention.to_k(encoder_hidden_states), attention.to_v(encoder_hidden_states)
        result: Tensor = image_attention.read(query, key, value, self.pictures, attention.heads)
        for layer in attention.to_out:
            result = layer(result)
        return result


@contextmanager
def reading(unet: nn.Module, readings: Readings | None) -> Iterator[None]:
    """The UNet's cross-attentions read these pictures while the context lasts; None leaves them alone."""
    layers = cross_attentions(unet) if readings else []
    before = [layer.processor for layer in layers]
    try:
        for layer, pictures in zip(layers, readings.layers if readings else (), strict=True):
            layer.set_processor(Reader(pictures))
        yield
    finally:
        for layer, processor in zip(layers, before, strict=True):
            layer.set_processor(processor)


def cross_attentions(unet: nn.Module) -> list[Any]:
    """The layers that read the prompt, in the order of image prompt adapters: the way down, the way up, the middle."""
    whole = cast(Any, unet)
    middle = [whole.mid_block] if whole.mid_block is not None else []
    return [
        block.attn2
        for level in [*whole.down_blocks, *whole.up_blocks, *middle]
        for transformer in getattr(level, "attentions", None) or ()
        for block in transformer.transformer_blocks
    ]


def widths(unet: nn.Module) -> tuple[int, ...]:
    """How wide the keys of each cross-attention are, in that order."""
    return tuple(int(layer.to_k.out_features) for layer in cross_attentions(unet))


def _rows(pictures: Pictures, i: int, sides: int) -> Pictures:
    def of_side(pair: KeyValue) -> KeyValue:
        key, value = (tensor.chunk(sides)[i] for tensor in pair)
        return key, value

    together = None if pictures.together is None else of_side(pictures.together)
    return Pictures(together, tuple((of_side(pair), weight) for pair, weight in pictures.apart))
