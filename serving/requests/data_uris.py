"""Data URIs (RFC 2397)."""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import unquote_to_bytes

from ...pipelines.errors import BadValue

HEADER = re.compile(r"data:(?P<type>[^;,]*)(?P<parameters>(?:;[^;,]*)*),", re.IGNORECASE)
SUFFIXES = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/jpg": ".jpg",
    "image/webp": ".webp",
    "image/gif": ".gif",
    "image/bmp": ".bmp",
    "image/tiff": ".tif",
}
SHOWN = 40  # characters of a data URI in a message


def decoded(uri: str) -> tuple[str, bytes]:
    """The media type in lower case and the bytes of a data URI. Raises BadValue."""
    found = HEADER.match(uri)
    if found is None:
        raise BadValue(f"{uri[:SHOWN]!r} is no data URI: it should begin with data:image/png;base64, or the like")
    data = uri[found.end() :]
    if ";base64" not in found["parameters"].lower():
        return found["type"].lower(), unquote_to_bytes(data)
    try:
        plain = base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadValue(f"the data URI {uri[:SHOWN]!r} is damaged: {error}") from error
    return found["type"].lower(), plain


def suffix_of(media_type: str) -> str:
    """The suffix of a picture's file; that of PNG for an unknown type, which readers tell by the bytes."""
    return SUFFIXES.get(media_type, ".png")
