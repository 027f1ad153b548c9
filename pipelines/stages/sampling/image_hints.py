"""Image hints during a run: the keys and values that the cross-attentions read (Fooocus extras/ip_adapter.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from ...errors import BadValue
from ...functional.image_attention import ImagePrompts, KeyValue, LayerImages, joined, weighted
from ...models.handles import Hint, ImageHint
from ...models.protocols import DenoisingNetwork

PromptsAt = Callable[[float], ImagePrompts | None]
"""Progress of the run in 0…1 -> the image prompts read then, or None."""


def image_hints_in(hints: Sequence[Hint]) -> list[ImageHint]:
    """Return the image hints that act at all."""
    return [hint for hint in hints if isinstance(hint, ImageHint) and hint.stop_at > 0]


@torch.no_grad()
def prompts_by_progress(
    network: DenoisingNetwork, name: str, hints: Sequence[Hint], sides: int, batch: int, device: torch.device
) -> PromptsAt:
    """Return the image prompts as a function of progress, for the first `sides` of positive and negative.

    A hint acts while the progress is below its `stop_at`. Keys and values are combined when the set of acting hints
    changes, not at each step. Raises BadValue for hints that do not fit the network, called `name`, or the batch.
    """
    image_hints = image_hints_in(hints)
    for hint in image_hints:
        check_fit(hint, network.attention_widths, name, batch)
    rows = [[_rows(pairs, batch, device) for pairs in zip(*_sides(hint)[:sides], strict=True)] for hint in image_hints]

    @cache
    def combined(acting: tuple[int, ...]) -> ImagePrompts | None:
        if not acting:
            return None
        layers = zip(*(rows[i] for i in acting), strict=True)
        chosen = [image_hints[i] for i in acting]
        return ImagePrompts(tuple(_layer_images(chosen, pairs, network.dtype) for pairs in layers), sides)

    return lambda progress: combined(tuple(i for i, hint in enumerate(image_hints) if progress < hint.stop_at))


def check_fit(hint: ImageHint, widths: Sequence[int], model: str, batch: int) -> None:
    """Raise BadValue when a hint's adapter was made for other attention widths, or its batch does not fit."""
    theirs = [key.shape[-1] for key, _ in hint.positive]
    if len(theirs) != len(widths):
        raise BadValue(
            f"{hint.adapter} was made for a model with {len(theirs)} cross-attentions, {model or 'this one'} has "
            f"{len(widths)}: choose an image prompt adapter for this model"
        )
    misfits = [(j, a, b) for j, (a, b) in enumerate(zip(theirs, widths, strict=True)) if a != b]
    if misfits:
        layer, a, b = misfits[0]
        raise BadValue(
            f"{hint.adapter} was made for another model than {model or 'this one'}: its cross-attention {layer} is "
            f"{a} wide instead of {b}, and {len(misfits) - 1} more do not fit; choose an adapter for this model"
        )
    if (images := len(hint.positive[0][0])) not in (1, batch):
        raise BadValue(
            f"the image prompt has {images} images and the latent has {batch}: give one image, or one for each "
            "latent; to use several images for every latent, chain one Fooocus Image Prompt node for each"
        )


def _sides(hint: ImageHint) -> tuple[tuple[KeyValue, ...], tuple[KeyValue, ...]]:
    return hint.positive, hint.negative


def _rows(sides: Sequence[KeyValue], batch: int, device: torch.device) -> KeyValue:
    """Stack one layer's keys and values of all sides: (sides·B, n, C), float32."""

    def stacked(tensors: Sequence[Tensor]) -> Tensor:
        return torch.cat([t.to(device).float().expand(batch, -1, -1) for t in tensors])

    return stacked([key for key, _ in sides]), stacked([value for _, value in sides])


def _layer_images(hints: Sequence[ImageHint], pairs: Sequence[KeyValue], dtype: torch.dtype) -> LayerImages:
    """Combine one layer's keys and values of several hints."""
    both = list(zip(hints, pairs, strict=True))
    together = [weighted(*pair, hint.weight) for hint, pair in both if hint.together]
    apart = tuple((_to(pair, dtype), hint.weight) for hint, pair in both if not hint.together)
    return LayerImages(_to(joined(together), dtype) if together else None, apart)


def _to(pair: KeyValue, dtype: torch.dtype) -> KeyValue:
    return pair[0].to(dtype), pair[1].to(dtype)
