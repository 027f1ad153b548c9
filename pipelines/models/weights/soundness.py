"""Checks of results for NaN and infinity, which name the weight that causes them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ...errors import BadFile, BadValue
from .tensors import is_finite

Named = Iterable[tuple[str, nn.Module]]


def require_finite(result: Tensor, what: str, networks: Named, advice: str) -> Tensor:
    """Return a finite result unchanged; otherwise search the networks, each with its file's name, for the cause.

    Raises BadFile naming the first weight that is NaN or infinite, or BadValue with the advice if all are finite.
    """
    if is_finite(result):
        return result
    for name, module in networks:
        if weight := first_nonfinite_weight(module):
            raise BadFile(
                f"{what} contains NaN or infinity, because {name or 'the checkpoint'} is damaged: its weight {weight} "
                "contains such values; download it again, and leave out LoRAs at extreme weights"
            )
    raise BadValue(f"{what} contains NaN or infinity, although all weights are finite: {advice}")


@torch.no_grad()
def first_nonfinite_weight(module: nn.Module) -> str:
    """Return the name of the first weight that contains NaN or infinity, or ''."""
    return next((name for name, weight in module.named_parameters() if not is_finite(weight)), "")
