"""Wildcards: `__name__` in a prompt stands for a line of the file name.txt (Fooocus modules/util.py)."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from ..errors import BadFile, BadValue

PLACEHOLDER = re.compile(r"__([\w-]+)__")
ROUNDS = 64
LONGEST_TEXT = 2**16


class Wildcards(Mapping[str, tuple[str, ...]]):
    """Lists of words by name, each file read when it is first asked for.

    `sources`: relative file names, each with what tells where the file is. The first file of a stem counts, in
    whichever sub-folder it is; names without `.txt` are passed over.
    """

    def __init__(self, sources: Iterable[tuple[str, Callable[[], Path]]] = ()) -> None:
        self._sources: dict[str, Callable[[], Path]] = {}
        self._words: dict[str, tuple[str, ...]] = {}
        for name, find in sources:
            file = PurePosixPath(name.replace("\\", "/"))
            if file.suffix.lower() == ".txt":
                self._sources.setdefault(file.stem, find)

    def __getitem__(self, name: str) -> tuple[str, ...]:
        if name not in self._words:
            self._words[name] = read_wildcard_file(self._sources[name]())
        return self._words[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)


def read_wildcard_file(path: Path) -> tuple[str, ...]:
    """The lines of a UTF-8 text file that are not empty. Raises BadFile naming the file."""
    try:
        return tuple(line for line in path.read_text(encoding="utf-8-sig").splitlines() if line)
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"wildcard file {path} can't be read as UTF-8 text: {error}") from error


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
    own draw. A name with no words becomes plain text and is told to `missing`. Raises BadValue when lists that
    name each other grow the text without end.
    """
    for _ in range(ROUNDS):
        names = PLACEHOLDER.findall(text)
        if not names:
            return text
        for name in names:
            choices = words.get(name, ())
            if choices:
                word = choices[index % len(choices)] if in_order else rng.choice(choices)
                text = text.replace(f"__{name}__", word, 1)
            else:
                missing(name)
                text = text.replace(f"__{name}__", name)
            if len(text) > LONGEST_TEXT:
                raise BadValue(
                    f"the wildcard {name!r} grows the prompt beyond {LONGEST_TEXT:,} characters: "
                    "a list that names itself, or a very long line?"
                )
    return text
