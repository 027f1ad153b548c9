"""Prompt expansion, the pseudo style `Fooocus V2`, which continues a text with fitting words (extras/expansion.py).

This module handles texts, word lists and the stand-in, and needs no torch; `gpt2` holds the network.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import BadFile

Expander = Callable[[str, int], str]
"""(text, seed) -> the prompt followed by its continuation; '' for ''. Equal arguments give equal texts."""

STAND_IN_PHRASES = (
    "thoughtful composition", "clear focal point", "balanced contrast", "layered depth", "delicate detail",
    "coherent light", "subtle colour harmony", "quiet background", "convincing materials", "graceful lines",
    "expressive mood", "fine texture", "gentle highlights", "deep clean shadows", "elegant proportions",
    "lively gesture", "atmospheric air", "polished finish", "natural rhythm", "strong silhouette",
)  # fmt: skip
PHRASES_ADDED = 6
BUDGET = 75  # tokens: what CLIP reads at a time
TIGHTENED = (
    (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"), (" 's", "'s"),
    (" 've", "'ve"), (" 're", "'re"),
)  # fmt: skip


@dataclass(frozen=True)
class ExpansionFiles:
    """Paths of an expansion model's files. `tokenizer`: vocab.json and merges.txt, or tokenizer.json alone."""

    config: Path
    words: Path
    tokenizer: tuple[Path, ...]
    weights: Path

    @property
    def all(self) -> tuple[Path, ...]:
        """Every file, in reading order."""
        return (self.config, self.words, *self.tokenizer, self.weights)


def safe_str(text: str) -> str:
    """Collapse runs of spaces, and strip commas, periods, spaces and line ends from both ends."""
    for _ in range(16):
        text = text.replace("  ", " ")
    return text.strip(",. \r\n")


def tidy_spaces(text: str) -> str:
    """Remove the spaces before punctuation and contractions from a decoded text.

    transformers 4.42 did this when GPT-2's tokenizer decoded; later versions leave it to the caller.
    """
    for loose, tight in TIGHTENED:
        text = text.replace(loose, tight)
    return text


def tokens_to_add(count: int) -> int:
    """Return the number of tokens that complete the last block of 75 after `count` tokens; 0 when it is full."""
    return -count % BUDGET


def read_words(path: Path) -> tuple[str, ...]:
    """Read a word list, one word per line, in lower case, without duplicates. Raises BadFile if not UTF-8 or empty."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"word list {path} can't be read as UTF-8 text: {error}") from error
    if words := tuple(dict.fromkeys(line.lower() for line in lines if line)):
        return words
    raise BadFile(f"word list {path} is empty: it should hold one word per line")


def stand_in_expander(text: str, seed: int) -> str:
    """Append a few general phrases drawn by `seed` (mod 2³²) to a text; used when the expansion model is missing."""
    text = safe_str(text)
    if not text:
        return ""
    fresh = [phrase for phrase in STAND_IN_PHRASES if phrase not in text.lower()]
    chosen = random.Random(seed % 2**32).sample(fresh, min(PHRASES_ADDED, len(fresh)))
    return ", ".join([text, *chosen])
