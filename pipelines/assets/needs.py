"""Which files of others a mode needs, which of them are there, and how to get the rest (Fooocus launch.py)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import MissingFile, UnknownName, UserError
from ..host import Host, find_file
from ..settings import PERFORMANCES
from ..stages.recipes import presets
from ..text.tokenizer import find_vocabulary
from .catalogue import ALL, HUB_CACHE, Asset, catalogue

PRESET = "preset:"
SHARED = ("vocabulary", "styles", "expansion", "previews")
COMMAND = "fooocus-stages assets fetch"


@dataclass(frozen=True)
class Found:
    """A file of the catalogue, and where it lies; None when it does not."""

    asset: Asset
    path: Path | None

    @property
    def size(self) -> int | None:
        """Bytes on the disk, or as published; None when neither is known."""
        return self.path.stat().st_size if self.path and self.path.is_file() else self.asset.size


@dataclass(frozen=True)
class Need:
    """What a mode needs that is not there: what must be, and what it does without, each with what happens then."""

    lacking: tuple[Asset, ...]
    without: tuple[tuple[Asset, str], ...]

    def command(self, folders: str = "") -> str:
        """The one command that fetches what must be there; '' when nothing lacks."""
        return fetch_command(self.lacking, folders)


def meant(host: Host, names: Iterable[str], workflows: Mapping[str, str] | None = None) -> list[Asset]:
    """The files that names mean, each once: modes, groups, presets (also as 'preset:NAME'), single files and
    `workflows`, which map to their modes.

    Raises UnknownName.
    """
    known = workflows or {}
    return list(dict.fromkeys(a for name in names for a in _meant(host, known.get(name, name), tuple(known))))


def needed_by(asset: Asset) -> list[str]:
    """The groups and modes that need a file."""
    return catalogue().needed_by(asset)


def find(host: Host, asset: Asset) -> Path | None:
    """Where a file of the catalogue lies; None when it is in none of the host's folders.

    CLIP's vocabulary counts wherever the tokenizer finds it, also beside a checkpoint that has its own.
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
    """Each of the files with where it lies; the vocabulary, which takes a while to read, is looked for once."""
    wanted = list(assets)
    words = _vocabulary(host) if any(asset.kind == HUB_CACHE for asset in wanted) else None
    return [Found(asset, words if asset.kind == HUB_CACHE else find(host, asset)) for asset in wanted]


def everything(host: Host) -> list[Found]:
    """Every file of the catalogue with where it lies."""
    return find_all(host, catalogue().of(ALL))


def vocabulary(beside: Path | None = None) -> str:
    """Where CLIP's vocabulary is found, for the checkpoint `beside` or for any. Raises MissingFile and BadFile."""
    return find_vocabulary(beside).source


def find_in(folder: Path, asset: Asset) -> Path | None:
    """Where a file lies in one models folder; None when it does not."""
    for kind, name in asset.places:
        try:
            return find_file(kind, name, [folder / kind])
        except MissingFile:
            continue
    return None


def needs(mode: str, found: Iterable[Found]) -> Need:
    """What a mode of the endpoints needs of the files that lack among those looked for; nothing for unknown modes."""
    wanted = catalogue().modes.get(mode, ())
    needed = catalogue().of(mode) if wanted else ()
    missing = [one.asset for one in found if one.path is None and one.asset in needed]
    reasons = [(asset, catalogue().optional(asset, wanted)) for asset in missing]
    return Need(tuple(a for a, reason in reasons if not reason), tuple((a, r) for a, r in reasons if r))


def fetch_command(assets: Sequence[Asset], folders: str = "") -> str:
    """The command that fetches these files, or as much more as makes them of use; '' for none.

    `folders`: the words that name the folders of models, such as '--models DIR'.
    """
    words = dict.fromkeys(catalogue().word_for(asset) for asset in assets)
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
    """What to run when the file that a stage asks for is not there; '' when it is not in the catalogue."""
    asset = catalogue().known(kind, name)
    return f"run `{fetch_command([asset], folders)}`" if asset else ""


def _meant(host: Host, name: str, workflows: Sequence[str]) -> Sequence[Asset]:
    if name.startswith(PRESET):
        return _of_preset(host, name.removeprefix(PRESET))
    try:
        return catalogue().of(name)
    except UnknownName:
        if name in presets.names(host):
            return _of_preset(host, name)
    known = [
        *catalogue().names,
        *presets.names(host),
        *workflows,
        *(asset.name for asset in catalogue().assets.values()),
    ]
    raise UnknownName("workflow, mode, group, preset or file", name, known, "`fooocus-stages assets list` shows them")


def _of_preset(host: Host, name: str) -> list[Asset]:
    """The files of the catalogue that a preset names, with those that any text to image needs.

    Read as it stands, since a preset can't be chosen while its styles lack.
    """
    keys = {**presets.read(host, "default"), **presets.read(host, name)}
    loras = [part for entry in keys.get("default_loras", ()) for part in entry if isinstance(part, str)]
    mode = PERFORMANCES.get(str(keys.get("default_performance")))
    asked = [
        ("checkpoints", keys.get("default_model")),
        ("checkpoints", keys.get("default_refiner")),
        ("vae", keys.get("default_vae")),
        *(("loras", lora) for lora in [*loras, mode.lora if mode else ""]),
    ]
    named = [catalogue().known(kind, file) for kind, file in asked if isinstance(file, str)]
    shared = [asset for group in SHARED for asset in catalogue().of(group)]
    return [*(asset for asset in named if asset), *shared]
