"""Errors for LoRA files that must not be applied in part: they name the family or kind, counts and the first keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ...errors import BadFile
from ..handles import Model
from ..weights.checkpoint_files import kind_of
from ..weights.tensors import is_finite
from .family import TITLES, family_of
from .kinds import SUPPORTED, unsupported_kind
from .targets import Target

SHOWN = 3


def raise_for_nonfinite(name: str, state: Mapping[str, Any]) -> None:
    """Raise BadFile if a value is NaN or infinite, since merging it would make the network's weights NaN too."""
    for key, value in state.items():
        for tensor in value if isinstance(value, tuple | list) else (value,):
            if isinstance(tensor, Tensor) and not is_finite(tensor):
                raise BadFile(
                    f"{name} contains NaN or infinity, first in {key}: the file is damaged or its training diverged; "
                    "use another copy or an earlier epoch"
                )


def raise_for_unmatched(name: str, left_out: Sequence[str], state: Mapping[str, Any], model: Model) -> None:
    """Raise BadFile unless more than half of the entries match a weight of the model."""
    if not state:
        raise BadFile(f"{name} is empty: choose a LoRA file")
    kind = unsupported_kind(left_out)
    if 2 * len(left_out) < len(state) and kind != "AdaLoRA":  # without lora_E its factors are unscaled
        return
    counts = f"{len(left_out)} of its {len(state)} entries match no weight of this model ({named(left_out)})"
    if kind:
        raise BadFile(f"{name} is an adapter of an unsupported kind, {kind}: {counts}; choose one of {SUPPORTED}")
    if other := _other_family(state, model):
        raise BadFile(
            f"{name} is for {other}, and {model.name or 'the model'} is {TITLES[model.family]}: {counts}; choose a "
            f"LoRA for {TITLES[model.family]}{_advice(other)}"
        )
    what = kind_of(key for key in state if isinstance(key, str))
    if what and what != "a LoRA":
        raise BadFile(f"{name} does not fit this model: {counts}; it is {what}: choose a LoRA file")
    raise BadFile(f"{name} does not fit this model: {counts}; it is for another model family, or not a LoRA")


def raise_for_shapes(name: str, target: Target, state: Mapping[str, Any], model: Model) -> None:
    """Raise BadFile if a change does not have the shape of the weight that it names."""
    if not target.mismatched:
        return
    wrong = sorted(target.mismatched)
    shapes = [f"{key} {tuple(target.shapes[key]) if key in target.shapes else '–'}" for key in wrong[:SHOWN]]
    other = _other_family(state, model)
    raise BadFile(
        f"{name} is for {other or 'another model family'}{f', not for {TITLES[model.family]}' if other else ''}: "
        f"{len(wrong)} of its {len(target.found)} changes do not have the shape of the weight that they name "
        f"({', '.join(shapes)}{', …' if len(wrong) > SHOWN else ''}); choose a LoRA for {TITLES[model.family]}"
        f"{_advice(other)}"
    )


def named(keys: Sequence[str]) -> str:
    """The first keys, in order: 'a, b, c, …'."""
    return ", ".join(sorted(keys)[:SHOWN]) + (", …" if len(keys) > SHOWN else "")


def _advice(other: str | None) -> str:
    refiners = (TITLES["sd15"], TITLES["sdxl-refiner"])
    return ", or connect the refiner that it was trained for before the LoRAs are applied" if other in refiners else ""


def _other_family(state: Mapping[str, Any], model: Model) -> str | None:
    family = family_of(state)
    return family if family != TITLES[model.family] else None
