"""Pictures that go to a ComfyUI server before a run, and the files that come from it afterwards."""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from ...pipelines.errors import UserError
from ..engine.overrides import Graph
from ..engine.results import RunError
from .routes import ComfyServer

TAKES_PICTURE = {"LoadImage": "image", "LoadImageMask": "image"}
CHUNK = 2**18
FIRST = 3  # failures that are named
Output = dict[str, Any]


async def upload_pictures(server: ComfyServer, graph: Graph, folder: Path) -> None:
    """Send each picture that the graph names and that is here; the graph then has the server's names for them."""
    sent: dict[Path, str] = {}
    for node in graph.values():
        name = TAKES_PICTURE.get(str(node.get("class_type")))
        value = node.get("inputs", {}).get(name) if name else None
        file = local_picture(value, folder) if isinstance(value, str) else None
        if name is None or file is None:
            continue
        if file not in sent:
            sent[file] = await server.upload(file, _subfolder(file, folder))
        node["inputs"][name] = sent[file]


def local_picture(value: str, folder: Path) -> Path | None:
    """The file here that a LoadImage value means: in the folder, or at that path. None leaves it to the server."""
    name = re.sub(r" ?\[input\]$", "", value)
    for path in (folder / name, Path(name)):
        if name and "\0" not in name and path.is_file():
            return path
    return None


def _subfolder(file: Path, folder: Path) -> str:
    """The folder below `folder` that a file lies in; '' for a file from elsewhere."""
    inside = Path(os.path.abspath(file.parent))  # noqa: PTH100  symbolic links are the user's own
    root = Path(os.path.abspath(folder))  # noqa: PTH100
    return inside.relative_to(root).as_posix() if root in inside.parents else ""


async def fetch_files(server: ComfyServer, outputs: Sequence[Output], folder: Path) -> list[Output]:
    """The outputs with the files among them fetched, `path` in the place of the server's words for each.

    RunError tells how many could not be fetched; the others are kept.
    """
    fetched: list[Output] = []
    failed: list[str] = []
    for output in outputs:
        about = output.get("file")
        if about is None:
            fetched.append(output)
            continue
        rest = {key: value for key, value in output.items() if key != "file"}
        try:
            path = await fetch_file(server, about, folder)
            fetched.append({**rest, "path": str(path), "type": about.get("type") or "output"})
        except UserError as error:
            failed.append(f"{about['filename']} ({error})")
    if failed:
        count = sum(1 for output in outputs if output.get("file"))
        named = "; ".join(failed[:FIRST]) + ("; …" if len(failed) > FIRST else "")
        raise RunError(f"the run is done, but {len(failed)} of its {count} files can't be fetched: {named}")
    return fetched


async def fetch_file(server: ComfyServer, about: Mapping[str, Any], folder: Path) -> Path:
    """Fetch what {filename, subfolder, type} tells into the folder; files of other types go into one of that name."""
    kind = str(about.get("type") or "output")
    asked = {"filename": str(about["filename"]), "subfolder": str(about.get("subfolder") or ""), "type": kind}
    root = folder if kind == "output" else folder / kind
    where, name = place_inside(folder, root / asked["subfolder"].replace("\\", "/"), asked["filename"])
    async with server.request("GET", "/view", params=asked) as response:
        with temporary_file(where) as (file, keep):
            async for chunk in response.content.iter_chunked(CHUNK):
                with told_of(where):
                    file.write(chunk)
            return keep(name)


def place_inside(root: Path, folder: Path, filename: str) -> tuple[Path, str]:
    """The folder and the plain name for a file of the server. Raises UserError where it would leave `root`."""
    top = Path(os.path.abspath(root))  # noqa: PTH100
    where = Path(os.path.abspath(folder))  # noqa: PTH100
    name = PurePosixPath(filename.replace("\\", "/")).name
    inside = where == top or top in where.parents
    drive = os.name == "nt" and ":" in f"{os.path.relpath(where, top)}/{name}"  # or a stream
    if not inside or drive or name in ("", "..") or "\0" in f"{folder}/{name}":
        raise UserError(f"it would lie outside {root}")
    return folder, name


@contextmanager
def temporary_file(folder: Path) -> Iterator[tuple[IO[bytes], Callable[[str], Path]]]:
    """A file under a temporary name, and the function that gives it a free name in the end; else it goes away."""
    temporary = folder / f".{uuid.uuid4().hex}.tmp"

    def keep(name: str) -> Path:
        with told_of(folder):
            file.flush()
            os.fsync(file.fileno())
            file.close()
            return move_to_free_name(temporary, folder, name)

    with told_of(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = temporary.open("xb")
    try:
        yield file, keep
    finally:
        file.close()
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def told_of(folder: Path) -> Iterator[None]:
    """Failures of the disk told with the folder and the cause."""
    try:
        yield
    except OSError as error:
        raise UserError(f"it can't be saved in {folder}: {error.strerror or error}") from error


def move_to_free_name(temporary: Path, folder: Path, name: str) -> Path:
    """Rename a file to `name`, or to the next counter where that is taken; no file is overwritten."""
    for free in free_names(folder, name):
        target = folder / free
        try:
            target.open("xb").close()  # ours from here on, also against another process
        except FileExistsError:
            continue
        try:
            return temporary.replace(target)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
    raise AssertionError("the names never end")


def free_names(folder: Path, name: str) -> Iterator[str]:
    """The name itself, then `<start>_<counter>_<suffix>` from one above the highest counter in the folder."""
    yield name
    counted = re.fullmatch(r"(.+)_\d+_(\.\w+)", name)
    start, suffix = (counted[1], counted[2]) if counted else (Path(name).stem, Path(name).suffix)
    pattern = re.compile(re.escape(os.path.normcase(start)) + r"_(\d+)_")
    found = (pattern.match(os.path.normcase(file.name)) for file in folder.iterdir())
    counter = max((int(match[1]) for match in found if match), default=0)
    while True:
        counter += 1
        yield f"{start}_{counter:05}_{suffix}"
