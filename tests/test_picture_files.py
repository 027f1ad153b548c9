"""Image files whose metadata is broken are still images; formats that can't be read are named."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import pytest
from fooocus_stages.pipelines.errors import BadFile
from fooocus_stages.pipelines.picture_files import frames, opened, sound_png, upright
from PIL import Image

JUNK = [b"b'Exif\\x00\\x00MM\\x00*", b"Exif\0\0MM\0*", b"Exif\0\0" + bytes(20), b"Exif\0\0II*\0\xff\xff\xff\xff"]
BOMB = zlib.compress(bytes(2**22))


def chunk(kind: bytes, body: bytes, wrong: int = 0) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body) ^ wrong)


def noise() -> Image.Image:
    return Image.effect_noise((9, 7), 80).convert("RGB")


def png(*chunks: bytes) -> tuple[bytes, bytes]:
    """A PNG with further chunks, and its pixels."""
    image, into = noise(), io.BytesIO()
    image.save(into, "PNG")
    return into.getvalue()[:33] + b"".join(chunks) + into.getvalue()[33:], image.tobytes()


@pytest.mark.parametrize("exif", JUNK)
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_broken_exif(tmp_path: Path, exif: bytes, format: str) -> None:
    noise().save(tmp_path / "a", format, exif=exif)
    with opened(tmp_path / "a") as image:
        assert [frame.size for frame in frames(image)] == [(9, 7)]


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        (chunk(b"zTXt", b"note\0\0" + BOMB), "zTXt"),
        (chunk(b"iTXt", b"note\0\1\0\0\0" + BOMB), "iTXt"),
        (chunk(b"iCCP", b"camera\0\0" + BOMB), "iCCP"),
        (chunk(b"iCCP", b"camera\0\0no zlib"), "iCCP"),
        (chunk(b"tEXt", b"note\0" + b"x" * (2**20 + 1)), "tEXt"),
        (chunk(b"tEXt", b"note\0x", wrong=1), "tEXt"),
        (chunk(b"pHYs", b"\0"), ""),
        (chunk(b"gAMA", b"", wrong=1), ""),
    ],
)
def test_broken_and_large_chunks(tmp_path: Path, extra: bytes, named: str) -> None:
    data, pixels = png(extra)
    (tmp_path / "a.png").write_bytes(data)
    told: list[str] = []
    with opened(tmp_path / "a.png", told.append) as image:
        assert image.tobytes() == pixels
    assert [named in note for note in told] == ([True] if named else [])


def test_a_sound_png_keeps_its_chunks() -> None:
    data, _ = png(chunk(b"tEXt", b"parameters\0a fox"))
    assert sound_png(data) == (data, [])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations(orientation: int) -> None:
    exif, into = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    noise().save(into, "PNG", exif=exif)
    assert upright(Image.open(into)).size == ((9, 7) if orientation < 5 else (7, 9))


@pytest.mark.parametrize("tags", [{0xC612: bytes([1, 4, 0, 0])}, {0x00FE: 1, 0x014A: 8}], ids=["DNG", "NEF"])
def test_the_preview_in_a_raw_image_is_not_taken_for_it(tmp_path: Path, tags: dict[int, bytes | int]) -> None:
    noise().save(tmp_path / "a.dng", "TIFF", tiffinfo=tags)
    with pytest.raises(BadFile, match=r"raw image of a camera.*PNG or JPEG"), opened(tmp_path / "a.dng"):
        pass


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\0\0\0\x20ftypheic", "HEIC"),
        (b"\0\0\0\x20ftypmif1", "HEIC"),
        (b"\0\0\0\x20ftypcrx ", "raw image"),
        (b"\0\0\0\x20ftypmp42", "video"),
        (b"\xff\x0a\0\0", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"8BPS\0\1", "Photoshop"),
        (b"%PDF-1.7", "PDF"),
        (b"<svg xmlns=", "SVG"),
        (b"<!DOCTYPE html>", "web page"),
        (b"version https://git-lfs", "Git LFS"),
    ],
)
def test_other_formats_are_named_with_the_way_out(tmp_path: Path, head: bytes, name: str) -> None:
    (tmp_path / "a.png").write_bytes(head + bytes(200))
    with pytest.raises(BadFile, match=f"{name}.*PNG or JPEG"), opened(tmp_path / "a.png"):
        pass
