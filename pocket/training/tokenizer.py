"""A small byte-pair tokenizer in CLIP's format, learned from the captions."""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

WORD = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|[^\s\w]+|_+", re.IGNORECASE)
START, END = "<|startoftext|>", "<|endoftext|>"
LENGTH = 77


def byte_symbols() -> dict[int, str]:
    """Map each byte to a printable character: itself where visible, else one from 256 upwards."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    symbols = {byte: chr(byte) for byte in visible}
    hidden = [byte for byte in range(256) if byte not in symbols]
    return symbols | {byte: chr(256 + n) for n, byte in enumerate(hidden)}


BYTES = byte_symbols()


def split_word(word: str) -> tuple[str, ...]:
    """Return the byte symbols of a lower-case word, the last one with the end-of-word mark."""
    letters = [BYTES[b] for b in word.encode("utf-8")]
    return (*letters[:-1], letters[-1] + "</w>")


def _join(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    """Merge each occurrence of the pair into one symbol."""
    out: list[str] = []
    i = 0
    while i < len(word):
        if word[i : i + 2] == pair:
            out.append(pair[0] + pair[1])
            i += 2
        else:
            out.append(word[i])
            i += 1
    return tuple(out)


def learn_merges(counts: Counter[str], most: int) -> list[tuple[str, str]]:
    """Learn up to `most` merges by frequency (Sennrich et al. 2016), ties in alphabetical order."""
    words = {split_word(word): n for word, n in counts.items()}
    merges: list[tuple[str, str]] = []
    while len(merges) < most:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, n in words.items():
            for pair in pairwise(word):
                pairs[pair] += n
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        words = {_join(word, best): n for word, n in words.items()}
    return merges


class Tokenizer:
    """Maps words to ids: 256 byte symbols, the same with `</w>`, the merges, then the start and end tokens."""

    def __init__(self, merges: list[tuple[str, str]]) -> None:
        symbols = [BYTES[b] for b in sorted(BYTES, key=lambda b: (len(BYTES[b].encode()), b))]
        names = [*symbols, *(s + "</w>" for s in symbols), *("".join(m) for m in merges), START, END]
        self.merges = merges
        self.vocabulary = {name: i for i, name in enumerate(names)}
        self.ranks = {pair: i for i, pair in enumerate(merges)}
        self.start, self.end = len(names) - 2, len(names) - 1
        self.word_ids = lru_cache(maxsize=None)(self._word_ids)

    def __len__(self) -> int:
        return self.end + 1

    def _word_ids(self, word: str) -> tuple[int, ...]:
        parts = split_word(word)
        while len(parts) > 1:
            pair = min(pairwise(parts), key=lambda p: self.ranks.get(p, len(self.ranks)))
            if pair not in self.ranks:
                break
            parts = _join(parts, pair)
        return tuple(self.vocabulary[part] for part in parts)

    def ids(self, text: str) -> list[int]:
        """Return the ids of a text without start and end tokens."""
        return [i for word in WORD.findall(text.lower()) for i in self.word_ids(word)]

    def section(self, text: str, pad: int) -> list[int]:
        """Return one 77-token section: start, the text truncated to 75 tokens, end, padding."""
        ids = [self.start, *self.ids(text)[: LENGTH - 2], self.end]
        return ids + [pad] * (LENGTH - len(ids))

    def save(self, folder: Path) -> None:
        """Write `vocab.json` and `merges.txt` as Hugging Face's CLIP tokenizer reads them."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "vocab.json").write_text(json.dumps(self.vocabulary, ensure_ascii=False), encoding="utf-8")
        lines = ["#version: 0.2", *(" ".join(pair) for pair in self.merges)]
        (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def load(folder: Path) -> Tokenizer:
    """Read a saved tokenizer."""
    lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()[1:]
    return Tokenizer([(a, b) for a, b in (line.split(" ") for line in lines if line)])
