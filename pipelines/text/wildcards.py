"""Wildcards: `__name__` in a prompt is replaced by a line of the file name.txt (Fooocus modules/util.py).

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
    """Word lists by name; each file is read on first use.

    `sources`: relative file names, each with a function that returns its path. A name selects the first file whose
    path ends in it (`names.file_below`); files without `.txt` are not read (`unread`).
    """

    def __init__(self, sources: Iterable[tuple[str, Callable[[], Path]]] = ()) -> None:
        self._sources: dict[str, Callable[[], Path]] = {}
        self._words: dict[str, tuple[str, ...]] = {}
        self._others: list[str] = []
        for name, find in sources:
            if name.lower().endswith(SUFFIX):
                self._sources.setdefault(name, find)
            else:
                self._others.append(name)

    def __getitem__(self, name: str) -> tuple[str, ...]:
        file = file_below(name, list(self._sources))
        if file is None:
            raise KeyError(name)
        if file not in self._words:
            self._words[file] = read_wildcard_file(self._sources[file]())
        return self._words[file]

    def unread(self, name: str) -> tuple[str, ...]:
        """Return the file of that name with another suffix, or else all other files, whose lists may have the name."""
        own = file_below(name, self._others)
        return tuple(self._others) if own is None else (own,)

    def __iter__(self) -> Iterator[str]:
        return (file[: -len(SUFFIX)] for file in self._sources)

    def __len__(self) -> int:
        return len(self._sources)


def read_wildcard_file(path: Path) -> tuple[str, ...]:
    """Return the non-empty lines of a UTF-8 text file. Raises BadFile naming the file."""
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
    """Replace wildcards until none is left, for at most 64 rounds (Fooocus apply_wildcards).

    With `in_order`, every placeholder takes entry `index` of its list and `rng` is unused; otherwise each placeholder
    draws from `rng`. A name without words is passed to `missing` and becomes plain text; a form that Fooocus doesn't
    know, such as `__folder/name__`, is kept. Raises BadValue if lists that refer to each other make the text too long.
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
