"""Texts in an image file: PNG chunks, EXIF tags and comments."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image
from PIL.PngImagePlugin import iTXt

from ...picture_files import UNREADABLE_EXIF, Notice, ignore, opened

USER_COMMENT, MAKER_NOTE = ExifTags.Base.UserComment, ExifTags.Base.MakerNote
UNICODE, ASCII = b"UNICODE\0", b"ASCII\0\0\0"
EXIF_TAGS = {
    "UserComment": USER_COMMENT,
    "MakerNote": MAKER_NOTE,
    "ImageDescription": ExifTags.Base.ImageDescription,
    "XPComment": ExifTags.Base.XPComment,
    "Software": ExifTags.Base.Software,
}
MARK = 8  # bytes before an EXIF comment that name its encoding
MARKS = (UNICODE, b"Unicode\0", ASCII, b"ASCII   ", b"JIS\0\0\0\0\0", bytes(MARK))
MOSTLY = 0.7
LARGEST_TEXT = 2**20
PADDING = "\0\ufeff"  # at the ends of texts that were cut out of a buffer or a file
BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}


def texts_in(path: Path, notice: Notice = ignore) -> dict[str, str]:
    """Read the texts of an image file by chunk or tag name, at most 2**20 characters each.

    Broken or longer texts are left out with a notice. Raises BadFile for a file that is not an image.
    """
    with opened(path, notice) as image:
        found = {**dict(_of_exif(image, notice)), **dict(_of_chunks(image.info))}
    too_long = {name: len(text) for name, text in found.items() if len(text) > LARGEST_TEXT}
    for name, length in too_long.items():
        notice(f"{path.name}: its text {name!r} is left out: {length:,} characters, at most {LARGEST_TEXT:,} are read")
    sound = {name: text.strip(PADDING) for name, text in found.items() if name not in too_long}
    return {name: text for name, text in sound.items() if text.strip()}


def decoded(value: Any) -> str:
    """Decode a comment whose bytes are UTF-8 or UTF-16 of either byte order, with or without a mark.

    Metadata consists mostly of ASCII characters (keys, numbers, punctuation): the encoding with the largest fraction of
    such bytes is chosen, and among equals the one with the fewest Unicode blocks.
    """
    if isinstance(value, str):
        value = value.encode("latin-1") if _is_latin(value) else value
    if not isinstance(value, bytes):
        return value if isinstance(value, str) else ""
    body = value[MARK:] if value[:MARK] in MARKS else value
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if body.startswith(mark):
            return body[len(mark) :].decode(encoding, "replace").rstrip("\0")
    wide = [text for order in ("utf-16-be", "utf-16-le") if (text := _strictly(body[: len(body) // 2 * 2], order))]
    readings = [(_ascii_part(text, 2, body), -_blocks(text), text) for text in wide]
    if (narrow := _of_single_bytes(body, value[:MARK].upper() == UNICODE)) is not None or not wide:
        text = body.decode("latin-1") if narrow is None else narrow
        readings.insert(0, (_ascii_part(text, 1, body), 0, text))
    return max(readings, key=lambda reading: reading[:2])[2].rstrip("\0")


def _of_single_bytes(body: bytes, marked: bool) -> str | None:
    """Decode bytes as UTF-8; None if they are not.

    Mostly ASCII bytes that are not `marked` as UTF-16 are also decoded as UTF-8 with a few errors, or as Latin-1.
    """
    if (text := _strictly(body, "utf-8")) or marked:
        return _decoded_twice(text) or None
    patched = body.decode("utf-8", "replace")
    broken, others = patched.count("\ufffd"), sum(character > "\x7f" for character in patched)
    if broken * 2 < others:
        return patched
    text = body.decode("latin-1")
    controls = sum(unicodedata.category(character) == "Cc" and character not in "\n\r\t" for character in text)
    return text if _ascii_part(text, 1, body) - controls / max(len(body), 1) > MOSTLY else None


def _decoded_twice(text: str) -> str:
    """The text, decoded again if it is UTF-8 that was taken for Latin-1 and encoded a second time."""
    return (_strictly(text.encode("latin-1"), "utf-8") if _is_latin(text) else "") or text


def _strictly(body: bytes, encoding: str) -> str:
    """Decode strictly; return '' for bytes that are invalid in the encoding."""
    try:
        return body.decode(encoding)
    except UnicodeDecodeError:
        return ""


def _ascii_part(text: str, unit: int, body: bytes) -> float:
    """Return the fraction of the bytes that are printable ASCII characters of `unit` bytes each."""
    count = sum(" " <= character <= "~" or character in "\n\r\t" for character in text)
    return count * unit / max(len(body), 1)


def _blocks(text: str) -> int:
    """Count the blocks of 256 code points in a text: bytes read in the wrong order are scattered over many."""
    return len({ord(character) >> 8 for character in text})


def _is_latin(text: str) -> bool:
    return all(character <= "\xff" for character in text)


def _of_chunks(info: Mapping[Any, Any]) -> Iterator[tuple[str, str]]:
    """Yield texts of PNG chunks, and comments of JPEG and GIF. A tEXt chunk should be Latin-1, but is often UTF-8."""
    for name, value in info.items():
        if isinstance(value, iTXt):
            yield str(name), str(value)
        elif isinstance(name, str) and isinstance(value, str):
            yield name, _decoded_twice(value)
        elif name == "comment" and isinstance(value, bytes):
            yield "Comment", decoded(value)


def _of_exif(image: Image.Image, notice: Notice) -> Iterator[tuple[str, str]]:
    try:
        exif = image.getexif()
        inner = exif.get_ifd(ExifTags.IFD.Exif)
        values = {name: exif.get(tag) or inner.get(tag) for name, tag in EXIF_TAGS.items()}
    except UNREADABLE_EXIF as error:
        notice(f"the EXIF data of the image can't be read ({error}): texts in it are left out")
        return
    for name, value in values.items():
        packed = (
            bytes(value)
            if isinstance(value, tuple) and all(isinstance(n, int) and 0 <= n < 256 for n in value)
            else value
        )
        if text := decoded(packed):
            yield name, text
