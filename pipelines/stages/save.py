"""Saving images to files with their generation parameters (Fooocus modules/private_logger.py)."""

from __future__ import annotations

import json
import os
import posixpath
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from ..errors import BadValue, chosen
from ..files import file_hash, write_whole
from ..host import Host, find_or_pocket
from ..settings import FORMATS, MAX_SEED, METADATA_SCHEMES
from .pictures import as_float32
from .recipes.picture_texts import MAKER_NOTE, USER_COMMENT
from .recipes.text_encoding import UNICODE
from .recipes.write_metadata import PictureInfo, a1111_text, fooocus_text

Embed = dict[str, str]
"""Texts embedded in a file: `parameters`, `fooocus_scheme`, `prompt`, `workflow` and further ones of ComfyUI."""

DEFAULT_PREFIX = "Fooocus"
LARGEST_SIDE = {"png": 2**31 - 1, "jpeg": 65535, "webp": 16383}
LARGEST_JPEG_EXIF = 65533
SOFTWARE = ExifTags.Base.Software
GRAPH_TAG, FURTHER_TAGS = ExifTags.Base.Model, ExifTags.Base.Make


def save_pictures(
    host: Host,
    images: Any,
    prefix: str = DEFAULT_PREFIX,
    format: str = "png",
    quality: int = 95,
    scheme: str = "fooocus",
    info: PictureInfo | Sequence[PictureInfo] | None = None,
    prompt: Mapping[str, Any] | None = None,
    extra_pnginfo: Mapping[str, Any] | None = None,
    folder: Literal["output", "temp"] = "output",
) -> list[dict[str, str]]:
    """Save images (B, H, W, 3 or 4), floats 0…1 of torch or numpy, as `<prefix>_<counter>_.<format>`.

    `prefix` may contain sub-folders and %year% %month% %day% %hour% %minute% %second% %width% %height% %batch_num%.
    `quality` 1…100 applies to jpeg and webp. `info`: one per image, or that of the first, whose seed is then counted
    up; it is written in the `scheme` fooocus, a1111 or none. `prompt` and `extra_pnginfo` are ComfyUI's graph, embedded
    in png and webp, where its page reads them from a file dropped on the canvas; it reads none from jpeg.
    Files are written atomically and never overwritten. Raises BadValue, and UserError with the folder and the cause if
    a file can't be written. Returns ComfyUI's {filename, subfolder, type} of each file.
    """
    scheme = chosen("metadata scheme", scheme, METADATA_SCHEMES, _one_of(METADATA_SCHEMES))
    format = chosen("format", format, FORMATS, _one_of(FORMATS))
    pictures = to_uint8(images, host.notice)
    _, height, width, _ = pictures.shape
    _check_format(format, quality, width, height)
    root = host.folder(folder)
    where, name = place(root, prefix, width, height)

    saved = []
    for number, (picture, about) in enumerate(zip(pictures, _infos(info, len(pictures)), strict=True)):
        host.check_interrupted()
        embed = _embed(host, scheme, about, prompt, extra_pnginfo)
        save = partial(_save, host, picture, format, quality, embed, about.version if about else "")
        file = write_whole(where, name.replace("%batch_num%", str(number)), f".{format}", save)
        saved.append({"filename": file.name, "subfolder": _relative(where, root), "type": folder})
    return saved


def to_uint8(images: Any, notice: Callable[[str], None] = lambda text: None) -> NDArray[np.uint8]:
    """Convert images (B, H, W, 3 or 4) from 0…1 to 0…255 by truncation, as Fooocus and ComfyUI do."""
    tensor = as_float32(images).numpy() if hasattr(images, "detach") else np.asarray(images, np.float32)
    if tensor.ndim != 4 or tensor.shape[3] not in (3, 4) or 0 in tensor.shape[:3]:
        raise BadValue(f"images to save should be (B, H, W, 3), not {tuple(tensor.shape)}")
    if np.isnan(tensor).all(axis=(1, 2, 3)).any():
        raise BadValue("an image to save contains only NaN: check the node that made it")
    if np.isnan(tensor).any():
        notice("the image contains NaN values, which are saved as black")
        tensor = np.nan_to_num(tensor, nan=0.0)
    pixels: NDArray[np.uint8] = np.clip(255.0 * tensor, 0, 255).astype(np.uint8)
    return pixels


def place(root: Path, prefix: str, width: int, height: int, now: time.struct_time | None = None) -> tuple[Path, str]:
    """Return the folder and the start of the file name for a prefix. Raises BadValue if it leads out of `root`."""
    now = now or time.localtime()
    values = {
        "year": f"{now.tm_year}",
        "month": f"{now.tm_mon:02}",
        "day": f"{now.tm_mday:02}",
        "hour": f"{now.tm_hour:02}",
        "minute": f"{now.tm_min:02}",
        "second": f"{now.tm_sec:02}",
        "width": f"{width}",
        "height": f"{height}",
    }
    filled = prefix.replace("\\", "/")
    for key, value in values.items():
        filled = filled.replace(f"%{key}%", value)
    inside = posixpath.normpath(filled.strip() or DEFAULT_PREFIX)
    inside = DEFAULT_PREFIX if inside == "." else inside
    root = Path(os.path.abspath(root))  # noqa: PTH100  symbolic links below the folder are the user's own
    target = Path(os.path.abspath(root / inside))  # noqa: PTH100
    if root not in target.parents or "\0" in inside:
        raise BadValue(f"the file name prefix {prefix!r} leads out of the folder {root}: leave out '..' and roots")
    return target.parent, target.name


def _check_format(format: str, quality: int, width: int, height: int) -> None:
    """Raise BadValue if images of that size can't be saved in the format."""
    if not 1 <= quality <= 100:
        raise BadValue(f"quality is {quality}: choose 1 to 100")
    if max(height, width) > LARGEST_SIDE[format]:
        raise BadValue(
            f"a {format} image has at most {LARGEST_SIDE[format]} pixels per side, but this one is {width}×{height}: "
            "choose png"
        )


def _infos(info: PictureInfo | Sequence[PictureInfo] | None, count: int) -> list[PictureInfo | None]:
    """Return the parameters of each image. Raises BadValue if there are neither one set nor `count`."""
    if not isinstance(info, Sequence):
        return [_numbered(info, index) for index in range(count)]
    if len(info) != count:
        raise BadValue(f"there are {len(info)} sets of parameters for {count} images: pass one, or one each")
    return list(info)


def _numbered(info: PictureInfo | None, index: int) -> PictureInfo | None:
    """Return the parameters of image `index` of a batch, with its own seed."""
    if info is None or info.seed is None:
        return info
    return replace(info, seed=(info.seed + index) % (MAX_SEED + 1))


def _one_of(choices: Sequence[str]) -> str:
    return f"choose one of {', '.join(choices)}"


def _relative(folder: Path, root: Path) -> str:
    inside = folder.relative_to(os.path.abspath(root)).as_posix()  # noqa: PTH100
    return "" if inside == "." else inside


def _embed(
    host: Host,
    scheme: str,
    info: PictureInfo | None,
    prompt: Mapping[str, Any] | None,
    extra_pnginfo: Mapping[str, Any] | None,
) -> Embed:
    if not host.embeds_metadata:
        return {}
    embed: Embed = {}
    if info is not None and scheme != "none":
        write = fooocus_text if scheme == "fooocus" else a1111_text
        text = write(info, partial(_hash_of, host, info.home))
        embed |= {"parameters": text.encode("utf-8", "replace").decode("utf-8"), "fooocus_scheme": scheme}
    if prompt is not None:
        embed["prompt"] = json.dumps(prompt)
    return embed | {key: json.dumps(value) for key, value in (extra_pnginfo or {}).items()}


def _hash_of(host: Host, home: Path | None, kind: str, name: str) -> str | None:
    try:
        return file_hash(find_or_pocket(host, kind, name, home=home), host.keep, host.check_interrupted)
    except OSError:
        return None


def _save(
    host: Host, picture: NDArray[np.uint8], format: str, quality: int, embed: Embed, version: str, file: IO[bytes]
) -> None:
    if format == "png":
        Image.fromarray(picture).save(file, "PNG", pnginfo=_chunks(embed), compress_level=4)
    elif format == "jpeg":
        exif = _exif({key: embed[key] for key in ("parameters", "fooocus_scheme") if key in embed}, version)
        if len(exif.tobytes()) > LARGEST_JPEG_EXIF:
            host.notice("the parameters of this image are too long for jpeg and are left out; save it as png")
            exif = Image.Exif()
        Image.fromarray(picture[..., :3]).save(
            file, "JPEG", quality=quality, optimize=True, progressive=True, exif=exif
        )
    else:
        Image.fromarray(picture).save(file, "WEBP", quality=quality, exif=_exif(embed, version))


def _chunks(embed: Embed) -> PngInfo:
    chunks = PngInfo()
    for key, text in embed.items():
        chunks.add_text(key, text)
    return chunks


def _exif(embed: Embed, version: str) -> Image.Exif:
    """Return EXIF data as Fooocus writes it, with ComfyUI's graph in the tags where it reads webp files."""
    exif = Image.Exif()
    rest = dict(embed)
    if (text := rest.pop("parameters", "")) and (scheme := rest.pop("fooocus_scheme", "")):
        exif[USER_COMMENT] = text if text.isascii() else UNICODE + text.encode("utf-16-be")
        exif[SOFTWARE] = version
        exif[MAKER_NOTE] = scheme
    if "prompt" in rest:
        exif[GRAPH_TAG] = f"prompt:{rest.pop('prompt')}"
    for tag, (key, value) in enumerate(rest.items()):
        exif[FURTHER_TAGS - tag] = f"{key}:{value}"
    return exif
