"""Texts of images where programs put them: chunks, tags and comments."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest
from fooocus_stages.pipelines.picture_files import opened
from fooocus_stages.pipelines.stages.recipes.picture_texts import texts_in
from PIL import ExifTags, Image, features
from PIL.PngImagePlugin import PngInfo

LINE = "\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 42, Size: 512x768"


@pytest.mark.parametrize("suffix", [".jpeg", ".webp", ".png", ".tiff", ".avif"])
@pytest.mark.parametrize("inner", [True, False])
def test_exif(tmp_path: Path, suffix: str, inner: bool) -> None:
    exif = Image.Exif()
    value = b"UNICODE\0" + f"\u72d0{LINE}".encode("utf-16-le")
    if inner:
        exif[0x8769] = {0x9286: value}
    else:
        exif[0x9286] = value
    if suffix == ".avif" and not features.check("avif"):
        pytest.skip("this Pillow does not write AVIF")
    Image.new("RGB", (4, 4)).save(tmp_path / f"x{suffix}", exif=exif.tobytes())
    assert texts_in(tmp_path / f"x{suffix}")["UserComment"] == f"\u72d0{LINE}"


@pytest.mark.parametrize("tag", ["XPComment", "XPTitle", "XPSubject", "XPKeywords", "Copyright", "Artist", "Make"])
def test_other_tags_of_exif(tmp_path: Path, tag: str) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base[tag]] = f"a fox{LINE}".encode("utf-16-le") if tag.startswith("XP") else f"a fox{LINE}"
    Image.new("RGB", (4, 4)).save(tmp_path / "x.jpg", exif=exif)
    assert texts_in(tmp_path / "x.jpg") == {tag: f"a fox{LINE}"}


def chunk(kind: bytes, body: bytes, wrong: int = 0) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body) ^ wrong)


@pytest.mark.parametrize(("kind", "flags"), [(b"tEXt", b""), (b"iTXt", bytes(4))])
def test_chunks_behind_the_pixels(tmp_path: Path, kind: bytes, flags: bytes) -> None:
    path = tmp_path / "x.png"
    Image.new("RGB", (4, 4), "red").save(path)
    plain, end = path.read_bytes(), -12
    text = chunk(kind, b"parameters\0" + flags + f"a fox{LINE}".encode())
    path.write_bytes(plain[:end] + text + plain[end:])
    assert texts_in(path) == {"parameters": f"a fox{LINE}"}
    with opened(path) as picture:
        assert picture.convert("RGB").getpixel((0, 0)) == (255, 0, 0)


def test_several_comments_of_a_jpeg(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    Image.new("RGB", (4, 4)).save(path, comment=b"made by a library")
    body = f"a fox{LINE}".encode()
    plain = path.read_bytes()
    path.write_bytes(plain[:2] + b"\xff\xfe" + struct.pack(">H", len(body) + 2) + body + plain[2:])
    assert texts_in(path) == {"Comment": "made by a library", "Comment 1": f"a fox{LINE}"}


def test_chunks_and_comments(tmp_path: Path) -> None:
    chunks = PngInfo()
    chunks.add_itxt("a", "\u72d0")
    chunks.add_text("b", "\u72d0".encode().decode("latin-1"))
    chunks.add_text("c", "café")
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png", pnginfo=chunks)
    assert texts_in(tmp_path / "x.png") == {"a": "\u72d0", "b": "\u72d0", "c": "café"}
    Image.new("RGB", (4, 4)).save(tmp_path / "x.jpg", comment=f"a fox{LINE}".encode())
    assert texts_in(tmp_path / "x.jpg") == {"Comment": f"a fox{LINE}"}


@pytest.mark.parametrize("exif", [b"b'Exif\\x00\\x00MM", b"Exif\0\0MM\0*", b"Exif\0\0" + bytes(20)])
def test_broken_exif_is_skipped(tmp_path: Path, exif: bytes) -> None:
    chunks = PngInfo()
    chunks.add_text("parameters", "a fox")
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png", pnginfo=chunks, exif=exif)
    assert texts_in(tmp_path / "x.png") == {"parameters": "a fox"}


def test_a_broken_chunk_is_skipped(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png")
    plain = (tmp_path / "x.png").read_bytes()
    more = [
        chunk(b"tEXt", b"parameters\0a fox"),
        chunk(b"tEXt", b"note\0x", wrong=1),
        chunk(b"zTXt", b"note\0\0no zlib"),
        chunk(b"iCCP", b"camera\0\0" + zlib.compress(bytes(2**21))),
        chunk(b"pHYs", b"\0"),
        chunk(b"eXIf", b"no tiff"),
    ]
    (tmp_path / "x.png").write_bytes(plain[:33] + b"".join(more) + plain[33:])
    told: list[str] = []
    assert texts_in(tmp_path / "x.png", told.append) == {"parameters": "a fox"}
    chunks, exif = told
    assert all(kind in chunks for kind in ("x.png", "tEXt", "zTXt", "iCCP"))
    assert "EXIF" in exif


@pytest.mark.parametrize("padded", ["{}\0\0", "\ufeff{}", "\ufeff{}\0"])
def test_padding_is_no_part_of_a_text(tmp_path: Path, padded: str) -> None:
    info = PngInfo()
    info.add_text("parameters", padded.format("a fox" + LINE))
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", pnginfo=info)
    assert texts_in(tmp_path / "a.png") == {"parameters": "a fox" + LINE}
