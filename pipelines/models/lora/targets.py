"""The networks that a LoRA file changes: their weights by canonical name, and the changes found for them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..handles import Clip, Model
from ..weights.deltas import Delta
from .entries import WEIGHT, Entries, parse_changes
from .target_names import Name, Owner, text_names, unet_names


class Target:
    """A network, its weights by canonical path, and the changes found for them so far."""

    def __init__(self, owner: Owner, module: nn.Module, names: Iterable[tuple[str, str]]) -> None:
        self.owner = owner
        self.names = dict(names)
        self.shapes = {name: parameter.shape for name, parameter in module.named_parameters()}
        self.found: dict[str, Delta] = {}
        self.mismatched: list[str] = []
        self._known_fits: dict[Hashable, bool] = {}

    def has_weight(self, name: Name) -> bool:
        """True if the name may belong to this network, and the network has such a weight."""
        owners = ("", self.owner) if self.owner == "unet" else ("", "text", self.owner)
        return name.owner in owners and name.path in self.names

    def by_parameter(self, path: str, changes: Mapping[str, Delta]) -> dict[str, Delta]:
        """The changes to the weight at a canonical path and to its module's bias, by parameter name."""
        weight = self.names[path]
        return {
            weight if slot == WEIGHT else weight.removesuffix(".weight") + ".bias": delta
            for slot, delta in changes.items()
        }

    def fits(self, parameter: str, delta: Delta) -> bool:
        """True if the change has the shape of the parameter. Computed on the meta device, once for equal shapes."""
        if parameter not in self.shapes:
            return False
        signature = (self.shapes[parameter], _shapes(delta))
        if signature not in self._known_fits:
            self._known_fits[signature] = _fits(delta, self.shapes[parameter])
        return self._known_fits[signature]


def targets_of(model: Model, clip: Clip | None) -> list[Target]:
    """The UNet, and the text encoders in their order."""
    unet = model.network.module
    encoders = [(encoder.pooled, encoder.network.module) for encoder in (clip.encoders if clip else ())]
    return [
        Target("unet", unet, unet_names(unet)),
        *(Target("clip_g" if pooled else "clip_l", module, text_names(module)) for pooled, module in encoders),
    ]


def assign(name: Name, entries: Entries, targets: Sequence[Target]) -> None:
    """Record the changes that the entries describe at the network that has the weight `name`.

    A name that does not identify the text encoder is assigned to the one whose shapes it fits. Entries that match no
    weight, or have no meaning, stay in `entries`.
    """
    places = [target for target in targets if target.has_weight(name)]
    changes = parse_changes(entries) if places else {}
    for target in places:
        found = target.by_parameter(name.path, changes)
        mismatched = [parameter for parameter, delta in found.items() if not target.fits(parameter, delta)]
        if not mismatched or target is places[-1]:
            target.found |= found
            target.mismatched += mismatched
            return


def _shapes(part: Any) -> Hashable:
    """The kind of a change and the shapes of its factors."""
    if isinstance(part, Tensor):
        return part.shape
    if isinstance(part, tuple):
        return tuple(_shapes(one) for one in part)
    if is_dataclass(part) and not isinstance(part, type):
        return (type(part), *(_shapes(getattr(part, one.name)) for one in fields(part)))
    return part is None


def _fits(delta: Delta, shape: torch.Size) -> bool:
    try:
        return delta(torch.empty(shape, device="meta")).shape == shape
    except (RuntimeError, ValueError, IndexError, TypeError, AttributeError, ZeroDivisionError):
        return False
