"""A saved picture dropped on ComfyUI's canvas: its bytes as the page reads them (its pnginfo.ts), without Pillow."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fooocus_stages.pipelines.host import LocalHost
from fooocus_stages.pipelines.stages.recipes.write_metadata import PictureInfo
from fooocus_stages.pipelines.stages.save import save_pictures

GRAPH = {"1": {"class_type": "FooocusPrompt", "inputs": {"text": '\u72d0: a "fox"'}}}
WORKFLOW = {"nodes": [{"id": 1, "title": "\u72d0"}], "version": 0.4}


def png_texts(data: bytes) -> dict[str, str]:
    """The page's reading of a png: the text chunks, whole, up to IEND."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    found, at = {}, 8
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + length]
        if kind in (b"tEXt", b"comf", b"iTXt"):
            key, _, value = body.partition(b"\0")
            found[key.decode()] = value.lstrip(b"\0").decode("latin-1" if kind == b"tEXt" else "utf-8")
        at += 12 + length
    return found


def webp_texts(data: bytes, padded: bool = False) -> dict[str, str]:
    """The page's reading of a webp: chunks one after the other by their stated lengths, then the first EXIF folder.

    `padded`: odd chunks have a byte more, which pages of 2025 did not know.
    """
    assert (data[:4], data[8:12]) == (b"RIFF", b"WEBP")
    at = 12
    while at < len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        if kind == b"EXIF":
            body = data[at + 8 : at + 8 + length]
            return exif_texts(body.removeprefix(b"Exif\0\0"))
        at += 8 + length + (padded and length % 2)
    return {}


def exif_texts(tiff: bytes) -> dict[str, str]:
    order = "<" if tiff[:2] == b"II" else ">"
    (start,) = struct.unpack_from(order + "I", tiff, 4)
    (count,) = struct.unpack_from(order + "H", tiff, start)
    found = {}
    for i in range(count):
        _, kind, size, offset = struct.unpack_from(order + "HHII", tiff, start + 2 + 12 * i)
        if kind == 2:
            key, _, value = tiff[offset : offset + size - 1].decode("utf-8", "replace").partition(":")
            found[key] = value
    return found


def of_newer_pages(data: bytes) -> dict[str, str]:
    return webp_texts(data, padded=True)


@pytest.mark.parametrize(
    ("format", "channels", "texts"),
    [("png", 3, png_texts), ("png", 4, png_texts), ("webp", 3, webp_texts), ("webp", 4, of_newer_pages)],
)
@pytest.mark.parametrize("scheme", ["fooocus", "a1111", "none"])
@pytest.mark.parametrize("text", ["a fox", "a café, \u72d0 \U0001f98a"])
def test_the_workflow_opens(
    tmp_path: Path, format: str, channels: int, texts: Callable[[bytes], dict[str, str]], scheme: str, text: str
) -> None:
    info = PictureInfo(prompt=text, full_prompt=(text,), steps=3, seed=7)
    for side in range(16, 25):
        images = torch.rand(1, side, 17, channels)
        extra: dict[str, Any] = {"workflow": WORKFLOW}
        (entry,) = save_pictures(LocalHost(output=tmp_path), images, "x", format, 95, scheme, info, GRAPH, extra)
        found = texts((tmp_path / entry["filename"]).read_bytes())
        assert json.loads(found["workflow"]) == WORKFLOW
        assert json.loads(found["prompt"]) == GRAPH
