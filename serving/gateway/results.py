"""Result files on the disk, and outputs as callers see them."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...pipelines.files import sync_folder, write_new
from ..pool.types import JobResult
from .records import FILES, INLINE, StoredFile


def store_files(
    folder: Path, request: str, result: JobResult, expires: float, inline: bool = False
) -> list[StoredFile]:
    """Write the saved images of a result under unguessable names; `inline`: for data URIs alone. Raises OSError.

    The images and their names are on the disk when they are returned. Nobody looks for an image before its row is in
    the database: it needs no temporary name.
    """
    kind, files = "inline" if inline else "result", []
    for saved in result.files:
        if not saved.temporary:
            token, name = new_token(), Path(saved.name).name
            write_new(folder / token, saved.data)
            files.append(StoredFile(token, kind, name, saved.media_type, len(saved.data), expires, request))
    if files:
        sync_folder(folder)
    return files


def new_token() -> str:
    """Return an unguessable name of 32 characters."""
    return secrets.token_urlsafe(24)


def present(output: Mapping[str, Any], base: str, folder: Path) -> dict[str, Any]:
    """Return a stored output as the caller receives it: URLs below `base`, and data URIs for inline files.

    Raises OSError if a file is gone.
    """
    if "images" not in output:
        return dict(output)
    return {**output, "images": [{**image, "url": _address(image, base, folder)} for image in output["images"]]}


def reads_files(output: Mapping[str, Any]) -> bool:
    """Return whether `present` reads files for an output."""
    return any(str(image["url"]).startswith(INLINE) for image in output.get("images", ()))


async def presented(output: Mapping[str, Any], base: str, folder: Path) -> dict[str, Any]:
    """Return what `present` returns, with files read in a thread. Raises OSError."""
    if reads_files(output):
        return await asyncio.to_thread(present, output, base, folder)
    return present(output, base, folder)


def _address(image: Mapping[str, Any], base: str, folder: Path) -> str:
    url = str(image["url"])
    if url.startswith(INLINE):
        data = base64.b64encode((folder / url.removeprefix(INLINE).split("/")[0]).read_bytes()).decode()
        return f"data:{image.get('content_type', 'image/png')};base64,{data}"
    return base + url if url.startswith(FILES) else url
