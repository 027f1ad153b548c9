"""Finding model files by kind and name in the folders of models."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import MissingFile, did_you_mean

HowToGet = Callable[[str, str], str]
"""(kind, name) of a file that is not there -> how to get it; '' when nothing is known."""

MODEL_SUFFIXES = {".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".patch"}
SUFFIXES = {
    "styles": {".json"},
    "sdxl_styles": {".json"},
    "wildcards": {".txt"},
    "presets": {".json"},
    "prompt_expansion/fooocus_expansion": {".json", ".txt", ".safetensors", ".bin"},
    "face_detection": {".onnx"},
}
POCKET = Path(__file__).resolve().parents[2] / "pocket" / "models"


def files_of(kind: str, folder: Path) -> list[str]:
    """Relative names of the files of a kind below a folder, sub-folders first, case ignored; [] without the folder."""
    suffixes = SUFFIXES.get(kind, MODEL_SUFFIXES)
    found: list[str] = []
    for here, _, names in os.walk(folder, topdown=False, followlinks=True):
        found += [(Path(here) / n).relative_to(folder).as_posix() for n in sorted(names, key=str.casefold)]
    return [name for name in found if Path(name).suffix.lower() in suffixes]


def find_file(kind: str, name: str, folders: Sequence[Path], hint: HowToGet | None = None) -> Path:
    """The first file that `name` means: as a path, as a file name, as a stem; letter case counts only at first.

    Raises MissingFile, with the nearest names, the folders looked in and the hint for it.
    """
    if not name:
        raise MissingFile(f"no {kind} file is named: choose one")
    listed = [(folder, files_of(kind, folder)) for folder in folders]
    for same in (_same_path, _same_file, _same_stem):
        for fold in (str, str.casefold):
            for folder, names in listed:
                for candidate in names:
                    if same(fold(candidate), fold(name)):
                        return folder / candidate
    known = [n for _, names in listed for n in names]
    if Path(name).suffix.lower() not in SUFFIXES.get(kind, MODEL_SUFFIXES):  # near in the way that it was asked for
        known = [Path(n).stem for n in known]
    looked = ", ".join(str(f) for f in folders) or "no folder is set"
    how = hint(kind, name) if hint else ""
    raise MissingFile(
        f"{kind} file {name!r} is not there{did_you_mean(name, known)}; looked in: {looked}{'; ' + how if how else ''}"
    )


def _same_path(candidate: str, name: str) -> bool:
    return candidate == name.replace("\\", "/")


def _same_file(candidate: str, name: str) -> bool:
    return Path(candidate).name == name.replace("\\", "/").rsplit("/", 1)[-1]


def _same_stem(candidate: str, name: str) -> bool:
    return Path(candidate).stem == name.replace("\\", "/").rsplit("/", 1)[-1]
