"""CLIP's byte-pair tokenizer as Fooocus runs it: transformers 4.42's Python CLIPTokenizer without ftfy.

Later versions of transformers split CJK text and control characters differently, so the splitting is done here. The
vocabulary is not part of this package: `find_vocabulary` looks for it.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import re
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from ..errors import BadFile, MissingFile
from .emphasis import WeightedToken, pack, weighted_words

START, END = "<|startoftext|>", "<|endoftext|>"
EMBEDDING = "embedding:"
CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
MERGES_OF_CLIP = 48_894
HUB_REPOSITORY = "openai/clip-vit-large-patch14"
CJK = (
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF), (0x2F800, 0x2FA1F),
)  # fmt: skip


@dataclass(frozen=True)
class Vocabulary:
    """Symbols with their ids, and the byte-pair merges, highest rank first. The last two ids are start and end."""

    ids: Mapping[str, int]
    merges: Sequence[tuple[str, str]]
    source: str = ""


class ClipTokenizer:
    """Converts text to token ids and weights."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.start, self.end = len(vocabulary.ids) - 2, len(vocabulary.ids) - 1
        self._ranks = {pair: rank for rank, pair in enumerate(vocabulary.merges)}
        self._word_ids = lru_cache(maxsize=1 << 16)(self._split_word)

    def __len__(self) -> int:
        return len(self.vocabulary.ids)

    def ids(self, text: str) -> list[int]:
        """Return the token ids of a text, without start and end."""
        found: list[int] = []
        for stretch in re.split(f"({re.escape(START)}|{re.escape(END)})", text):
            words = [stretch] if stretch in (START, END) else split_words(clean(stretch))
            for word in words:
                found += self._word_ids(word)
        return found

    def sections(
        self, text: str, pad: int, embeddings: Mapping[str, Sequence[int]] | None = None
    ) -> list[list[WeightedToken]]:
        """Tokenize a text with emphasis into one or more sections of 77 (token id, weight) pairs.

        `embeddings`: the token ids of each 'embedding:NAME', by name; an unknown name is left out. With None, such a
        word is ordinary text.
        """
        groups = [
            [(i, weight) for i in ids]
            for word, weight in weighted_words(text)
            for ids in self._ids_of_word(word, embeddings)
        ]
        return pack(groups, self.start, self.end, pad)

    def _ids_of_word(self, word: str, embeddings: Mapping[str, Sequence[int]] | None) -> Iterator[Sequence[int]]:
        if embeddings is not None and word.startswith(EMBEDDING):
            name = word.removeprefix(EMBEDDING)
            found = name if name in embeddings else name.strip(",")
            yield embeddings.get(found, ())
            word = name[len(found) :]  # counted from the front, as Fooocus does, even when commas came first
        yield self.ids(word)

    def _split_word(self, word: str) -> tuple[int, ...]:
        if word in (START, END):
            return (self.vocabulary.ids[word],)
        symbols = [BYTE_SYMBOLS[byte] for byte in word.encode()]
        symbols[-1] += "</w>"
        return tuple(self.vocabulary.ids.get(symbol, self.end) for symbol in self._merge(symbols))

    def _merge(self, symbols: list[str]) -> list[str]:
        """Merge the highest-ranked pair wherever it occurs, until no known pair is left (Sennrich et al. 2016)."""
        while len(symbols) > 1:
            best = min(pairwise(symbols), key=lambda pair: self._ranks.get(pair, len(self._ranks)))
            if best not in self._ranks:
                break
            merged: list[str] = []
            at = 0
            while at < len(symbols):
                taken = 2 if tuple(symbols[at : at + 2]) == best else 1
                merged.append("".join(symbols[at : at + taken]))
                at += taken
            symbols = merged
        return symbols


def clean(text: str) -> str:
    """Normalise a text: NFC, lower case, single spaces, no control characters, spaces around CJK ideographs."""
    kept = []
    for character in text:
        if character in "\t\n\r" or unicodedata.category(character) == "Zs":
            kept.append(" ")
        elif character == "\ufffd" or unicodedata.category(character).startswith("C"):
            continue
        elif any(first <= ord(character) <= last for first, last in CJK):
            kept.append(f" {character} ")
        else:
            kept.append(character)
    return " ".join(word.lower() for word in unicodedata.normalize("NFC", "".join(kept)).split())


def split_words(text: str) -> Iterator[str]:
    """Split lower-cased text into runs of letters, single digits, English contractions and runs of anything else."""
    at = 0
    while at < len(text):
        special = next((s for s in (START, END, *CONTRACTIONS) if text.startswith(s, at)), None)
        kind = _kind(text[at])
        after = at + 1
        if special is not None:
            after = at + len(special)
        elif kind in "LP":
            while after < len(text) and _kind(text[after]) == kind:
                after += 1
        if kind != " ":
            yield text[at:after]
        at = after


def _kind(character: str) -> str:
    """Return 'L' for a letter, 'N' for a number, ' ' for a space and 'P' for anything else."""
    category = unicodedata.category(character)[0]
    return category if category in "LN" else " " if character.isspace() else "P"


def _byte_symbols() -> dict[int, str]:
    """Map each byte to a visible character, in the order of CLIP's vocabulary."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in set(visible)]
    return {byte: chr(byte) for byte in visible} | {byte: chr(256 + n) for n, byte in enumerate(hidden)}


BYTE_SYMBOLS = _byte_symbols()


def find_vocabulary(beside: Path | None = None) -> Vocabulary:
    """Find CLIP's vocabulary. Raises MissingFile, naming what to install, if no place has it.

    The places, in order: the folder NAME.tokenizer next to the model file `beside`, or `tokenizer` next to its folder,
    as in diffusers; ComfyUI; the installed package open_clip_torch, which is read but not imported; the Hugging Face
    cache.
    """
    for own in (beside.with_suffix(".tokenizer"), beside.parent.parent / "tokenizer") if beside else ():
        if (own / "vocab.json").is_file():
            return read_vocabulary(own / "vocab.json", own / "merges.txt")
    for folder in _package_folders("comfy"):
        if (folder / "sd1_tokenizer" / "merges.txt").is_file():
            return read_vocabulary(folder / "sd1_tokenizer" / "vocab.json", folder / "sd1_tokenizer" / "merges.txt")
    for folder in _package_folders("open_clip"):
        if (folder / "bpe_simple_vocab_16e6.txt.gz").is_file():
            return read_openclip_vocabulary(folder / "bpe_simple_vocab_16e6.txt.gz")
    if cached := _in_hub_cache():
        return read_vocabulary(*cached)
    raise MissingFile(
        "CLIP's vocabulary was not found (looked in: a folder MODEL.tokenizer beside the model, ComfyUI, open_clip, "
        "the Hugging Face cache): run `pip install --no-deps open_clip_torch`, "
        "or `fooocus-stages assets fetch vocabulary`"
    )


def read_vocabulary(vocab: Path, merges: Path) -> Vocabulary:
    """Read a vocabulary from Hugging Face's two files. Raises BadFile."""
    try:
        ids = json.loads(vocab.read_text("utf-8"))
        lines = merges.read_text("utf-8").split("\n")
        header = lines[0].startswith("#version")
        pairs = [_pair(line) for line in lines[header:] if line.strip()]
    except (OSError, ValueError) as error:
        raise BadFile(f"the tokenizer in {vocab.parent} can't be read ({error}): fetch it again") from error
    if not isinstance(ids, dict) or sorted(ids.values()) != list(range(len(ids))):
        raise BadFile(f"{vocab} is not a vocabulary: its ids must count up from 0 without gaps")
    if ids.get(START) != len(ids) - 2 or ids.get(END) != len(ids) - 1:
        raise BadFile(f"{vocab} is not a vocabulary of CLIP: {START} and {END} must be its last two entries")
    return Vocabulary(ids, pairs, str(vocab.parent))


def read_openclip_vocabulary(path: Path) -> Vocabulary:
    """Read OpenCLIP's single file: bytes, bytes at a word's end, merges, start and end. Raises BadFile."""
    try:
        lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")
        pairs = [_pair(line) for line in lines[1 : MERGES_OF_CLIP + 1]]
    except (OSError, EOFError, ValueError) as error:
        raise BadFile(f"{path} can't be read ({error}): reinstall open_clip_torch") from error
    symbols = list(BYTE_SYMBOLS.values())
    names = [*symbols, *(s + "</w>" for s in symbols), *(a + b for a, b in pairs), START, END]
    return Vocabulary({name: i for i, name in enumerate(names)}, pairs, str(path))


def _pair(line: str) -> tuple[str, str]:
    first, second = line.split()
    return first, second


def _package_folders(name: str) -> list[Path]:
    """Return the folders of an installed or running package without importing it."""
    if name in sys.modules:
        return [Path(folder) for folder in getattr(sys.modules[name], "__path__", [])]
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return []
    return [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []


def _in_hub_cache() -> tuple[Path, Path] | None:
    from huggingface_hub import try_to_load_from_cache

    found = [try_to_load_from_cache(HUB_REPOSITORY, name) for name in ("vocab.json", "merges.txt")]
    paths = [Path(path) for path in found if isinstance(path, str)]
    return (paths[0], paths[1]) if len(paths) == 2 else None
