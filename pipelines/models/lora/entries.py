"""The entries of a LoRA file for one weight, read in every format (Fooocus modules/lora.py).

The key of an entry is the name of a weight and a suffix for the part, such as 'up' or 'down'. Each training program
spells these suffixes in its own way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...errors import BadFile
from ..weights.deltas import Decomposed, Delta, Difference, Generalised, Hadamard, Kronecker, LowRank, Quantised

ADAPTER = r"(?:\.[^.]+)?"  # PEFT's name of the adapter, left in by some programs
_LORA = r"lora(?:_linear_layer)?"
_SPELLINGS = {
    "alpha": r"(?:lora[._])?alpha",
    "up": rf"{_LORA}[._]up(?:\.weight)?|lora_B{ADAPTER}\.weight|lora_B",
    "down": rf"{_LORA}[._]down(?:\.weight)?|lora_A{ADAPTER}\.weight|lora_A",
    "mid": rf"{_LORA}[._]mid(?:\.weight)?",
    "embedding_a": rf"lora_embedding_A{ADAPTER}",
    "embedding_b": rf"lora_embedding_B{ADAPTER}",
    "up_b": rf"lora_B{ADAPTER}\.bias",
    "dora": r"dora_scale(?:\.weight)?",
    "magnitude": rf"lora_magnitude_vector{ADAPTER}(?:\.weight)?",
    **{part: rf"{part}{ADAPTER}" for part in ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")},
    **{part: rf"{part}{ADAPTER}" for part in ("hada_t1", "hada_t2", "lokr_t2")},
    **{part: rf"{part}{ADAPTER}" for part in ("lokr_w1", "lokr_w1_a", "lokr_w1_b")},
    **{part: rf"{part}{ADAPTER}" for part in ("lokr_w2", "lokr_w2_a", "lokr_w2_b")},
    **{part: rf"{part}\.weight" for part in ("a1", "a2", "b1", "b2")},
    **{part: part for part in ("w_norm", "b_norm", "diff", "diff_b")},
}
_SUFFIX = re.compile("[._]?(?:" + "|".join(f"(?P<{part}>{pattern})" for part, pattern in _SPELLINGS.items()) + ")$")
_UNNAMED_PART = ""
WEIGHT, BIAS = "weight", "bias"


class Entries:
    """The entries of a file for one weight, by part. Entries that nothing pops are reported as unused."""

    def __init__(self) -> None:
        self._parts: dict[str, tuple[str, Any]] = {}

    def add(self, part: str, key: str, value: Any) -> None:
        """Add an entry. A second one for the same part is kept under its whole key, so that it remains unused."""
        self._parts[key if part in self._parts else part] = (key, value)

    def has(self, *parts: str) -> bool:
        """True if all of these parts are present and not popped yet."""
        return all(part in self._parts for part in parts)

    def key(self, part: str) -> str:
        """The key in the file of a part. Raises KeyError."""
        return self._parts[part][0]

    def pop(self, part: str) -> Any:
        """Remove a part and return its value. Raises KeyError."""
        return self._parts.pop(part)[1]

    def pop_optional(self, part: str) -> Any:
        """Remove a part and return its value; None if it is missing."""
        return self._parts.pop(part, ("", None))[1]

    def unused(self) -> list[str]:
        """The keys in the file of the entries that have not been popped."""
        return [key for key, _ in self._parts.values()]


def group_by_weight(state: Mapping[str, Any]) -> dict[str, Entries]:
    """Entries by the name of their weight. A key without a known suffix is itself the name of a weight."""
    groups: dict[str, Entries] = {}
    for key, value in state.items():
        match = _SUFFIX.search(key) if isinstance(value, Tensor) else None
        base = key[: match.start()] if match else key
        groups.setdefault(base, Entries()).add(match.lastgroup or _UNNAMED_PART if match else _UNNAMED_PART, key, value)
    return groups


def parse_changes(entries: Entries) -> dict[str, Delta]:
    """The changes that the entries describe, to the weight itself (WEIGHT) and to its module's bias (BIAS).

    Entries without a meaning stay in `entries`. If several formats are mixed, the last one counts, as in Fooocus.
    Raises BadFile.
    """
    found: dict[str, Delta] = {}
    alpha_key = entries.key("alpha") if entries.has("alpha") else ""
    alpha = _alpha(entries)
    for read in (_quantised, _low_rank, _hadamard, _kronecker, _generalised):
        if delta := read(entries, alpha):
            found[WEIGHT] = delta
    if isinstance(product := found.get(WEIGHT), LowRank) and entries.has("up_b") and product.down.numel():
        found[BIAS] = Difference(entries.pop("up_b"), 1.0 if alpha is None else alpha / len(product.down.flatten(1)))
    if WEIGHT in found:
        found[WEIGHT] = _decomposed(entries, found[WEIGHT])
    for part, slot in (("w_norm", WEIGHT), ("b_norm", BIAS), ("diff", WEIGHT), ("diff_b", BIAS)):
        if entries.has(part):
            found[slot] = Difference(entries.pop(part))
    if alpha_key and not found:  # a scale without factors
        entries.add("alpha", alpha_key, alpha)
    return found


def _alpha(entries: Entries) -> float | None:
    if not entries.has("alpha"):
        return None
    key, alpha = entries.key("alpha"), entries.pop("alpha")
    if alpha.numel() != 1:
        raise BadFile(f"{key} has the shape {tuple(alpha.shape)}, expected a single number: download the LoRA again")
    return float(alpha.item())


def _decomposed(entries: Entries, change: Delta) -> Delta:
    for part in ("dora", "magnitude"):
        if entries.has(part):
            return Decomposed(change, entries.pop(part), peft=part == "magnitude")
    return change


def _quantised(entries: Entries, alpha: float | None) -> Delta | None:
    """An entry of the inpaint patch: (bytes, lowest, highest). A tensor in its place belongs to a checkpoint."""
    if not entries.has(_UNNAMED_PART):
        return None
    key, value = entries.key(_UNNAMED_PART), entries.pop(_UNNAMED_PART)
    if isinstance(value, tuple | list) and len(value) == 3 and isinstance(value[0], Tensor):
        return Quantised(*value)
    entries.add(_UNNAMED_PART, key, value)
    return None


def _low_rank(entries: Entries, alpha: float | None) -> Delta | None:
    if entries.has("embedding_a", "embedding_b"):  # PEFT's A (r, tokens) and B (width, r) for a weight (tokens, width)
        return LowRank(entries.pop("embedding_a").T, entries.pop("embedding_b").T, None, alpha)
    if not entries.has("up", "down"):
        return None
    return LowRank(entries.pop("up"), entries.pop("down"), entries.pop_optional("mid"), alpha)


def _hadamard(entries: Entries, alpha: float | None) -> Delta | None:
    if not entries.has("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"):
        return None
    one, two = ((entries.pop(f"hada_w{i}_a"), entries.pop(f"hada_w{i}_b")) for i in (1, 2))
    has_cores = entries.has("hada_t1", "hada_t2")
    cores = (entries.pop("hada_t1"), entries.pop("hada_t2")) if has_cores else None
    return Hadamard(one, two, cores, alpha)


def _kronecker(entries: Entries, alpha: float | None) -> Delta | None:
    if not all(entries.has(w) or entries.has(w + "_a", w + "_b") for w in ("lokr_w1", "lokr_w2")):
        return None
    one, two = (
        entries.pop(w) if entries.has(w) else (entries.pop(w + "_a"), entries.pop(w + "_b"))
        for w in ("lokr_w1", "lokr_w2")
    )
    return Kronecker(one, two, entries.pop_optional("lokr_t2"), alpha)


def _generalised(entries: Entries, alpha: float | None) -> Delta | None:
    if not entries.has("a1", "a2", "b1", "b2"):
        return None
    a1, a2, b1, b2 = (entries.pop(part) for part in ("a1", "a2", "b1", "b2"))
    return Generalised(a1, a2, b1, b2, alpha)
