"""Finds the files that modes need on the disk, and names the command that downloads the rest (Fooocus launch.py)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import MissingFile, UnknownName, UserError
from ..host import Host, find_file
from ..names import match_name
from ..settings import PERFORMANCES
from ..text.tokenizer import find_vocabulary
from .catalogue import ALL, HUB_CACHE, Asset, catalogue

PRESET = "preset:"
SHARED = ("vocabulary", "styles", "expansion", "previews")
COMMAND = "fooocus-stages assets fetch"


@dataclass(frozen=True)
class Found:
    """A file of the catalogue and its path; None if it is missing."""

    asset: Asset
    path: Path | None

    @property
    def size(self) -> int | None:
        """Size in bytes on the disk, else as published; None if neither is known."""
        return self.path.stat().st_size if self.path and self.path.is_file() else self.asset.size


def resolve(host: Host, names: Iterable[str], workflows: Mapping[str, str] | None = None) -> list[Asset]:
    """Return the files that names stand for, each once.

    A name is a mode, a group, a preset (also as 'preset:NAME'), a single file, or a key of `workflows`, which map to
    their modes. Raises UnknownName.
    """
    known = workflows or {}
    return list(dict.fromkeys(a for name in names for a in _resolve(host, known.get(name, name), tuple(known))))


def needed_by(asset: Asset) -> list[str]:
    """Return the groups and modes that need a file."""
    return catalogue().needed_by(asset)


def find(host: Host, asset: Asset) -> Path | None:
    """Return the path of a file of the catalogue; None if it is in none of the host's folders.

    CLIP's vocabulary is found wherever the tokenizer finds it, also beside a checkpoint that has its own.
    """
    if asset.kind == HUB_CACHE:
        return _vocabulary(host)
    for kind, name in asset.places:
        try:
            return host.find(kind, name)
        except MissingFile:
            continue
    return None


def find_all(host: Host, assets: Iterable[Asset]) -> list[Found]:
    """Find several files; the vocabulary, which is slow to read, is searched once."""
    listed = list(assets)
    words = _vocabulary(host) if any(asset.kind == HUB_CACHE for asset in listed) else None
    return [Found(asset, words if asset.kind == HUB_CACHE else find(host, asset)) for asset in listed]


def everything(host: Host) -> list[Found]:
    """Find every file of the catalogue."""
    return find_all(host, catalogue().of(ALL))


def vocabulary(beside: Path | None = None) -> str:
    """Return where the tokenizer finds CLIP's vocabulary for the checkpoint `beside`, or for one without its own.

    Raises MissingFile and BadFile.
    """
    return find_vocabulary(beside).source


def find_in(folder: Path, asset: Asset) -> Path | None:
    """Return the path of a file in one models folder; None if it is not in it."""
    for kind, name in asset.places:
        try:
            return find_file(kind, name, [folder / kind])
        except MissingFile:
            continue
    return None


def fallbacks(mode: str, found: Iterable[Found]) -> list[str]:
    """Return the fallbacks of a mode of the endpoints for the optional files that are missing, each once."""
    needs = catalogue().modes.get(mode, ())
    files = catalogue().of(mode) if needs else ()
    missing = [one.asset for one in found if one.path is None and one.asset in files]
    return list(dict.fromkeys(filter(None, (catalogue().optional(asset, needs) for asset in missing))))


def assets_of(names: Iterable[tuple[str, str]]) -> list[Asset]:
    """Return the files of the catalogue that stages request by these (kind, name) pairs, each once."""
    known = (catalogue().known(kind, name) for kind, name in names)
    return list(dict.fromkeys(asset for asset in known if asset))


def fetch_command(assets: Sequence[Asset], folders: str = "") -> str:
    """Return the command that downloads these files together with those that they need to be useful; '' for none.

    `folders`: options that name the models folders, such as '--models DIR'.
    """
    words = dict.fromkeys(catalogue().fetch_name(asset) for asset in assets)
    return " ".join(filter(None, [COMMAND, *words, folders])) if words else ""


def _vocabulary(host: Host) -> Path | None:
    checkpoint = next((host.find("checkpoints", name) for name in host.names("checkpoints")), None)
    for beside in dict.fromkeys((None, checkpoint)):
        try:
            return Path(vocabulary(beside))
        except UserError:
            continue
    return None


def how_to_get(kind: str, name: str, folders: str = "") -> str:
    """Return advice for a missing file, 'run `…`'; '' if it is not in the catalogue."""
    asset = catalogue().known(kind, name)
    return f"run `{fetch_command([asset], folders)}`" if asset else ""


def _resolve(host: Host, name: str, workflows: Sequence[str]) -> Sequence[Asset]:
    if name.startswith(PRESET):
        return _of_preset(host, name.removeprefix(PRESET))
    from ..stages.recipes import presets

    try:
        return catalogue().of(name)
    except UnknownName:
        if match_name(name, presets.names(host)) is not None:
            return _of_preset(host, name)
    known = [
        *catalogue().names,
        *presets.names(host),
        *workflows,
        *(asset.name for asset in catalogue().assets.values()),
    ]
    raise UnknownName("workflow, mode, group, preset or file", name, known, "`fooocus-stages assets list` shows them")


def _of_preset(host: Host, name: str) -> list[Asset]:
    """Return the files of the catalogue that a preset names, and those that every text-to-image workflow needs.

    The preset is read unchecked, since it can't be chosen while its styles are missing.
    """
    from ..stages.recipes import presets

    keys = {**presets.read(host, "default"), **presets.read(host, name)}
    loras = [part for entry in keys.get("default_loras", ()) for part in entry if isinstance(part, str)]
    mode = PERFORMANCES.get(str(keys.get("default_performance")))
    requested = [
        ("checkpoints", keys.get("default_model")),
        ("checkpoints", keys.get("default_refiner")),
        ("vae", keys.get("default_vae")),
        *(("loras", lora) for lora in [*loras, mode.lora if mode else ""]),
    ]
    named = [catalogue().known(kind, file) for kind, file in requested if isinstance(file, str)]
    shared = [asset for group in SHARED for asset in catalogue().of(group)]
    return [*(asset for asset in named if asset), *shared]
