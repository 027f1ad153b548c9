"""Safe reading of weight files: safetensors, and pickles of plain tensors, whose code is never run."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ...errors import BadFile, MissingFile
from .placeholders import placeholders
from .safetensors_file import entries_of, reader
from .wrappers import plain_names, unwrapped

NOT_WEIGHTS = {
    b"version https://git-lfs": "is a Git LFS pointer, not the weights",
    b"/annex/objects/": "is a git-annex pointer, not the weights",
    b"<": "is a web page, not weights",
    b'{"': "is a web server's response or another JSON text, not weights",
    b"\x1f\x8b": "is a packed archive (gzip), not weights",
    b"7z\xbc\xaf": "is a packed archive (7z), not weights",
    b"Rar!": "is a packed archive (RAR), not weights",
    b"\x89PNG": "is an image, not weights",
    b"\xff\xd8\xff": "is an image, not weights",
}
OTHER_FORMATS = {  # of weights, by their first bytes
    b"GGUF": "GGUF",
    b"lmgg": "GGML",
    b"tjgg": "GGML",
    b"ftrt": "a TensorRT engine",
    b"\x89HDF": "HDF5, as Keras writes it",
}
ONNX = re.compile(rb"\x08[\x01-\x1f][\x12\x3a]")  # the version of the format, then the producer's name or the graph
LARGEST_MESSAGE = 2000  # bytes
AS_SAFETENSORS = "get the model as safetensors"
MAX_HEADER = 100_000_000  # bytes; the published limit of the safetensors format


@dataclass(frozen=True)
class Weights:
    """The tensors of an open file: all shapes, and values on demand through `read(key)`."""

    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[str], Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def open_weights(path: Path) -> Iterator[Weights]:
    """Open the tensors of a safetensors, ckpt, pt, pth or bin file, recognised by its first bytes, not by its name.

    `read` returns a new tensor at each call, and only requested tensors take memory, as far as the format allows.
    Wrappers that training programs add are removed (`wrappers`). Raises MissingFile, and BadFile for a file that is
    truncated, inconsistent or of another format, or that would run code when opened.
    """
    if _kind(path) == "safetensors":
        try:
            with safe_open(path, framework="pt", device="cpu") as checked:
                metadata = checked.metadata() or {}
        except (SafetensorError, OSError, ValueError) as error:
            raise _damaged(path, str(error)) from error
        with path.open("rb") as file:
            entries = entries_of(file)
            entries = {plain: entries[key] for plain, key in plain_names(entries.keys()).items()}
            shapes = {key: entry.shape for key, entry in entries.items()}
            yield Weights(path, shapes, reader(path.name, file, entries), metadata)
    else:
        yield in_memory(path, read_pickle(path))


def in_memory(path: Path, state: Mapping[str, Any]) -> Weights:
    """Return the tensors among values that are in memory, as open weights of the file `path`."""
    tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    return Weights(path, shapes, lambda key: tensors[key].clone())


def read_state(path: Path) -> dict[str, Any]:
    """Read a small weight file into memory; a pickle may also contain tuples. Raises the errors of `open_weights`."""
    if _kind(path) != "safetensors":
        return read_pickle(path)
    with open_weights(path) as weights:
        return {key: weights.read(key) for key in weights.shapes}


def read_content(path: Path) -> Any:
    """Read a small weight file into memory: named tensors, or the unchecked values of a pickle.

    Raises the errors of `open_weights`.
    """
    return read_state(path) if _kind(path) == "safetensors" else _unpickle(path)


def read_pickle(path: Path) -> dict[str, Any]:
    """Read the named weights of a file made by torch.save, also from nested dictionaries. Raises BadFile for code."""
    content = unwrapped(_unpickle(path))
    if not isinstance(content, dict):
        raise BadFile(f"{path.name} contains a {type(content).__name__}, not named weights: choose a model file")
    names = plain_names([key for key in content if isinstance(key, str)])
    state = {plain: content[key] for plain, key in names.items()}
    _refuse_absurd(path, state)
    return state


def _unpickle(path: Path) -> Any:
    zipped = _is_zip(path)
    if zipped:
        _refuse_other_archives(path)
    try:
        try:
            return _loaded(path, zipped)
        except pickle.UnpicklingError:
            with placeholders(path, zipped):
                return _loaded(path, zipped)
    except pickle.UnpicklingError as error:
        raise BadFile(
            f"{path.name} contains more than weights and can't be opened without running code, so it is refused: "
            "get it as safetensors"
        ) from error
    except Exception as error:  # a hostile pickle can raise anything
        raise _damaged(path, f"{type(error).__name__}: {error}") from error


def _loaded(path: Path, zipped: bool) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if path.suffix.lower() != ".safetensors":
            return torch.load(str(path), map_location="cpu", weights_only=True, mmap=zipped)
        with path.open("rb") as file:  # torch would read a path with this suffix as safetensors
            return torch.load(file, map_location="cpu", weights_only=True)


def _kind(path: Path) -> str:
    """Return 'safetensors' or 'pickle', recognised by the first bytes. Raises BadFile, MissingFile."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(64)
    except FileNotFoundError as error:
        raise MissingFile(f"file {path} does not exist; choose one that does") from error
    except OSError as error:
        raise BadFile(f"{path} can't be read ({error.strerror or error})") from error
    header = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and header <= min(MAX_HEADER, size - 8):
        return "safetensors"
    if head[:4] == b"PK\x03\x04" or head[:1] == b"\x80":
        return "pickle"
    if head[8:9] == b"{":
        raise _damaged(path, f"its header claims {header} bytes of {size}")
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    found = next((kind for start, kind in NOT_WEIGHTS.items() if text.lower().startswith(start.lower())), None)
    if not text.strip(b"\0"):
        found = "is empty" if not size else "contains nothing but zeros, as a download that was cut short"
    elif found is None and size < LARGEST_MESSAGE and text.isascii() and text.decode("ascii").isprintable():
        found = f"is a text, not weights ({text.decode('ascii')!r})"
    if found:
        raise BadFile(f"{path.name} {found}: download the model file itself")
    format = next((name for start, name in OTHER_FORMATS.items() if head.startswith(start)), "")
    if format := format or ("ONNX" if ONNX.match(head) else ""):
        raise BadFile(f"{path.name} is in another format ({format}), which can't be read here: {AS_SAFETENSORS}")
    raise BadFile(f"{path.name} ({size} bytes) is neither safetensors nor a torch file: choose a model file")


def _is_zip(path: Path) -> bool:
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile as error:  # of one that claims several disks
        raise _damaged(path, str(error)) from error


def _refuse_other_archives(path: Path) -> None:
    """Raise BadFile for an archive that torch.save did not write.

    It never compresses, and a compressed entry could unpack to any size.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise _damaged(path, str(error)) from error
    if any(entry.filename.endswith("/constants.pkl") for entry in entries):
        raise BadFile(f"{path.name} is a program of TorchScript, not weights alone: {AS_SAFETENSORS}")
    compressed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    if compressed or not any(entry.filename.endswith("data.pkl") for entry in entries):
        kind = "a compressed archive" if compressed else "an archive of other files"
        raise BadFile(f"{path.name} is {kind}, not a torch file: unpack it and choose the model in it")


def _refuse_absurd(path: Path, state: Mapping[str, Any]) -> None:
    """Raise BadFile for a tensor whose shape is larger than its storage."""
    for key, value in state.items():
        if isinstance(value, Tensor) and value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise BadFile(
                f"{path.name}: {key} has the shape {tuple(value.shape)}, but too few values; download it again"
            )


def _damaged(path: Path, reason: str) -> BadFile:
    reason = " ".join(reason.split())[:160]
    return BadFile(f"{path.name} is truncated or damaged ({reason}): download it again")
