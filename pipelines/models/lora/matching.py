"""LoRA files: matching their entries to weights, and the resulting patches (Fooocus modules/lora.py: match_lora).

A file of which most entries match is applied without the others, and a notice counts and names these. (Fooocus silently
ignores up to twelve unknown entries, and the whole file if there are more.)
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import BadFile
from ..handles import Clip, Model
from ..weights.deltas import Delta
from ..weights.files import open_weights, read_state
from ..weights.key_names import UNET
from ..weights.merging import WeightPatch
from . import refusals
from .entries import group_by_weight
from .peft_scales import scales
from .target_names import Name, canonical
from .targets import assign, targets_of

FIRST_OF_CHECKPOINT = UNET + "input_blocks.0.0.weight"
_UNUSED = Name("clip_l", "text_projection")  # no model of Fooocus reads CLIP-L's projection


@dataclass(frozen=True)
class LoraPatches:
    """The changes of one file at one strength, to the UNet and to each text encoder; None for an unchanged network.

    `left_out`: the keys, among `total` entries, that match no weight of the model.
    """

    unet: WeightPatch | None
    encoders: tuple[WeightPatch | None, ...]
    left_out: tuple[str, ...] = ()
    total: int = 0


def read_lora(path: Path) -> dict[str, Any]:
    """Read the entries of a LoRA file, with the scales from PEFT's configuration.

    Raises MissingFile, and BadFile for a damaged file or a checkpoint.
    """
    with open_weights(path) as weights:
        if FIRST_OF_CHECKPOINT in weights.shapes:
            raise BadFile(f"{path.name} is a checkpoint, not a LoRA: choose it in a checkpoint loader")
    state = read_state(path)
    if any(part in key for key in state for part in (".lora_A.", ".lora_embedding_A", ".hada_w1_b", ".lokr_")):
        with open_weights(path) as weights:
            state |= scales(path, weights.metadata, state)
    return state


def source_of(path: Path) -> Hashable:
    """A key for the current content of a file; it changes when the file is written again."""
    status = path.stat()
    return str(path.resolve()), status.st_mtime_ns, status.st_size, status.st_ino


def patches(
    state: Mapping[str, Any],
    name: str,
    weight: float,
    model: Model,
    clip: Clip | None,
    source: Hashable | None = None,
) -> LoraPatches:
    """The changes that the entries of the file `name` describe, at strength `weight`.

    Without a `clip`, entries for text encoders are ignored. Patches with an equal `source` are equal (see WeightPatch).
    Raises BadFile if a value is not finite, if most entries match no weight of the model, or if a change does not have
    the shape of its weight.
    """
    refusals.raise_for_nonfinite(name, state)
    targets = targets_of(model, clip)
    left_out: list[str] = []
    for base, entries in group_by_weight(state).items():
        if not _is_ignored(target := canonical(base), clip):
            assign(target, entries, targets)
            left_out += entries.unused()
    refusals.raise_for_unmatched(name, left_out, state, model)
    for target_network in targets:
        refusals.raise_for_shapes(name, target_network, state, model)
    unet, *encoders = (_patch(name, weight, network.found, source) for network in targets)
    return LoraPatches(unet, tuple(encoders), tuple(sorted(left_out)), len(state))


def _is_ignored(name: Name, clip: Clip | None) -> bool:
    """True for a weight of a text encoder that is not loaded, and for one that no model uses."""
    return name == _UNUSED or (clip is None and name.owner in ("clip_l", "clip_g", "text"))


def _patch(name: str, weight: float, found: Mapping[str, Delta], source: Hashable | None) -> WeightPatch | None:
    return WeightPatch(name, weight, {key: (delta,) for key, delta in found.items()}, source) if found else None
