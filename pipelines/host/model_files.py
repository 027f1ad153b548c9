"""Search for model files by kind and name in models folders."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ..errors import MissingFile, did_you_mean
from ..names import base, folded, match_file, match_name, stem

HowToGet = Callable[[str, str], str]
"""(kind, name) of a missing file -> advice on how to get it; '' if there is none."""

MODEL_SUFFIXES = {".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".patch"}
SUFFIXES = {
    "styles": {".json", ".csv"},  # the second is named in errors, not read; so are wildcards in the last three
    "sdxl_styles": {".json", ".csv"},
    "wildcards": {".txt", ".yaml", ".yml", ".json"},
    "presets": {".json"},
    "prompt_expansion/fooocus_expansion": {".json", ".txt", ".safetensors", ".bin"},
    "face_detection": {".onnx"},
}
POCKET = Path(__file__).resolve().parents[2] / "pocket" / "models"


def suffixes_of(kind: str) -> set[str]:
    """Return the suffixes, in lower case, of the files of a kind."""
    return SUFFIXES.get(kind, MODEL_SUFFIXES)


def is_of_kind(kind: str, name: str) -> bool:
    """Return whether a file has a suffix of the kind, in any letter case."""
    return Path(name.rstrip()).suffix.lower() in suffixes_of(kind)


def files_of(kind: str, folder: Path) -> list[str]:
    """List the relative names of a kind's files below a folder, sub-folders first; [] if the folder does not exist."""
    return [name for name in _all_files(folder) if is_of_kind(kind, name)]


def find_file(kind: str, name: str, folders: Sequence[Path], hint: HowToGet | None = None) -> Path:
    """Return the first file that matches `name` as a path, file name or stem, in any spelling (`names.match_file`).

    Raises MissingFile, naming a file with another suffix or else the nearest names and the folders, and the hint.
    """
    if not name:
        raise MissingFile(f"no {kind} file is named: choose one")
    listed = [(folder, files_of(kind, folder)) for folder in folders]
    known = [file for _, files in listed for file in files]
    if (found := match_file(name, known)) is not None:
        return next(folder / found for folder, files in listed if found in files)
    raise MissingFile(f"{kind} file {name!r} {_instead(kind, name, known, folders, hint)}")


def _instead(kind: str, name: str, known: Sequence[str], folders: Sequence[Path], hint: HowToGet | None) -> str:
    """Complete the message about a missing file: with a file of another suffix, or with the searched folders."""
    suffixes = suffixes_of(kind)
    how = hint(kind, name) if hint else ""
    if other := _with_another_suffix(name, folders):
        way_out = f"choose a file that ends in {', '.join(sorted(suffixes))}"
        unreadable = f"is a {other.suffix} file, which can't be read: {str(other)!r}"
        instead = f"is missing, but a {other.suffix} file of that name exists: {str(other)!r}"
        same = folded(other.name) == folded(base(name))
        return f"{unreadable if same else instead}; {way_out}{', or ' + how if how else ''}"
    if folder := _folder_called(name, folders):
        return f"is a folder, {str(folder)!r}: choose one file that ends in {', '.join(sorted(suffixes))}"
    if Path(name).suffix.lower() not in suffixes:  # suggested in the form that was typed: without a suffix
        known = [stem(file) for file in known]
    looked = ", ".join(map(str, folders)) or "no folder is set"
    return f"is missing{did_you_mean(name, known)}; looked in: {looked}{'; ' + how if how else ''}"


def _folder_called(name: str, folders: Sequence[Path]) -> Path | None:
    """A folder of that name, such as a model in diffusers' layout, in the folders of a kind."""
    inside = [one for folder in folders if folder.is_dir() for one in folder.iterdir() if one.is_dir()]
    found = match_name(base(name), [one.name for one in inside])
    return next((one for one in inside if one.name == found), None)


def _with_another_suffix(name: str, folders: Sequence[Path]) -> Path | None:
    """Find a file below the folders that differs from `name` only in its suffix, such as .gguf or .part."""
    accepted = {folded(base(name))} | ({folded(stem(name))} if Path(name).suffix[1:].isalpha() else set())
    for folder in folders:
        for file in _all_files(folder):
            if folded(stem(file)) in accepted:
                return folder / file
    return None


def _all_files(folder: Path) -> list[str]:
    """List all relative names with forward slashes, sub-folders first, sorted by name; [] for a missing folder.

    Links are followed, except to a folder that contains them, which would never end.
    """
    return list(_below(folder, "", ()))


def _below(folder: Path, prefix: str, around: tuple[str, ...]) -> Iterator[str]:
    try:
        real = os.path.realpath(folder)
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name.casefold())
    except OSError:  # missing, or not readable
        return
    if real in around:
        return
    folders = [entry.name for entry in entries if _is_folder(entry)]
    for name in folders:
        yield from _below(folder / name, f"{prefix}{name}/", (*around, real))
    yield from (prefix + entry.name for entry in entries if entry.name not in folders)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
