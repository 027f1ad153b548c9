"""Result files on the disk, and outputs as callers see them."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...pipelines.files import write_file
from ..pool.types import JobResult
from .records import FILES, INLINE, StoredFile


def store_files(
    folder: Path, request: str, result: JobResult, expires: float, inline: bool = False
) -> list[StoredFile]:
    """Write the saved images of a result under unguessable names; `inline`: for data URIs alone. Raises OSError."""
    files = []
    for saved in result.files:
        if saved.temporary:
            continue
        token = new_token()
        write_file(folder / token, saved.data)
        name = Path(saved.name).name
        files.append(
            StoredFile(
                token, "inline" if inline else "result", name, saved.media_type, len(saved.data), expires, request
            )
        )
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


def _address(image: Mapping[str, Any], base: str, folder: Path) -> str:
    url = str(image["url"])
    if url.startswith(INLINE):
        data = base64.b64encode((folder / url.removeprefix(INLINE).split("/")[0]).read_bytes()).decode()
        return f"data:{image.get('content_type', 'image/png')};base64,{data}"
    return base + url if url.startswith(FILES) else url
