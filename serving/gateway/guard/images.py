"""Pictures that callers send: decoded once, within bounds that hold before anything is decoded."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

from ....pipelines.errors import BadFile
from ....pipelines.picture_files import format_elsewhere, sound

MEDIA_TYPES = {
    "PNG": ("image/png", ".png"),
    "JPEG": ("image/jpeg", ".jpg"),
    "MPO": ("image/jpeg", ".jpg"),  # a JPEG that holds further views, as phones take it
    "WEBP": ("image/webp", ".webp"),
    "GIF": ("image/gif", ".gif"),
    "BMP": ("image/bmp", ".bmp"),
    "TIFF": ("image/tiff", ".tiff"),
    "AVIF": ("image/avif", ".avif"),
}
FORMATS = tuple(MEDIA_TYPES)
LONGEST_SIDE = 32768


@dataclass(frozen=True)
class ImageInfo:
    """The format of a picture as its content shows it, and its size in pixels."""

    media_type: str
    suffix: str
    width: int
    height: int


def check_image(path: Path, max_pixels: int) -> ImageInfo:
    """Read a picture whole and return what it is.

    The size that its header gives is compared with `max_pixels` before a pixel is decoded. Raises BadFile for what is
    no picture, has several frames, is too large, truncated or damaged; damaged metadata are passed over. The messages
    name no local path.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large images, which are measured here, and of metadata in disorder
            with Image.open(sound(path), formats=[name for name in FORMATS if name != "MPO"]) as picture:
                _raise_for_size(picture.width, picture.height, max_pixels)
                if picture.format != "MPO" and getattr(picture, "is_animated", False):
                    raise BadFile("the picture has several frames: send a single one")
                picture.load()
                media_type, suffix = MEDIA_TYPES[str(picture.format)]
                return ImageInfo(media_type, suffix, *picture.size)
    except Image.DecompressionBombError as error:
        raise BadFile(f"the picture has too many pixels: send one of at most {max_pixels}") from error
    except BadFile:
        raise
    except MemoryError as error:
        raise BadFile("the picture does not fit into memory: send a smaller one") from error
    except Exception as error:  # decoders raise anything for what they can't read
        if name := format_elsewhere(path):
            raise BadFile(f"the file can't be read as a picture, it is {name}: send it as PNG or JPEG") from error
        readable = "PNG, JPEG, WebP, GIF, BMP, TIFF or AVIF"
        raise BadFile(f"the file can't be read as a picture: send a whole file in {readable}") from error


def _raise_for_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels or max(width, height) > LONGEST_SIDE:
        raise BadFile(
            f"the picture has {width}×{height} pixels: send one of at most {max_pixels} pixels and {LONGEST_SIDE} on a "
            "side"
        )
