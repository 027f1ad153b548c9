"""Texts in XMP packets, which photo managers and some image generators write in place of EXIF or PNG texts."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

from PIL import Image

from ...picture_files import LARGEST_CHUNK, Notice
from .text_encoding import decoded

NAMESPACES = {
    "http://purl.org/dc/elements/1.1/": "dc",
    "http://ns.adobe.com/exif/1.0/": "exif",
    "http://ns.adobe.com/tiff/1.0/": "tiff",
    "http://ns.adobe.com/photoshop/1.0/": "photoshop",
    "http://ns.adobe.com/xap/1.0/": "xmp",
    "http://ns.acdsee.com/iptc/1.0/": "acdsee",
    "http://www.digikam.org/ns/1.0/": "digiKam",
}
RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
WRAPPERS = (f"{RDF}RDF", f"{RDF}Description", "{adobe:ns:meta/}xmpmeta")
PNG_KEY = "XML:com.adobe.xmp"
RAW_KEYS = ("Raw profile type xmp", "Raw profile type APP1")  # ImageMagick's copies of a JPEG's segment, in hexadecimal
SEGMENT = b"http://ns.adobe.com/xap/1.0/\0"
EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
PART = struct.Struct(">32sII")  # checksum of the whole extension, its length, offset of this part
NAME = re.compile(r"(?:\{(.*)\})?(.*)")
PADDING = "\0\ufeff \r\n\t"


def texts_in_xmp(image: Image.Image, notice: Notice) -> Iterator[tuple[str, str]]:
    """Yield the texts of an image's XMP packets by property, such as `dc:description` of XMP.

    A packet that is broken or larger than 2**20 bytes is left out with a notice.
    """
    for packet in _packets(image):
        try:
            yield from _properties(_root(packet))
        except ValueError as error:
            notice(f"an XMP packet of the image can't be read ({error}): texts in it are left out")


def is_xmp(key: str) -> bool:
    """Return True for the keys of Pillow's `info` that hold a whole packet."""
    return key in ("xmp", PNG_KEY, *RAW_KEYS)


def _packets(image: Image.Image) -> Iterator[bytes]:
    """Yield each packet once, as the formats and the versions of Pillow give them."""
    found: dict[bytes, None] = {}
    for key in ("xmp", PNG_KEY):
        if packet := image.info.get(key):
            found[packet if isinstance(packet, bytes) else str(packet).encode()] = None
    for key in RAW_KEYS:
        if packet := _of_hexadecimal(image.info.get(key)):
            found[packet] = None
    segments = [body for marker, body in getattr(image, "applist", ()) if marker == "APP1"]
    for body in segments:
        if body.startswith(SEGMENT):
            found[body.removeprefix(SEGMENT)] = None
    if extension := _joined([body.removeprefix(EXTENSION) for body in segments if body.startswith(EXTENSION)]):
        found[extension] = None
    yield from found


def _of_hexadecimal(text: Any) -> bytes:
    """Decode a raw profile: three lines of heading, then hexadecimal digits; b'' for another profile."""
    if not isinstance(text, str):
        return b""
    try:
        body = bytes.fromhex("".join(text.split("\n")[3:]))
    except ValueError:
        return b""
    body = body.removeprefix(SEGMENT)
    return body if b"<" in body[:16] else b""


def _joined(parts: list[bytes]) -> bytes:
    """Join the parts of an extended packet by their offsets; b'' if one is missing."""
    placed = sorted((PART.unpack_from(part)[2], part[PART.size :]) for part in parts if len(part) >= PART.size)
    whole = b""
    for offset, body in placed:
        if offset != len(whole):
            return b""
        whole += body
    return whole


def _root(packet: bytes) -> ElementTree.Element:
    """Parse a packet. Raises ValueError for one that is too large, defines entities or is no XML."""
    if len(packet) > LARGEST_CHUNK:
        raise ValueError(f"larger than {LARGEST_CHUNK:,} bytes")
    text = decoded(packet).strip(PADDING)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ValueError("it declares a document type, which no XMP packet does")
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(str(error)) from error


def _properties(root: ElementTree.Element) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of the properties of a packet: attributes, elements, and the first entry of a list."""
    values: dict[str, str] = {}
    pending = [root]
    while pending:
        element = pending.pop(0)
        if element.tag in WRAPPERS or element.tag == root.tag:
            for key, value in element.attrib.items():
                values.setdefault(_label(key), value)
            pending[:0] = list(element)
            continue
        values.setdefault(_label(element.tag), next((text for text in element.itertext() if text.strip()), ""))
    yield from ((name, text) for name, text in values.items() if text.strip())


def _label(tag: str) -> str:
    """Return the name of a property with its usual prefix, or without one for an unusual namespace."""
    match = NAME.fullmatch(tag)
    namespace, name = (match[1], match[2]) if match else (None, tag)
    prefix = NAMESPACES.get(namespace or "", "")
    return f"XMP {prefix}:{name}" if prefix else f"XMP {name}"
