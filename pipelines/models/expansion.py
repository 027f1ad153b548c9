"""Prompt expansion, the pseudo style `Fooocus V2`: a text continued with words that fit (extras/expansion.py)."""

from __future__ import annotations

import random
from collections.abc import Callable

Expander = Callable[[str, int], str]
"""(text, seed) -> the whole text: the prompt and its continuation; '' for ''. The same arguments, the same text."""

STAND_IN_PHRASES = (
    "thoughtful composition", "clear focal point", "balanced contrast", "layered depth", "delicate detail",
    "coherent light", "subtle colour harmony", "quiet background", "convincing materials", "graceful lines",
    "expressive mood", "fine texture", "gentle highlights", "deep clean shadows", "elegant proportions",
    "lively gesture", "atmospheric air", "polished finish", "natural rhythm", "strong silhouette",
)  # fmt: skip
PHRASES_ADDED = 6


def safe_str(text: str) -> str:
    """A text with runs of spaces shortened, and no commas, periods, spaces or line ends around it."""
    for _ in range(16):
        text = text.replace("  ", " ")
    return text.strip(",. \r\n")


def stand_in_expander(text: str, seed: int) -> str:
    """Continue a text with a few general phrases drawn by `seed` (mod 2³²), while there is no expansion model."""
    text = safe_str(text)
    if not text:
        return ""
    fresh = [phrase for phrase in STAND_IN_PHRASES if phrase not in text.lower()]
    chosen = random.Random(seed % 2**32).sample(fresh, min(PHRASES_ADDED, len(fresh)))
    return ", ".join([text, *chosen])
