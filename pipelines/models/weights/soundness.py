"""Results that are no numbers: refused, with the weight that is to blame where there is one."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ...errors import BadFile, BadValue

Blamed = Iterable[tuple[str, nn.Module]]


def require_finite(result: Tensor, what: str, networks: Blamed, advice: str) -> Tensor:
    """The result itself; the networks that made it, each with the name of its file, are only looked at when it is bad.

    Raises BadFile naming the first weight that is NaN or infinite, and BadValue with the advice when all are sound.
    """
    if bool(result.isfinite().all()):
        return result
    for name, module in networks:
        if weight := first_unsound(module):
            raise BadFile(
                f"{what} came out as NaN or infinity: {name or 'the checkpoint'} is damaged, its weight {weight} holds "
                "such values; download it again, and leave out LoRAs at extreme weights"
            )
    raise BadValue(f"{what} came out as NaN or infinity, though all weights are numbers: {advice}")


@torch.no_grad()
def first_unsound(module: nn.Module) -> str:
    """The name of the first weight with NaN or infinity in it; '' when there is none."""
    return next((name for name, weight in module.named_parameters() if not weight.isfinite().all()), "")
