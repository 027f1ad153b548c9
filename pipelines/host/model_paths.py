"""Which folders hold models: a folder itself, its folder `models`, and those that an extra_model_paths.yaml names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BadFile, MissingFile

EXTRA_FILE = "extra_model_paths.yaml"
OLD_KINDS = {"unet": "diffusion_models", "clip": "text_encoders"}
NOT_MODELS = ("custom_nodes",)


@dataclass(frozen=True)
class ExtraFolder:
    """A folder of one kind; `first`: whether it is looked into before the others."""

    kind: str
    folder: Path
    first: bool


def model_roots(folder: Path) -> list[Path]:
    """The folders that hold kinds: the folder itself, and `models` in it when it is a ComfyUI or Fooocus folder."""
    return [folder / "models", folder] if (folder / "models").is_dir() else [folder]


def extra_files(folders: Iterable[Path]) -> list[Path]:
    """The extra_model_paths.yaml of those folders that hold one, as ComfyUI's does."""
    return [folder / EXTRA_FILE for folder in folders if (folder / EXTRA_FILE).is_file()]


def folders_of_kind(kind: str, roots: Sequence[Path], extras: Iterable[ExtraFolder]) -> list[Path]:
    """Where files of a kind are looked for, in ComfyUI's order: a default folder goes in front of all before it."""
    folders = [root / kind for root in roots]
    for extra in extras:
        if OLD_KINDS.get(extra.kind, extra.kind) != OLD_KINDS.get(kind, kind):
            continue
        if extra.first:
            folders = [extra.folder, *(folder for folder in folders if folder != extra.folder)]
        elif extra.folder not in folders:
            folders.append(extra.folder)
    return folders


def read_extra_paths(path: Path) -> list[ExtraFolder]:
    """The folders that a file in the format of ComfyUI's extra_model_paths.yaml names.

    Sections hold `base_path` (environment variables and ~ are filled in; relative to the file), `is_default`, and
    kinds with one folder a line. Raises MissingFile, and BadFile naming the section and the key.
    """
    extras: list[ExtraFolder] = []
    for section, entries in _sections(path).items():
        base = path.resolve().parent / _expanded(_text(path, section, "base_path", entries.get("base_path") or ""))
        first = entries.get("is_default", False)
        if not isinstance(first, bool):
            raise BadFile(f"{path}: is_default of {section!r} is {first!r}, but should be true or false")
        for kind, lines in entries.items():
            if kind not in ("base_path", "is_default", *NOT_MODELS):
                folders = [line.strip() for line in _text(path, section, kind, lines).splitlines()]
                extras += [ExtraFolder(kind, Path(os.path.normpath(base / f)), first) for f in folders if f]
    return extras


def _sections(path: Path) -> Mapping[str, Mapping[str, Any]]:
    import yaml  # type: ignore[import-untyped,unused-ignore]

    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise MissingFile(f"file {path} is not there; name one in the format of {EXTRA_FILE}") from error
    except OSError as error:
        raise BadFile(f"{path} can't be read: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise BadFile(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(read, dict | None):
        raise BadFile(f"{path} should hold sections with a base_path and folders, not a {type(read).__name__}")
    sections = {str(name): entries for name, entries in (read or {}).items() if entries is not None}
    for name, entries in sections.items():
        if not isinstance(entries, dict):
            raise BadFile(f"{path}: section {name!r} should hold lines such as 'checkpoints: folder', not {entries!r}")
    return sections


def _text(path: Path, section: str, key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise BadFile(f"{path}: {key} of {section!r} is {value!r}, but should be a folder, or one folder a line")
    return value


def _expanded(folder: str) -> str:
    return os.path.expandvars(Path(folder).expanduser()) if folder else ""
