"""Sends images to a ComfyUI server before a run, and fetches files from it afterwards."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ...pipelines.errors import UserError
from ...pipelines.files import counted_names, new_file
from ..engine.overrides import Graph
from ..engine.results import RunError
from .routes import ComfyServer

IMAGE_INPUTS = {"LoadImage": "image", "LoadImageMask": "image"}
CHUNK = 2**18
NAMED_FAILURES = 3
Output = dict[str, Any]


async def upload_images(server: ComfyServer, graph: Graph, folder: Path) -> None:
    """Upload each local image that the graph names, and put the server's name for it into the graph."""
    uploaded: dict[Path, str] = {}
    for node in graph.values():
        name = IMAGE_INPUTS.get(str(node.get("class_type")))
        value = node.get("inputs", {}).get(name) if name else None
        file = local_image(value, folder) if isinstance(value, str) else None
        if name is None or file is None:
            continue
        if file not in uploaded:
            uploaded[file] = await server.upload(file, _subfolder(file, folder))
        node["inputs"][name] = uploaded[file]


def local_image(value: str, folder: Path) -> Path | None:
    """Return the file that a LoadImage value names, in the folder or as a path; None if only the server may have it."""
    name = re.sub(r" ?\[input\]$", "", value)
    for path in (folder / name, Path(name)):
        if name and "\0" not in name and path.is_file():
            return path
    return None


def _subfolder(file: Path, folder: Path) -> str:
    """The sub-folder of `folder` that holds the file; '' for a file from elsewhere."""
    inside = Path(os.path.abspath(file.parent))  # noqa: PTH100  symbolic links are the user's own
    root = Path(os.path.abspath(folder))  # noqa: PTH100
    return inside.relative_to(root).as_posix() if root in inside.parents else ""


async def fetch_files(server: ComfyServer, outputs: Sequence[Output], folder: Path) -> list[Output]:
    """Fetch the files among the outputs; in the returned outputs, `path` and `type` replace `file`.

    Raises RunError with the number of files that could not be fetched; the others are kept.
    """
    fetched: list[Output] = []
    failed: list[str] = []
    for output in outputs:
        described = output.get("file")
        if described is None:
            fetched.append(output)
            continue
        rest = {key: value for key, value in output.items() if key != "file"}
        try:
            path = await fetch_file(server, described, folder)
            fetched.append({**rest, "path": str(path), "type": described.get("type") or "output"})
        except UserError as error:
            failed.append(f"{described['filename']} ({error})")
    if failed:
        count = sum(1 for output in outputs if output.get("file"))
        named = "; ".join(failed[:NAMED_FAILURES]) + ("; …" if len(failed) > NAMED_FAILURES else "")
        raise RunError(f"the run is done, but {len(failed)} of its {count} files can't be fetched: {named}")
    return fetched


async def fetch_file(server: ComfyServer, described: Mapping[str, Any], folder: Path) -> Path:
    """Fetch the file {filename, subfolder, type} into the folder, or into a sub-folder for types such as `temp`.

    Raises UserError if it would be written elsewhere or can't be saved.
    """
    kind = str(described.get("type") or "output")
    query = {"filename": str(described["filename"]), "subfolder": str(described.get("subfolder") or ""), "type": kind}
    root = folder if kind == "output" else folder / kind
    where, name = place_inside(folder, root / query["subfolder"].replace("\\", "/"), query["filename"])
    async with server.request("GET", "/view", params=query) as response:
        with new_file(where, "it") as file:
            async for chunk in response.content.iter_chunked(CHUNK):
                file.write(chunk)
            return file.keep(free_names(where, name))


def place_inside(root: Path, folder: Path, filename: str) -> tuple[Path, str]:
    """Return the folder and the plain name for a file of the server. Raises UserError if it would be outside `root`."""
    top = Path(os.path.abspath(root))  # noqa: PTH100
    where = Path(os.path.abspath(folder))  # noqa: PTH100
    name = PurePosixPath(filename.replace("\\", "/")).name
    inside = where == top or top in where.parents
    drive = os.name == "nt" and ":" in f"{os.path.relpath(where, top)}/{name}"  # or a stream
    if not inside or drive or name in ("", "..") or "\0" in f"{folder}/{name}":
        raise UserError(f"it would be written outside {root}")
    return folder, name


def free_names(folder: Path, name: str) -> Iterator[str]:
    """Yield the name itself, then `<start>_<counter>_<suffix>` from one above the highest counter in the folder."""
    yield name
    counted = re.fullmatch(r"(.+)_\d+_(\.\w+)", name)
    start, suffix = (counted[1], counted[2]) if counted else (Path(name).stem, Path(name).suffix)
    yield from counted_names(folder, start, suffix)
