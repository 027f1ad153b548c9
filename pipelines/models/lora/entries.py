"""The entries of a LoRA file about one weight, read in every format (Fooocus modules/lora.py).

An entry's name is that of a weight and a suffix that tells the part: 'up' and 'down' have as many spellings as there
were programs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...errors import BadFile
from ..weights.deltas import Decomposed, Delta, Difference, Generalised, Hadamard, Kronecker, LowRank, Quantised

_ADAPTER = r"(?:\.[A-Za-z0-9_\-]+)?"  # PEFT's name of the adapter, left in by some programs
_LORA = r"lora(?:_linear_layer)?"
_SPELLINGS = {
    "alpha": r"(?:lora_)?alpha",
    "up": rf"{_LORA}[._]up(?:\.weight)?|lora_B{_ADAPTER}\.weight|lora_B",
    "down": rf"{_LORA}[._]down(?:\.weight)?|lora_A{_ADAPTER}\.weight|lora_A",
    "mid": rf"{_LORA}[._]mid(?:\.weight)?",
    "embedding_a": rf"lora_embedding_A{_ADAPTER}",
    "embedding_b": rf"lora_embedding_B{_ADAPTER}",
    "up_b": rf"lora_B{_ADAPTER}\.bias",
    "dora": r"dora_scale(?:\.weight)?",
    "magnitude": rf"lora_magnitude_vector{_ADAPTER}(?:\.weight)?",
    **{part: rf"{part}{_ADAPTER}" for part in ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")},
    **{part: rf"{part}{_ADAPTER}" for part in ("hada_t1", "hada_t2", "lokr_t2")},
    **{part: rf"{part}{_ADAPTER}" for part in ("lokr_w1", "lokr_w1_a", "lokr_w1_b")},
    **{part: rf"{part}{_ADAPTER}" for part in ("lokr_w2", "lokr_w2_a", "lokr_w2_b")},
    **{part: rf"{part}\.weight" for part in ("a1", "a2", "b1", "b2")},
    **{part: part for part in ("w_norm", "b_norm", "diff", "diff_b")},
}
_SUFFIX = re.compile("[._]?(?:" + "|".join(f"(?P<{part}>{pattern})" for part, pattern in _SPELLINGS.items()) + ")$")
_WHOLE = ""
WEIGHT, BIAS = "weight", "bias"


class Entries:
    """The entries of a file about one weight, by part. Those that are never taken have no meaning here."""

    def __init__(self) -> None:
        self._parts: dict[str, tuple[str, Any]] = {}

    def add(self, part: str, key: str, value: Any) -> None:
        """A second entry for the same part stays under its whole key and counts as left out."""
        self._parts[key if part in self._parts else part] = (key, value)

    def has(self, *parts: str) -> bool:
        """True if none of these parts is missing or taken."""
        return all(part in self._parts for part in parts)

    def key(self, part: str) -> str:
        """The key in the file of a part that must be there."""
        return self._parts[part][0]

    def take(self, part: str) -> Any:
        """The value of a part that must be there."""
        return self._parts.pop(part)[1]

    def take_if(self, part: str) -> Any:
        """The value of a part, or None."""
        return self._parts.pop(part, ("", None))[1]

    def left(self) -> list[str]:
        """The keys in the file of what has not been taken."""
        return [key for key, _ in self._parts.values()]


def grouped(state: Mapping[str, Any]) -> dict[str, Entries]:
    """Entries by the name of the weight that they are about. An entry without a known suffix is named as the weight."""
    groups: dict[str, Entries] = {}
    for key, value in state.items():
        match = _SUFFIX.search(key) if isinstance(value, Tensor) else None
        base = key[: match.start()] if match else key
        groups.setdefault(base, Entries()).add(match.lastgroup or _WHOLE if match else _WHOLE, key, value)
    return groups


def understand(entries: Entries) -> dict[str, Delta]:
    """The changes that the entries describe, to the weight itself (WEIGHT) and to its module's bias (BIAS).

    What says nothing stays in `entries`. Where several ways of storing a change are mixed, the last one counts, as in
    Fooocus. Raises BadFile.
    """
    found: dict[str, Delta] = {}
    alpha_key = entries.key("alpha") if entries.has("alpha") else ""
    alpha = _alpha(entries)
    for read in (_whole, _low_rank, _hadamard, _kronecker, _generalised):
        if delta := read(entries, alpha):
            found[WEIGHT] = delta
    if isinstance(product := found.get(WEIGHT), LowRank) and entries.has("up_b") and product.down.numel():
        found[BIAS] = Difference(entries.take("up_b"), 1.0 if alpha is None else alpha / len(product.down.flatten(1)))
    if WEIGHT in found:
        found[WEIGHT] = _decomposed(entries, found[WEIGHT])
    for part, slot in (("w_norm", WEIGHT), ("b_norm", BIAS), ("diff", WEIGHT), ("diff_b", BIAS)):
        if entries.has(part):
            found[slot] = Difference(entries.take(part))
    if alpha_key and not found:  # a scale of nothing
        entries.add("alpha", alpha_key, alpha)
    return found


def _alpha(entries: Entries) -> float | None:
    if not entries.has("alpha"):
        return None
    key, alpha = entries.key("alpha"), entries.take("alpha")
    if alpha.numel() != 1:
        raise BadFile(f"{key} has the shape {tuple(alpha.shape)} and not one number: download the LoRA again")
    return float(alpha.item())


def _decomposed(entries: Entries, change: Delta) -> Delta:
    for part in ("dora", "magnitude"):
        if entries.has(part):
            return Decomposed(change, entries.take(part), peft=part == "magnitude")
    return change


def _whole(entries: Entries, alpha: float | None) -> Delta | None:
    """An entry of the inpaint patch: (bytes, lowest, highest). A tensor there means a checkpoint, not a patch."""
    if not entries.has(_WHOLE):
        return None
    key, value = entries.key(_WHOLE), entries.take(_WHOLE)
    if isinstance(value, tuple | list) and len(value) == 3 and isinstance(value[0], Tensor):
        return Quantised(*value)
    entries.add(_WHOLE, key, value)
    return None


def _low_rank(entries: Entries, alpha: float | None) -> Delta | None:
    if entries.has("embedding_a", "embedding_b"):  # PEFT's A (r, tokens) and B (width, r) for a weight (tokens, width)
        return LowRank(entries.take("embedding_a").T, entries.take("embedding_b").T, None, alpha)
    if not entries.has("up", "down"):
        return None
    return LowRank(entries.take("up"), entries.take("down"), entries.take_if("mid"), alpha)


def _hadamard(entries: Entries, alpha: float | None) -> Delta | None:
    if not entries.has("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"):
        return None
    one, two = ((entries.take(f"hada_w{i}_a"), entries.take(f"hada_w{i}_b")) for i in (1, 2))
    has_cores = entries.has("hada_t1", "hada_t2")
    cores = (entries.take("hada_t1"), entries.take("hada_t2")) if has_cores else None
    return Hadamard(one, two, cores, alpha)


def _kronecker(entries: Entries, alpha: float | None) -> Delta | None:
    if not all(entries.has(w) or entries.has(w + "_a", w + "_b") for w in ("lokr_w1", "lokr_w2")):
        return None
    one, two = (
        entries.take(w) if entries.has(w) else (entries.take(w + "_a"), entries.take(w + "_b"))
        for w in ("lokr_w1", "lokr_w2")
    )
    return Kronecker(one, two, entries.take_if("lokr_t2"), alpha)


def _generalised(entries: Entries, alpha: float | None) -> Delta | None:
    if not entries.has("a1", "a2", "b1", "b2"):
        return None
    a1, a2, b1, b2 = (entries.take(part) for part in ("a1", "a2", "b1", "b2"))
    return Generalised(a1, a2, b1, b2, alpha)
