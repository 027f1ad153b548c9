"""Reading a safetensors file tensor by tensor into new memory, so that no page of the file stays mapped."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from io import BufferedReader

import torch
from torch import Tensor

from ...errors import BadFile

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True)
class Entry:
    """The location of one tensor: the bytes from `start` to `end` of the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def entries_of(file: BufferedReader) -> dict[str, Entry]:
    """Read the locations of all tensors of an open file whose header has been checked."""
    length = int.from_bytes(file.read(8), "little")
    header = json.loads(file.read(length))
    first = 8 + length
    return {
        key: Entry(one["dtype"], tuple(one["shape"]), *(first + offset for offset in one["data_offsets"]))
        for key, one in header.items()
        if key != "__metadata__"
    }


def reader(name: str, file: BufferedReader, entries: dict[str, Entry]) -> Callable[[str], Tensor]:
    """Return `read(key)`, which reads a new tensor and raises BadFile for an unknown dtype or a truncated file."""

    def read(key: str) -> Tensor:
        entry = entries[key]
        if entry.dtype not in DTYPES:
            raise BadFile(f"{name} stores {key} as {entry.dtype}, which can't be read: get it in float16 or float32")
        content = torch.empty(entry.end - entry.start, dtype=torch.uint8)
        file.seek(entry.start)
        if file.readinto(memoryview(content.numpy())) != len(content):  # type: ignore[arg-type]
            raise BadFile(f"{name} became shorter while it was read: download it again")
        return content.view(DTYPES[entry.dtype]).reshape(entry.shape)

    return read
