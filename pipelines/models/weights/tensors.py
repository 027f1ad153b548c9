"""Named tensors that a host can move, and a fast check of tensors for NaN and infinity."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Tensors(nn.Module):
    """Named tensors, as a module, so that a host moves them between devices."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.names = tuple(tensors)
        self.values = nn.ParameterList(nn.Parameter(tensor, requires_grad=False) for tensor in tensors.values())

    def named(self) -> dict[str, nn.Parameter]:
        """The tensors by name, where they are now."""
        return dict(zip(self.names, self.values, strict=True))


def is_finite(tensor: Tensor) -> bool:
    """Return True if no value is NaN or infinite. Reads the tensor once, in less time than a copy takes."""
    if not tensor.numel() or not tensor.is_floating_point():
        return True
    if tensor.dtype == torch.float32 and bool(tensor.sum().isfinite()):  # the fastest proof, where it succeeds
        return True
    low, high = (tensor.float() if tensor.element_size() == 1 else tensor).aminmax()  # NaN if any value is
    return bool(low.isfinite()) and bool(high.isfinite())
