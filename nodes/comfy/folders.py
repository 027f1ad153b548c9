"""ComfyUI's model folders."""

from __future__ import annotations

from pathlib import Path

from ...pipelines.host import is_of_kind, suffixes_of


def folders_of(kind: str) -> list[Path]:
    """Return ComfyUI's folders for files of a kind. A kind that it does not know is registered, with its suffixes."""
    import folder_paths

    registered = folder_paths.folder_names_and_paths
    if kind not in registered:
        registered[kind] = ([str(Path(folder_paths.models_dir) / kind)], set(suffixes_of(kind)))
    return [Path(folder) for folder in folder_paths.get_folder_paths(kind)]


def files_of(kind: str) -> list[str]:
    """Return the relative names of the files of a kind that ComfyUI lists and the pack can read.

    A kind that a configuration file or another pack has registered may list files with any suffix.
    """
    import folder_paths

    folders_of(kind)
    return [name for name in folder_paths.get_filename_list(kind) if is_of_kind(kind, name)]
