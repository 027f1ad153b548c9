"""Low-rank changes to a UNet's weights (Hu et al. 2021), attached for training and exported as a LoRA's pairs."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class LowRank(nn.Module):
    """weight + up @ down; up (out, r), down (r, in x kernel)."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        flat = weight.flatten(1)
        rank = min(rank, *flat.shape)
        self.kernel = tuple(weight.shape[1:])
        self.down = nn.Parameter(torch.randn(rank, flat.shape[1]) / flat.shape[1] ** 0.5)
        self.up = nn.Parameter(torch.zeros(flat.shape[0], rank))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the changed weight, of the same shape."""
        return weight + (self.up @ self.down).view_as(weight)


def targets(unet: nn.Module) -> Iterator[tuple[str, nn.Linear | nn.Conv2d]]:
    """Iterate over all linear layers and convolutions of the UNet except the first of the size embedding."""
    for name, module in unet.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)) and not name.startswith("add_embedding.linear_1"):
            yield name, module


def attach(unet: nn.Module, rank: int, only: str = "") -> nn.ModuleDict:
    """Freeze the UNet and add a LowRank to each target whose name contains `only`; keys have bars for dots."""
    unet.requires_grad_(False)
    added = nn.ModuleDict()
    for name, module in list(targets(unet)):
        if only in name:
            change = LowRank(module.weight, rank)
            parametrize.register_parametrization(module, "weight", change)
            added[name.replace(".", "|")] = change
    return added


def changes(added: nn.ModuleDict) -> Iterator[tuple[str, LowRank]]:
    """Iterate over the changes that `attach` returned, by their keys."""
    return ((name, change) for name, change in added.items() if isinstance(change, LowRank))


def pairs(added: nn.ModuleDict, scale: float = 1.0) -> dict[str, tuple[Tensor, Tensor]]:
    """Return (down, up) by module name, as in a LoRA file with alpha equal to the rank, `up` multiplied by `scale`."""
    found = {}
    for name, change in changes(added):
        down, up = change.down.detach(), change.up.detach() * scale
        if len(change.kernel) == 3:
            down, up = down.view(-1, *change.kernel), up[:, :, None, None]
        found[name.replace("|", ".")] = (down, up)
    return found


@torch.no_grad()
def init_from(added: nn.ModuleDict, other: dict[str, Tensor]) -> None:
    """Initialise with the best approximation of this rank to another LoRA's state (Eckart and Young 1936)."""
    for name, change in changes(added):
        whole = other[f"{name}.up"] @ other[f"{name}.down"]
        u, s, v = torch.linalg.svd(whole, full_matrices=False)
        rank = change.up.shape[1]
        change.up.copy_(u[:, :rank] * s[:rank].sqrt())
        change.down.copy_(s[:rank, None].sqrt() * v[:rank])
