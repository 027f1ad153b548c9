"""Decoding of texts in image files, whose encoding is decided by their bytes."""

from __future__ import annotations

import unicodedata
from typing import Any

UNICODE, ASCII = b"UNICODE\0", b"ASCII\0\0\0"
MARK = 8  # bytes before an EXIF comment that name its encoding
JIS, SHIFT = b"JIS\0\0\0\0\0", b"\x1b$"  # the mark of an ISO-2022 text, and the start of its double bytes
MARKS = (UNICODE, b"Unicode\0", ASCII, b"ASCII   ", JIS, bytes(MARK))
MOSTLY = 0.7
BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}


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
    plain = body.rstrip(b"\0")
    if value[:MARK] == JIS and SHIFT in plain and b"\0" not in plain and (text := _strictly(plain, "iso2022_jp")):
        return text
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
        return decoded_twice(text) or None
    patched = body.decode("utf-8", "replace")
    broken, others = patched.count("\ufffd"), sum(character > "\x7f" for character in patched)
    if broken * 2 < others:
        return patched
    text = body.decode("latin-1")
    controls = sum(unicodedata.category(character) == "Cc" and character not in "\n\r\t" for character in text)
    return text if _ascii_part(text, 1, body) - controls / max(len(body), 1) > MOSTLY else None


def decoded_twice(text: str) -> str:
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
