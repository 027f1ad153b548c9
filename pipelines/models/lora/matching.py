"""LoRA files: which weights their entries mean, and the patches they become (Fooocus modules/lora.py: match_lora).

A file must fit as a whole. (Fooocus passes over up to twelve entries that it does not know, and over whole files with
more.)
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import BadFile
from ..handles import Clip, Model
from ..weights.deltas import Delta
from ..weights.files import open_weights, read_state
from ..weights.key_names import UNET
from ..weights.merging import WeightPatch
from .entries import WEIGHT, Entries, grouped, understand
from .family import TITLES, family_of
from .peft_scales import scales
from .target_names import OF_TEXT, UNUSED, plain, text_names, unet_names

FIRST_OF_CHECKPOINT = UNET + "input_blocks.0.0.weight"


class Target:
    """A network, its weights by the names that LoRA files use, and what has been found for them."""

    def __init__(self, module: nn.Module, names: Iterable[tuple[str, str]]) -> None:
        self.names = dict(names)
        self.shapes = {name: parameter.shape for name, parameter in module.named_parameters()}
        self.found: dict[str, Delta] = {}
        self.misfits: list[str] = []
        self._verdicts: dict[Hashable, bool] = {}

    def changed(self, base: str, changes: Mapping[str, Delta]) -> dict[str, Delta]:
        """The changes to the weight called `base`, and to the bias beside it, by parameter."""
        weight = self.names[base]
        return {
            weight if slot == WEIGHT else weight.removesuffix(".weight") + ".bias": delta
            for slot, delta in changes.items()
        }

    def fits(self, parameter: str, delta: Delta) -> bool:
        """Whether the change has the parameter's shape: worked out once for factors of the same shapes, without
        numbers, on the meta device."""
        if parameter not in self.shapes:
            return False
        signature = (self.shapes[parameter], _shapes(delta))
        if signature not in self._verdicts:
            self._verdicts[signature] = _fits(delta, self.shapes[parameter])
        return self._verdicts[signature]


def read_lora(path: Path) -> dict[str, Any]:
    """The entries of a LoRA or inpaint-patch file, with the scales that PEFT keeps beside them.

    Raises BadFile, also for a whole checkpoint, and MissingFile.
    """
    with open_weights(path) as weights:
        if FIRST_OF_CHECKPOINT in weights.shapes:
            raise BadFile(f"{path.name} is a checkpoint, not a LoRA: choose it where checkpoints are loaded")
    state = read_state(path)
    if any(".lora_A." in key or ".hada_w1_b" in key or ".lokr_" in key for key in state):
        with open_weights(path) as weights:
            state |= scales(path, weights.metadata, state)
    return state


def source_of(path: Path) -> Hashable:
    """What stands for the content of a file as it is now: it changes when the file is written again."""
    status = path.stat()
    return str(path.resolve()), status.st_mtime_ns, status.st_size, status.st_ino


def patches(
    state: Mapping[str, Any],
    name: str,
    weight: float,
    model: Model,
    clip: Clip | None,
    source: Hashable | None = None,
) -> tuple[WeightPatch | None, tuple[WeightPatch | None, ...]]:
    """What the entries of the file `name` change at strength `weight`: on the UNet, and on each text encoder.

    None where nothing changes. Entries for text encoders are passed over when there is no `clip`. With a `source`
    patches made twice from it count as the same (see WeightPatch). Raises BadFile, with counts and first names, when
    entries have no place or another shape, or hold numbers that are none.
    """
    _raise_for_numbers(name, state)
    encoders = clip.encoders if clip else ()
    targets = [Target(model.network.module, unet_names(model.network.module))]
    targets += [Target(e.network.module, text_names(e.network.module, e.pooled)) for e in encoders]
    homeless: list[str] = []
    for base, entries in grouped(state).items():
        if not _is_passed_over(plain(base), clip):
            _settle(plain(base), entries, targets)
            homeless += entries.left()
    if homeless or not state:
        raise _no_place(name, homeless, state, model)
    for target in targets:
        if target.misfits:
            raise _misfit(name, state, model, target)
    made = [_patch(name, weight, target.found, source) for target in targets]
    return made[0], tuple(made[1:])


def _is_passed_over(base: str, clip: Clip | None) -> bool:
    """Whether it is about text encoders that are not here, or about a weight that is in no network of Fooocus's."""
    return base in UNUSED or (clip is None and base.startswith(OF_TEXT))


def _settle(base: str, entries: Entries, targets: Sequence[Target]) -> None:
    """Note what the entries say with the network that has a weight called `base`.

    A name of a text encoder without its owner goes to the one whose shapes it fits.
    """
    places = [target for target in targets if base in target.names]
    changes = understand(entries) if places else {}
    for i, target in enumerate(places):
        found = target.changed(base, changes)
        misfits = [parameter for parameter, delta in found.items() if not target.fits(parameter, delta)]
        if not misfits or i == len(places) - 1:
            target.found |= found
            target.misfits += misfits
            return


def _patch(name: str, weight: float, found: Mapping[str, Delta], source: Hashable | None) -> WeightPatch | None:
    return WeightPatch(name, weight, {key: (delta,) for key, delta in found.items()}, source) if found else None


def _raise_for_numbers(name: str, state: Mapping[str, Any]) -> None:
    """Refuse NaN and infinity, which would spoil the network without a word. One read of the file's own tensors."""
    for key, value in state.items():
        for tensor in value if isinstance(value, tuple | list) else (value,):
            if isinstance(tensor, Tensor) and not _is_finite(tensor):
                raise BadFile(f"{name} holds NaN or infinity, first in {key}: it is damaged or was trained to pieces")


def _is_finite(tensor: Tensor) -> bool:
    """A finite sum says that all numbers are; only another one calls for a look at each."""
    if not tensor.is_floating_point():
        return True
    tensor = tensor.float()
    return bool(tensor.sum().isfinite()) or bool(tensor.isfinite().all())


def _no_place(name: str, homeless: list[str], state: Mapping[str, Any], model: Model) -> BadFile:
    if not state:
        return BadFile(f"{name} is empty: choose a LoRA file")
    first = ", ".join(sorted(homeless)[:3])
    if other := _other_family(state, model):
        return BadFile(
            f"{name} is for {other}, and {model.name or 'the model'} is {TITLES[model.family]}: {len(homeless)} of its "
            f"{len(state)} entries have no place ({first}, …); choose a LoRA for {TITLES[model.family]}"
        )
    if len(homeless) == len(state):
        return BadFile(
            f"{name} fits nothing in this model: none of its {len(state)} entries ({first}, …) has a place; it is for "
            "another model family, or no LoRA"
        )
    return BadFile(
        f"{name} fits this model only in part: {len(homeless)} of its {len(state)} entries have no place ({first}, …); "
        "it is for a relative of the model, or of a kind that is not known here"
    )


def _misfit(name: str, state: Mapping[str, Any], model: Model, target: Target) -> BadFile:
    wrong = sorted(target.misfits)
    shapes = [f"{key} {tuple(target.shapes[key]) if key in target.shapes else '–'}" for key in wrong[:3]]
    other = _other_family(state, model)
    return BadFile(
        f"{name} is for {other or 'another model family'}{f', not for {TITLES[model.family]}' if other else ''}: "
        f"{len(wrong)} of its {len(target.found)} changes are not of the shape of the weights that they name "
        f"({', '.join(shapes)}, …)"
    )


def _other_family(state: Mapping[str, Any], model: Model) -> str | None:
    family = family_of(state)
    return family if family != TITLES[model.family] else None


def _shapes(part: Any) -> Hashable:
    """What a change is made of: its kind and the shapes of its factors."""
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
