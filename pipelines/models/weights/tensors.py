"""Named tensors that a host can move."""

from __future__ import annotations

from collections.abc import Mapping

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
