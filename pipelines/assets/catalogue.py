"""The third-party files that stages need: their names, sources and uses (assets.json)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import UnknownName
from ..names import base, match_name, same, stem

ALL = "all"
HUB_CACHE = "hub"
"""The kind of files that stay in the Hugging Face cache, shared with other programs."""


@dataclass(frozen=True)
class Asset:
    """A file: `kind` is its folder among the models, `name` its name in it.

    Its source is `file` in the repository `repo` of the Hugging Face hub, or the address `url`. `size` (bytes) and
    `sha256` are known for some files; `also` and `also_in` are further names and folders that it is found under.
    """

    id: str
    kind: str
    name: str
    licence: str
    repo: str = ""
    file: str = ""
    url: str = ""
    size: int | None = None
    sha256: str = ""
    note: str = ""
    also: tuple[str, ...] = ()
    also_in: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """The source, for display."""
        return self.url or f"{self.repo}: {self.file}"

    @property
    def address(self) -> str:
        """The URL that a browser downloads it from."""
        return self.url or f"https://huggingface.co/{self.repo}/resolve/main/{self.file}"

    @property
    def places(self) -> tuple[tuple[str, str], ...]:
        """Every (kind, name) that it may be found under, the default first."""
        return tuple((kind, name) for kind in (self.kind, *self.also_in) for name in (self.name, *self.also))


@dataclass(frozen=True)
class Group:
    """Files that are used together. `optional`: the fallback without them; '' if they are required."""

    name: str
    title: str
    assets: tuple[Asset, ...]
    optional: str = ""


class Catalogue:
    """All files, their groups, and the groups and files that each mode of the endpoints needs."""

    def __init__(self, data: Mapping[str, Any] | None = None) -> None:
        read = data if data is not None else json.loads(Path(__file__).with_name("assets.json").read_text("utf-8"))
        self.assets: dict[str, Asset] = {entry["id"]: _asset(entry) for entry in read["files"]}
        self._groups: Mapping[str, Mapping[str, Any]] = read["groups"]
        self.modes: dict[str, tuple[str, ...]] = {mode: tuple(needs) for mode, needs in read["modes"].items()}

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups; a group that is part of another comes before it."""
        return tuple(self.group(name) for name in self._groups)

    def group(self, name: str) -> Group:
        """Return the group with that name. Raises KeyError."""
        entry = self._groups[name]
        return Group(name, entry["title"], tuple(self._files_in([name])), entry.get("optional", ""))

    def of(self, name: str) -> tuple[Asset, ...]:
        """Return the files that a name stands for, in any spelling (`names.match_name`).

        A name is `all`, a mode, a group, or the id, file name or stem of one file. Raises UnknownName.
        """
        if same(name, ALL):
            return tuple(self.assets.values())
        known: dict[str, Sequence[str]] = {**self.modes, **{group: [group] for group in self._groups}}
        if (found := match_name(name, known)) is not None:
            return tuple(self._files_in(known[found]))
        if asset := self._single(name):
            return (asset,)
        raise UnknownName("mode, group or file", name, [*self.names, *(a.name for a in self.assets.values())])

    @property
    def names(self) -> tuple[str, ...]:
        """The names that stand for several files."""
        return (ALL, *self._groups, *self.modes)

    def optional(self, asset: Asset, needs: Sequence[str]) -> str:
        """Return the fallback without the file in a mode with these needs; '' if the file is required."""
        for name in self._expanded(needs):
            if name in self._groups and (group := self.group(name)).optional and asset in group.assets:
                return group.optional
        return ""

    def needed_by(self, asset: Asset) -> list[str]:
        """Return the groups, then the modes, that need the file."""
        return [name for name in (*self._groups, *self.modes) if asset in self.of(name)]

    def known(self, kind: str, name: str) -> Asset | None:
        """Return the file that a stage requests by kind and name, path or stem; None if it is not in the catalogue."""
        requested = base(name)
        for asset in self.assets.values():
            for folder, file in asset.places:
                if folder == kind and match_name(requested, (file, stem(file))) is not None:
                    return asset
        return None

    def fetch_name(self, asset: Asset) -> str:
        """Return the name under which to fetch the file: its first group, which it needs to be useful, or its own name.

        A checkpoint is fetched by itself, since the rest of its group is seldom missing too.
        """
        if asset.kind == "checkpoints":
            return stem(asset.name)
        groups = [group.name for group in self.groups if asset in group.assets]
        return groups[0] if groups and groups[0] not in ("base", "speed") else stem(asset.name)

    def _single(self, name: str) -> Asset | None:
        for asset in self.assets.values():
            if match_name(name, (asset.id, asset.name, stem(asset.name), *asset.also)) is not None:
                return asset
        return None

    def _files_in(self, needs: Iterable[str]) -> list[Asset]:
        """Return the files that names of groups and files stand for, each once, in the order of the catalogue."""
        names = set(self._expanded(needs))
        return [asset for name, asset in self.assets.items() if name in names]

    def _expanded(self, needs: Iterable[str]) -> Iterator[str]:
        """Yield the names, and after each group the names in it."""
        for name in needs:
            yield name
            if name in self._groups:
                yield from self._expanded(self._groups[name]["needs"])


@cache
def catalogue() -> Catalogue:
    """Return the catalogue of the pack."""
    return Catalogue()


def download_link(kind: str, name: str) -> dict[str, str] | None:
    """Return the name, url and directory with which ComfyUI's page downloads a file; None for an unknown file."""
    asset = catalogue().known(kind, name)
    return {"name": asset.name, "url": asset.address, "directory": asset.kind} if asset else None


def _asset(entry: Mapping[str, Any]) -> Asset:
    lists = {key: tuple(value) for key, value in entry.items() if isinstance(value, list)}
    return Asset(**{**entry, **lists})


def format_bytes(count: int) -> str:
    """Format a number of bytes with a decimal unit, such as 33.6 MB."""
    value, unit = float(count), "bytes"
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{count} bytes" if unit == "bytes" else f"{value:.1f} {unit}"
