"""Wildcards: `__name__` in a prompt stands for a line of the file name.txt (Fooocus modules/util.py).

Beyond Fooocus, `__folder/name__` names the file with its sub-folder, in either slash.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ..errors import BadFile, BadValue
from ..names import file_below

PLACEHOLDER = re.compile(r"__([\w-]+)__|__((?! )(?:(?!__)[^\n,<>()\[\]{}|:])+(?<! ))__")
PLAIN = re.compile(r"[\w-]+")  # the names that Fooocus knows
SUFFIX = ".txt"
ROUNDS = 64
LONGEST_TEXT = 2**16


class Wildcards(Mapping[str, tuple[str, ...]]):
    """Lists of words by name, each file read when it is first used.

    `sources`: relative file names, each with a function that gives its path. A name means the first file whose path
    ends in it (`names.file_below`); files without `.txt` are passed over.
    """

    def __init__(self, sources: Iterable[tuple[str, Callable[[], Path]]] = ()) -> None:
        self._sources: dict[str, Callable[[], Path]] = {}
        self._words: dict[str, tuple[str, ...]] = {}
        for name, find in sources:
            if name.lower().endswith(SUFFIX):
                self._sources.setdefault(name, find)

    def __getitem__(self, name: str) -> tuple[str, ...]:
        file = file_below(name, list(self._sources))
        if file is None:
            raise KeyError(name)
        if file not in self._words:
            self._words[file] = read_wildcard_file(self._sources[file]())
        return self._words[file]

    def __iter__(self) -> Iterator[str]:
        return (file[: -len(SUFFIX)] for file in self._sources)

    def __len__(self) -> int:
        return len(self._sources)


def read_wildcard_file(path: Path) -> tuple[str, ...]:
    """The lines of a UTF-8 text file that are not empty. Raises BadFile naming the file."""
    try:
        return tuple(line for line in path.read_text(encoding="utf-8-sig").splitlines() if line)
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"wildcard file {path} can't be read as UTF-8 text: {error}; save it in UTF-8") from error


def apply_wildcards(
    text: str,
    words: Mapping[str, Sequence[str]],
    rng: random.Random,
    index: int = 0,
    in_order: bool = False,
    missing: Callable[[str], None] = lambda name: None,
) -> str:
    """Replace wildcards until none is left, at most 64 rounds (Fooocus apply_wildcards).

    In order, every placeholder takes the entry `index` of its list and `rng` is untouched; else each takes its
    own draw. A name with no words is passed to `missing` and becomes plain text; one that Fooocus doesn't know, such
    as `__folder/name__`, stays as it is. Raises BadValue when lists that name each other grow the text without end.
    """
    for _ in range(ROUNDS):
        filled = False
        for name in [plain or longer for plain, longer in PLACEHOLDER.findall(text)]:
            choices = words.get(name, ())
            filled = filled or bool(choices) or PLAIN.fullmatch(name) is not None
            if choices:
                word = choices[index % len(choices)] if in_order else rng.choice(choices)
                text = text.replace(f"__{name}__", word, 1)
            else:
                missing(name)
                text = text.replace(f"__{name}__", name) if PLAIN.fullmatch(name) else text
            if len(text) > LONGEST_TEXT:
                raise BadValue(
                    f"the wildcard {name!r} grows the prompt beyond {LONGEST_TEXT:,} characters: "
                    "a list that names itself, or a very long line?"
                )
        if not filled:
            break
    return text
