"""Styles: named prompt templates, read from Fooocus's JSON files (Fooocus modules/sdxl_styles.py)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from ..errors import BadFile, UnknownName
from ..names import match_name

PLACEHOLDER = "{prompt}"
STOCK_FILES = (
    "sdxl_styles_fooocus.json",
    "sdxl_styles_sai.json",
    "sdxl_styles_mre.json",
    "sdxl_styles_twri.json",
    "sdxl_styles_diva.json",
    "sdxl_styles_marc_k3nt3l.json",
)
HOW_TO_GET = (
    "the styles of Fooocus are the files of its folder sdxl_styles: run `fooocus-stages assets fetch styles`, "
    "copy them into the models folder 'styles', or name that folder with --styles-dir"
)
LARGEST_FILE = 32 * 2**20
HERE = Path(__file__).parent

Origin = Literal["file", "pack", "stand-in"]


@dataclass(frozen=True)
class Style:
    """A prompt template: `{prompt}` is replaced by the prompt, and each line is a separate text.

    `origin`: a file of the user, the pack itself, or the pack's stand-in for a style of Fooocus.
    """

    name: str
    prompt: str = ""
    negative: str = ""
    origin: Origin = "file"

    @property
    def holds_prompt(self) -> bool:
        """True if the template contains the prompt."""
        return PLACEHOLDER in self.prompt

    def apply(self, text: str) -> tuple[list[str], list[str]]:
        """Return the positive and the negative lines of this style for a text (Fooocus apply_style)."""
        return self.prompt.replace(PLACEHOLDER, text).splitlines(), self.negative.splitlines()


class Styles(Mapping[str, Style]):
    """Styles by name, in reading order; a later style replaces an earlier one of the same name.

    `unread`: files of styles in another format, which errors name.
    """

    def __init__(self, styles: Iterable[Style] = (), unread: Iterable[str] = ()) -> None:
        self._unread = tuple(unread)
        self._by_name: dict[str, Style] = {}
        for style in styles:
            self._by_name[style.name] = style

    def __getitem__(self, name: str) -> Style:
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    @property
    def pool(self) -> tuple[str, ...]:
        """Names that `Random Style` draws from: the styles read from files, or else the pack's own."""
        for origin in ("file", "pack"):
            if names := tuple(name for name, style in self.items() if style.origin == origin):
                return names
        return ()

    def named(self, name: str) -> Style:
        """Return a style by the name in its file or the one Fooocus shows, in any spelling. Raises UnknownName."""
        for spelling in (name, normal_name(name)):
            if (found := match_name(spelling, self)) is not None:
                return self[found]
        others = f"; {', '.join(self._unread)} can't be read: only Fooocus's JSON is" if self._unread else ""
        raise UnknownName("style", name, self, HOW_TO_GET + others)


def normal_name(name: str) -> str:
    """Return a style's name as Fooocus shows it: hyphens become spaces, words are capitalised (normalize_key)."""
    words = name.replace("-", " ").split(" ")
    name = " ".join(word[:1].upper() + word[1:].lower() for word in words)
    for old, new in (("3d", "3D"), ("Sai", "SAI"), ("Mre", "MRE"), ("(s", "(S")):
        name = name.replace(old, new)
    return name


def load_order(names: Iterable[str]) -> list[str]:
    """Return the JSON files among the names in Fooocus's order: the user's files first, the six stock files last."""
    listed = [name for name in names if is_style_file(name)]
    return [n for n in listed if n not in STOCK_FILES] + [n for n in STOCK_FILES if n in listed]


def is_style_file(name: str) -> bool:
    """Return whether a file is of Fooocus's format, by its suffix."""
    return name.lower().endswith(".json")


def read_style_file(path: Path, origin: Origin = "file") -> tuple[Style, ...]:
    """Read the styles of one JSON file, in order, under the names Fooocus shows. Raises BadFile naming the file."""
    try:
        if (size := path.stat().st_size) > LARGEST_FILE:
            raise BadFile(f"style file {path} is too large: {size:,} bytes, at most {LARGEST_FILE:,}")
        entries = json.loads(path.read_bytes())
    except OSError as error:
        raise BadFile(f"style file {path} can't be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise BadFile(f"style file {path} is not valid JSON: {error}") from error
    if not isinstance(entries, list):
        raise BadFile(f"style file {path} should hold a list of styles, not a {type(entries).__name__}")
    return tuple(_style(path, number, entry, origin) for number, entry in enumerate(entries, 1))


def _style(path: Path, number: int, entry: Any, origin: Origin) -> Style:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or not entry["name"].strip():
        raise BadFile(f"style file {path}: entry {number} should be an object with a 'name'")
    prompt, negative = (entry.get(key) or "" for key in ("prompt", "negative_prompt"))
    for text in (prompt, negative):
        if not isinstance(text, str):
            raise BadFile(f"style file {path}: the texts of {entry['name']!r} should be strings, not {text!r}")
    return Style(normal_name(entry["name"]), prompt, negative, origin)


@cache
def bundled_styles() -> tuple[Style, ...]:
    """Return the pack's own styles, then its stand-ins for the default styles of Fooocus."""
    return (
        *read_style_file(HERE / "own_styles.json", "pack"),
        *read_style_file(HERE / "stand_in_styles.json", "stand-in"),
    )
