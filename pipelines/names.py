"""Names of files, styles, presets, wildcards and choices, compared as people type them.

Two names are equal when they differ only in slashes, letter case, the composition of accents (Unicode NFC or NFD), or
the sign in a size (1024×1024, 1024x1024).
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence

FEW = 3
_AROUND_SPACES = re.compile(r"\s+(?=/|\.[^./\s]+\s*$)|(?<=/)\s+")
NEAR = 0.6  # difflib's ratio from which a name is worth suggesting


def slashed(name: str) -> str:
    """The name with forward slashes, in NFC."""
    return unicodedata.normalize("NFC", _slashes(name))


def folded(name: str) -> str:
    """The key under which all spellings of a name are equal; letter case is folded as Unicode's caseless matching.

    Upper case comes first, because some letters (the dotless i, the long s, the final sigma) have a capital in
    common with others. Spaces at the ends of folders, stems and suffixes are dropped.
    """
    decomposed = unicodedata.normalize("NFD", slashed(name).replace("×", "x"))
    caseless = unicodedata.normalize("NFC", unicodedata.normalize("NFD", decomposed.upper()).casefold())
    return _AROUND_SPACES.sub("", caseless).strip()


def base(name: str) -> str:
    """The last part of a path, whichever slashes it has."""
    return _slashes(name).rsplit("/", 1)[-1]


def stem(name: str) -> str:
    """The last part of a path without its suffix."""
    return base(_without_suffix(name))


def same(one: str, other: str) -> bool:
    """True when two names differ only in spelling."""
    return folded(one) == folded(other)


def match_name(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` spells, an exact match first; None when there is none."""
    listed = list(known)
    for spelling in SPELLINGS:
        if found := next((one for one in listed if spelling(one) == spelling(name)), None):
            return found
    return None


def match_file(name: str, files: Sequence[str]) -> str | None:
    """The listed file that `name` means: its whole path, with or without suffix, else its file name or its stem.

    An exact spelling goes before another one, and among files of one name the one with the most folders in common.
    """
    if name in files:
        return name
    path, last = _slashes(name), base(name)
    as_paths = ((_slashes, path), (_without_suffix, path)) if "/" in path else ((_slashes, path),)
    for part, wanted in (*as_paths, (base, last), (stem, last)):
        for spelling in SPELLINGS:
            if found := [file for file in files if spelling(part(file)) == spelling(wanted)]:
                return max(found, key=lambda file: _folders_in_common(file, name))
    return None


def file_below(name: str, files: Sequence[str]) -> str | None:
    """The first listed file whose path ends in all of `name`, with or without its suffix; None when there is none."""
    for spelling in SPELLINGS:
        wanted = spelling(_slashes(name))
        for file in files:
            if any(f"/{spelling(path)}".endswith(f"/{wanted}") for path in (_slashes(file), _without_suffix(file))):
                return file
    return None


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Up to three known names that are close to `name`, the closest first; none that looks the same."""
    by_fold = {folded(one): one for one in known}
    by_fold.pop(folded(name), None)
    return [by_fold[near] for near in difflib.get_close_matches(folded(name), by_fold, n=FEW, cutoff=NEAR)]


def _as_it_is(name: str) -> str:
    return name


def _slashes(name: str) -> str:
    return name.replace("\\", "/")


def _without_suffix(name: str) -> str:
    folder, slash, last = _slashes(name).rpartition("/")
    front, dot, _ = last.rpartition(".")
    return f"{folder}{slash}{front if dot and front else last}"


def _folders_in_common(file: str, name: str) -> int:
    """The number of folders, counted from the file upwards, that both paths have."""
    pairs = zip(folded(file).split("/")[-2::-1], folded(name).split("/")[-2::-1], strict=False)
    count = 0
    for one, other in pairs:
        if one != other:
            break
        count += 1
    return count


SPELLINGS = (_as_it_is, slashed, folded)
"""Comparisons of two names, in this order: exactly, with one kind of slashes and accents, in any letter case."""
