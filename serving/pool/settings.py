"""Settings of workers, and the versions that a worker reports."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib import metadata
from pathlib import Path
from typing import Any

from ... import __version__
from ...pipelines.settings import NO_FILE

LIBRARIES = ("torch", "diffusers", "transformers", "safetensors", "numpy", "Pillow")
PACK = "fooocus-stages"
SHARE_OF_MEMORY = 0.5  # of the machine's, for the networks that its workers keep


@dataclass(frozen=True)
class WorkerSettings:
    """Folders and limits of a worker.

    `nodes`: further node packs, as for `run --nodes`. `network_bytes`: memory of the networks kept for later graphs;
    None shares out half of the machine's memory among its workers. `preload` imports the libraries before the first
    job. `safety_checker`: a file without which the worker refuses to join, 'None' for none.
    """

    models: tuple[Path, ...] = ()
    extra_model_paths: tuple[Path, ...] = ()
    styles: Path | None = None
    wildcards: Path | None = None
    nodes: tuple[Path, ...] = ()
    network_bytes: int | None = None
    preload: bool = True
    safety_checker: str = NO_FILE

    def as_json(self) -> dict[str, Any]:
        """Return the settings as JSON values, with absolute paths."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> WorkerSettings:
        """Return the settings of `as_json`."""
        read: dict[str, Any] = dict(values)
        for name in ("models", "extra_model_paths", "nodes"):
            read[name] = tuple(map(Path, read[name]))
        for name in ("styles", "wildcards"):
            read[name] = None if read[name] is None else Path(read[name])
        return cls(**read)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return str(value.absolute()) if isinstance(value, Path) else value


def versions() -> dict[str, str]:
    """Return the versions of the pack, of Python and of the libraries that decide about pixels."""
    found = {PACK: __version__, "python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            found[library] = "not installed"
    return found


def memory_for_networks(workers: int) -> int:
    """Return the bytes that each of so many workers of this machine may keep in networks."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        total = 16 * 2**30
    return int(total * SHARE_OF_MEMORY / max(workers, 1))
