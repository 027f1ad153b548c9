"""Texts in an image file: PNG chunks, EXIF tags, comments and XMP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image, ImageFile, IptcImagePlugin
from PIL.PngImagePlugin import iTXt

from ...picture_files import FAULTS, UNREADABLE_EXIF, Notice, ignore, opened
from .text_encoding import decoded, decoded_twice
from .xmp import is_xmp, texts_in_xmp

USER_COMMENT, MAKER_NOTE = ExifTags.Base.UserComment, ExifTags.Base.MakerNote
EXIF_TAGS = {
    "UserComment": USER_COMMENT,
    "MakerNote": MAKER_NOTE,
    "ImageDescription": ExifTags.Base.ImageDescription,
    "XPComment": ExifTags.Base.XPComment,
    "Software": ExifTags.Base.Software,
    "XPTitle": ExifTags.Base.XPTitle,
    "XPSubject": ExifTags.Base.XPSubject,
    "XPKeywords": ExifTags.Base.XPKeywords,
    "DocumentName": ExifTags.Base.DocumentName,
    "Copyright": ExifTags.Base.Copyright,
    "Artist": ExifTags.Base.Artist,
    "Make": ExifTags.Base.Make,  # where ComfyUI puts its workflow in a WebP
    "Model": ExifTags.Base.Model,
}
IPTC_TAGS = {"IPTC caption": (2, 120), "IPTC instructions": (2, 40)}
LARGEST_TEXT = 2**20
PADDING = "\0\ufeff"  # at the ends of texts that were cut out of a buffer or a file


def texts_in(path: Path, notice: Notice = ignore) -> dict[str, str]:
    """Read the texts of an image file by name of chunk, tag or XMP property, at most 2**20 characters each.

    Broken or longer texts are left out with a notice. Raises BadFile for a file that is not an image.
    """
    with opened(path, notice) as image:
        chunks = {name: value for name, value in image.info.items() if not is_xmp(str(name))}
        found = {**dict(_of_exif(image, notice)), **dict(_of_chunks(chunks)), **dict(_of_iptc(image))}
        found |= dict(_of_segments(image))
        found |= dict(texts_in_xmp(image, notice))
    too_long = {name: len(text) for name, text in found.items() if len(text) > LARGEST_TEXT}
    for name, length in too_long.items():
        notice(f"{path.name}: its text {name!r} is left out: {length:,} characters, at most {LARGEST_TEXT:,} are read")
    sound = {name: text.strip(PADDING) for name, text in found.items() if name not in too_long}
    return {name: text for name, text in sound.items() if text.strip()}


def _of_chunks(info: Mapping[Any, Any]) -> Iterator[tuple[str, str]]:
    """Yield texts of PNG chunks, and comments of JPEG and GIF. A tEXt chunk should be Latin-1, but is often UTF-8."""
    for name, value in info.items():
        if isinstance(value, iTXt):
            yield str(name), str(value)
        elif isinstance(name, str) and isinstance(value, str):
            yield name, decoded_twice(value)
        elif name == "comment" and isinstance(value, bytes):
            yield "Comment", decoded(value)


def _of_segments(image: Image.Image) -> Iterator[tuple[str, str]]:
    """Yield the comments of a JPEG that has several, besides the last one, which is in Pillow's `info`."""
    comments = [body for marker, body in getattr(image, "applist", ()) if marker == "COM"]
    for number, body in enumerate(comments[:-1], 1):
        yield f"Comment {number}", decoded(body)


def _of_iptc(image: Image.Image) -> Iterator[tuple[str, str]]:
    """Yield the texts of an IPTC record of JPEG or TIFF, an older form of what photo managers write into XMP."""
    try:
        record = IptcImagePlugin.getiptcinfo(image) if isinstance(image, ImageFile.ImageFile) else None
    except FAULTS:
        return
    for name, tag in IPTC_TAGS.items():
        value = (record or {}).get(tag)
        if text := decoded(value[0] if isinstance(value, list) else value):
            yield name, text


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
