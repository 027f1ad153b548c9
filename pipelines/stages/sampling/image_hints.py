"""What image hints give the cross-attentions to read as a run goes on (Fooocus extras/ip_adapter.py: patch_model)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor, nn

from ...errors import BadValue
from ...functional.image_attention import KeyValue, Pictures, joined, weighted
from ...models.handles import Hint, ImageHint, Model
from ...models.hints import attention
from ...models.hints.attention import Readings

Reading = Callable[[float], Readings | None]


def hints_of(control: Sequence[Hint]) -> list[ImageHint]:
    """The hints of pictures that act at all."""
    return [hint for hint in control if isinstance(hint, ImageHint) and hint.stop_at > 0]


@torch.no_grad()
def reading(model: Model, control: Sequence[Hint], sides: int, batch: int, device: torch.device) -> Reading:
    """What the model reads at a progress (0…1) of the run, for the first `sides` of positive and negative with `batch`
    pictures each; None when no hint acts then.

    A hint acts while the progress is below its `stop_at`. Keys and values are put together when that changes, and not
    at each step. Raises BadValue for hints that don't fit the model or the batch.
    """
    unet = model.network.module
    dtype = next(unet.parameters()).dtype
    hints = hints_of(control)
    for hint in hints:
        check_fit(hint, unet, model.name, batch)
    rows = [[_rows(pairs, batch, device) for pairs in zip(*_sides(hint)[:sides], strict=True)] for hint in hints]

    @cache
    def together(acting: tuple[int, ...]) -> Readings | None:
        if not acting:
            return None
        layers = zip(*(rows[i] for i in acting), strict=True)
        return Readings(tuple(_pictures([hints[i] for i in acting], pairs, dtype) for pairs in layers), sides)

    return lambda progress: together(tuple(i for i, hint in enumerate(hints) if progress < hint.stop_at))


def check_fit(hint: ImageHint, unet: nn.Module, model: str, batch: int) -> None:
    """Raise BadValue for a hint whose adapter is made for another network, or of another number of pictures."""
    theirs, ours = [key.shape[-1] for key, _ in hint.positive], list(attention.widths(unet))
    if len(theirs) != len(ours):
        raise BadValue(
            f"{hint.adapter} is made for a model with {len(theirs)} cross-attentions, {model or 'this one'} has "
            f"{len(ours)}: choose an image prompt adapter for this model"
        )
    misfits = [(j, a, b) for j, (a, b) in enumerate(zip(theirs, ours, strict=True)) if a != b]
    if misfits:
        place, a, b = misfits[0]
        raise BadValue(
            f"{hint.adapter} is made for another model than {model or 'this one'}: its cross-attention {place} is "
            f"{a} wide instead of {b}, and {len(misfits) - 1} more do not fit"
        )
    if (pictures := len(hint.positive[0][0])) not in (1, batch):
        raise BadValue(
            f"the image prompt holds {pictures} pictures, the latent {batch}: give one picture, or one for each; to "
            "show several to every picture, chain a node for each"
        )


def _sides(hint: ImageHint) -> tuple[tuple[KeyValue, ...], tuple[KeyValue, ...]]:
    return hint.positive, hint.negative


def _rows(sides: Sequence[KeyValue], batch: int, device: torch.device) -> KeyValue:
    """One layer's keys and values of all sides: (sides·B, n, C), float32."""

    def stacked(tensors: Sequence[Tensor]) -> Tensor:
        return torch.cat([t.to(device).float().expand(batch, -1, -1) for t in tensors])

    return stacked([key for key, _ in sides]), stacked([value for _, value in sides])


def _pictures(hints: Sequence[ImageHint], pairs: Sequence[KeyValue], dtype: torch.dtype) -> Pictures:
    """One layer's pictures, each as its hint says."""
    both = list(zip(hints, pairs, strict=True))
    shared = [weighted(*pair, hint.weight) for hint, pair in both if hint.together]
    apart = tuple((_to(pair, dtype), hint.weight) for hint, pair in both if not hint.together)
    return Pictures(_to(joined(shared), dtype) if shared else None, apart)


def _to(pair: KeyValue, dtype: torch.dtype) -> KeyValue:
    return pair[0].to(dtype), pair[1].to(dtype)
