"""Opening image files. Broken EXIF, colour profiles and texts beside the pixels cost only themselves, with a notice."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import BadFile

if TYPE_CHECKING:
    from PIL import Image

Notice = Callable[[str], None]

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")
KEPT_CHUNKS = (b"tRNS", b"acTL", b"fcTL", b"fdAT", b"eXIf", *TEXT_CHUNKS)  # of the chunks that hold no pixels
LARGEST_CHUNK = 2**20
DRAWINGS = ("EPS", "WMF")  # formats that another program would have to render
ORIENTATION = 0x0112
DNG_VERSION, NEW_SUBFILE_TYPE, SUB_IFDS = 0xC612, 0x00FE, 0x014A
PREVIEW = 1  # a value of NewSubfileType
FAULTS = (OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, OverflowError, struct.error)
UNREADABLE_EXIF = (SyntaxError, ValueError, TypeError, LookupError, OverflowError, struct.error)

FORMATS_ELSEWHERE = (  # (offset, bytes, name) of formats that Pillow doesn't read by itself
    *((4, b"ftyp" + brand, "a HEIC image, as phones take them") for brand in (b"hei", b"hev", b"mif1", b"msf1")),
    (4, b"ftypavi", "an AVIF image"),
    (4, b"ftypcrx", "a raw image of a camera"),
    (4, b"ftyp", "a video"),
    (0, b"\xff\x0a", "a JPEG XL image"),
    (4, b"JXL ", "a JPEG XL image"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"FUJIFILMCCD-RAW", "a raw image of a camera"),
    (0, b"%PDF", "a PDF document"),
    (0, b"<svg", "an SVG drawing"),
    (0, b"<?xml", "an SVG drawing or another XML file"),
    (0, b"<!doctype html", "a web page"),
    (0, b"<html", "a web page"),
    (0, b"version https://git-lfs", "a Git LFS pointer in place of the file"),
    (0, b"\x1aE\xdf\xa3", "a video"),
)


def ignore(text: str) -> None:
    """A receiver of notices that drops them."""


@contextmanager
def opened(path: Path, notice: Notice = ignore) -> Iterator[Image.Image]:
    """Open an image file whose metadata may be broken; one notice names the parts that were left out.

    Raises BadFile for a file whose pixels can't be read, or that is larger than is safe.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large images, and of metadata in disorder
            with Image.open(sound(path, notice)) as picture:
                most = 2 * (Image.MAX_IMAGE_PIXELS or 2**27)
                if picture.format in DRAWINGS:
                    raise BadFile(f"{path} is a vector drawing ({picture.format}); export it as PNG or JPEG")
                if picture.format == "TIFF" and _is_raw(picture):
                    raise BadFile(f"{path} is a raw image of a camera: convert or export it to PNG or JPEG")
                if picture.width * picture.height * getattr(picture, "n_frames", 1) > most:
                    raise BadFile(f"{path} has more than {most} pixels in all its frames; make it smaller")
                yield picture
    except Image.DecompressionBombError as error:
        raise BadFile(f"{path} is larger than is safe to open ({error}); make it smaller") from error
    except FAULTS as error:
        raise BadFile(_refusal(path, error)) from error


def _is_raw(picture: Image.Image) -> bool:
    """True for a camera's TIFF whose first image is only a preview (DNG, NEF and the like)."""
    try:
        exif = picture.getexif()
    except UNREADABLE_EXIF:
        return False
    return DNG_VERSION in exif or bool(exif.get(NEW_SUBFILE_TYPE) == PREVIEW and SUB_IFDS in exif)


def frames(picture: Image.Image, notice: Notice = ignore) -> Iterator[Image.Image]:
    """Yield the frames of the size of the first one, upright; of a stereo image (MPO) only the first."""
    from PIL import ImageSequence

    size = None
    for raw in ImageSequence.Iterator(picture):
        frame = upright(raw, notice)
        if frame.mode.startswith("I"):  # 16-bit grey
            frame = frame.convert("I").point(lambda grey: grey * (1 / 255))
        size = size or frame.size
        if frame.size == size:
            yield frame
        if picture.format == "MPO":
            return


def upright(image: Image.Image, notice: Notice = ignore) -> Image.Image:
    """Return a copy turned as its EXIF orientation says; where EXIF is broken, as it is stored, with a notice."""
    from PIL import Image

    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    try:
        orientation = image.getexif().get(ORIENTATION)
        turn = turns.get(orientation) if isinstance(orientation, int) else None
    except UNREADABLE_EXIF as error:
        notice(f"the EXIF data of the image can't be read ({error}): it is not turned")
        turn = None
    return image.copy() if turn is None else image.transpose(turn)


def sound(path: Path, notice: Notice = ignore) -> Path | io.BytesIO:
    """The file, or for a PNG its bytes without chunks that Pillow would refuse the whole image for."""
    with path.open("rb") as file:
        if file.read(len(PNG_SIGNATURE)) != PNG_SIGNATURE:
            return path
        data = PNG_SIGNATURE + file.read()
    kept, left_out = sound_png(data)
    if left_out:
        notice(f"{path.name}: its pixels are read without {', '.join(left_out)}")
    return io.BytesIO(kept)


def sound_png(data: bytes) -> tuple[bytes, list[str]]:
    """A PNG without its unsound or unused chunks, and a phrase for each chunk that is broken or too large.

    Texts behind the pixels are put before them, where Pillow reads them without the pixels.
    """
    kept, left_out, at = [data[:8]], [], 8
    pixels = 0  # the place of their first chunk in `kept`
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        body, whole = data[at + 8 : end - 4], data[at:end]
        if end > len(data):
            break
        at = end
        if kind[0] & 32 == 0:  # an upper-case letter: needed for the pixels
            pixels = pixels or (len(kept) if kind == b"IDAT" else 0)
            kept.append(whole)
        elif fault := _fault(kind, body, whole[-4:]):
            left_out.append(f"its {kind.decode('ascii', 'replace')} chunk ({fault})")
        elif kind in TEXT_CHUNKS and pixels:
            kept.insert(pixels, whole)
            pixels += 1
        elif kind in KEPT_CHUNKS:
            kept.append(whole)
    return b"".join([*kept, data[at:]]), left_out


def _fault(kind: bytes, body: bytes, check: bytes) -> str:
    """Why a chunk beside the pixels can't be read; '' for a sound one, and for those that nothing reads."""
    packed = _packed(kind, body)
    if kind not in (*KEPT_CHUNKS, b"iCCP"):
        return ""
    if struct.pack(">I", zlib.crc32(kind + body)) != check:
        return "its checksum is wrong"
    if kind in TEXT_CHUNKS and len(body) > LARGEST_CHUNK:
        return f"larger than {LARGEST_CHUNK:,} bytes"
    if packed is None:
        return ""
    try:
        unpacked = zlib.decompressobj().decompress(packed, LARGEST_CHUNK + 1)
    except zlib.error as error:
        return f"it can't be decompressed: {error}"
    return f"larger than {LARGEST_CHUNK:,} bytes" if len(unpacked) > LARGEST_CHUNK else ""


def _packed(kind: bytes, body: bytes) -> bytes | None:
    """The compressed part of a chunk; None for a chunk without one."""
    _, _, rest = body.partition(b"\0")
    if kind in (b"zTXt", b"iCCP"):
        return rest[1:]
    if kind == b"iTXt" and rest[:1] == b"\1":
        return rest[2:].split(b"\0", 2)[-1]
    return None


def _refusal(path: Path, error: Exception) -> str:
    """The sentence for a file that is no image, or of a format that can't be read here."""
    if name := format_elsewhere(path):
        return f"{path} is {name}, which can't be read here: convert or export it to PNG or JPEG"
    cause = "the file is empty" if path.is_file() and not path.stat().st_size else error
    return f"{path} cannot be read as an image ({cause}); export it as PNG or JPEG"


def format_elsewhere(path: Path) -> str:
    """Return a phrase for a file of a format that can't be read here, such as 'a PDF document'; '' for any other."""
    try:
        with path.open("rb") as file:
            head = file.read(64).lstrip(b"\xef\xbb\xbf \r\n")
    except OSError:
        return ""
    starts = ((name, head[offset:].lower().startswith(sign.lower())) for offset, sign, name in FORMATS_ELSEWHERE)
    return next((name for name, fits in starts if fits), "")
