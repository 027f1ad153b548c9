"""The cross-attentions of a UNet, and image prompts attached to them (Fooocus extras/ip_adapter.py: patch_model)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, cast

from torch import Tensor, nn

from ...functional.image_attention import ImagePrompts, LayerImages, image_attention


class CrossAttention(Protocol):
    """diffusers' Attention, as far as it is used here."""

    heads: int
    processor: object
    to_q: nn.Linear
    to_k: nn.Linear
    to_v: nn.Linear
    to_out: nn.ModuleList

    def set_processor(self, processor: object, /) -> None: ...


class ImagePromptProcessor:
    """Attention processor for diffusers that attends to text and to image prompts."""

    def __init__(self, images: LayerImages) -> None:
        self.images = images

    def __call__(
        self, attention: CrossAttention, hidden_states: Tensor, encoder_hidden_states: Tensor, *_: object, **__: object
    ) -> Tensor:
        query = attention.to_q(hidden_states)
        key, value = attention.to_k(encoder_hidden_states), attention.to_v(encoder_hidden_states)
        result = image_attention(query, key, value, self.images, attention.heads)
        for layer in attention.to_out:
            result = layer(result)
        return result


@contextmanager
def image_prompts_attached(unet: nn.Module, prompts: ImagePrompts | None) -> Iterator[None]:
    """Let the UNet's cross-attentions read image prompts while the context lasts; None attaches nothing."""
    layers = cross_attentions(unet) if prompts else []
    before = [layer.processor for layer in layers]
    try:
        for layer, images in zip(layers, prompts.layers if prompts else (), strict=True):
            layer.set_processor(ImagePromptProcessor(images))
        yield
    finally:
        for layer, processor in zip(layers, before, strict=True):
            layer.set_processor(processor)


def cross_attentions(unet: nn.Module) -> list[CrossAttention]:
    """Return the layers that read the prompt, in the order of image prompt adapters: down, up, middle."""
    levels = cast(_UNetBlocks, unet)
    middle = [levels.mid_block] if levels.mid_block is not None else []
    return [
        block.attn2
        for level in [*levels.down_blocks, *levels.up_blocks, *middle]
        for transformer in getattr(level, "attentions", None) or ()
        for block in transformer.transformer_blocks
    ]


def widths(unet: nn.Module) -> tuple[int, ...]:
    """Return the key width of each cross-attention, in that order."""
    return tuple(layer.to_k.out_features for layer in cross_attentions(unet))


class _UNetBlocks(Protocol):
    down_blocks: Sequence[nn.Module]
    up_blocks: Sequence[nn.Module]
    mid_block: nn.Module | None
