"""Models folders: a folder itself, its sub-folder `models`, and the folders listed in extra_model_paths.yaml or in
Fooocus's config.txt."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BadFile, MissingFile

EXTRA_FILE = "extra_model_paths.yaml"
OLD_KINDS = {"unet": "diffusion_models", "clip": "text_encoders"}
NOT_MODELS = ("custom_nodes",)
FOOOCUS_FILE = "config.txt"
LARGEST_CONFIG = 2**20
FOOOCUS_KINDS = {  # keys of that file
    "path_checkpoints": "checkpoints",
    "path_loras": "loras",
    "path_embeddings": "embeddings",
    "path_vae_approx": "vae_approx",
    "path_vae": "vae",
    "path_upscale_models": "upscale_models",
    "path_inpaint": "inpaint",
    "path_controlnet": "controlnet",
    "path_clip_vision": "clip_vision",
    "path_fooocus_expansion": "prompt_expansion/fooocus_expansion",
    "path_safety_checker": "safety_checker",
    "path_wildcards": "wildcards",
}


@dataclass(frozen=True)
class ExtraFolder:
    """A folder of one kind; with `first` it is searched before the others."""

    kind: str
    folder: Path
    first: bool


def model_roots(folder: Path) -> list[Path]:
    """Return the models folders of a folder: itself, preceded by its sub-folder `models` if it has one."""
    return [folder / "models", folder] if (folder / "models").is_dir() else [folder]


def extra_files(folders: Iterable[Path]) -> list[Path]:
    """Return the extra_model_paths.yaml files in the folders, as ComfyUI reads the one in its own."""
    return [folder / EXTRA_FILE for folder in folders if (folder / EXTRA_FILE).is_file()]


def folders_of_kind(kind: str, roots: Sequence[Path], extras: Iterable[ExtraFolder]) -> list[Path]:
    """Return the folders searched for files of a kind, in ComfyUI's order: each default folder goes to the front."""
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
    """Read the folders listed in a file in the format of ComfyUI's extra_model_paths.yaml.

    A section has `base_path` (relative to the file; environment variables and ~ are expanded), `is_default`, and
    kinds with one folder per line. Raises MissingFile, and BadFile naming the section and the key.
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


def fooocus_files(folders: Iterable[Path]) -> list[Path]:
    """Return the config.txt files of Fooocus in the folders; a file of that name without its keys is none."""
    return [path for folder in folders if _names_folders(path := folder / FOOOCUS_FILE)]


def read_fooocus_config(path: Path) -> list[ExtraFolder]:
    """Read the folders that Fooocus's config.txt names; relative ones begin at its folder (Fooocus modules/config.py).

    Raises BadFile naming the key.
    """
    try:
        read = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadFile(f"{path} can't be read as JSON: {error}") from error
    extras = []
    for key, kind in FOOOCUS_KINDS.items():
        folders = read.get(key) if isinstance(read, dict) else None
        listed = [folders] if isinstance(folders, str) else folders or []
        if not isinstance(listed, list) or not all(isinstance(folder, str) for folder in listed):
            raise BadFile(f"{path}: {key} is {folders!r}, but should be a folder, or a list of folders")
        named = [path.resolve().parent / _expanded(folder.strip()) for folder in listed if folder.strip()]
        extras += [ExtraFolder(kind, Path(os.path.normpath(folder)), True) for folder in reversed(named)]
    return extras


def _names_folders(path: Path) -> bool:
    try:
        return path.is_file() and b'"path_' in path.read_bytes()[:LARGEST_CONFIG]
    except OSError:
        return False


def _sections(path: Path) -> Mapping[str, Mapping[str, Any]]:
    import yaml  # type: ignore[import-untyped,unused-ignore]

    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise MissingFile(f"file {path} does not exist; choose one in the format of {EXTRA_FILE}") from error
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
        raise BadFile(f"{path}: {key} of {section!r} is {value!r}, but should be a folder, or one folder per line")
    return value


def _expanded(folder: str) -> str:
    return os.path.expandvars(Path(folder).expanduser()) if folder else ""
