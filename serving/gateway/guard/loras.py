"""LoRAs that callers name by URL: safetensors files alone, whose header is checked before the rest is kept."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

from ....pipelines.errors import BadFile

LENGTH_BYTES = 8
MAX_HEADER = 32 * 2**20
MOST_TENSORS = 100_000
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F16": 16, "BF16": 16, "I16": 16, "U16": 16, "F32": 32,
    "I32": 32, "U32": 32, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip
WAY_OUT = "send a LoRA as a safetensors file"


class HeaderReader:
    """Collects the beginning of a file until its header is whole; `size` is then the size of the whole file."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._collected = bytearray()
        self.size: int | None = None

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes. Raises BadFile as soon as they can't be those of a safetensors file."""
        if self.size is not None:
            return
        self._collected += chunk
        if len(self._collected) < LENGTH_BYTES:
            return
        length = int.from_bytes(self._collected[:LENGTH_BYTES], "little")
        if not 2 <= length <= MAX_HEADER or (len(self._collected) > LENGTH_BYTES and self._collected[8:9] != b"{"):
            raise BadFile(f"the file is not in the safetensors format: {WAY_OUT}")
        if len(self._collected) >= LENGTH_BYTES + length:
            header = bytes(self._collected[LENGTH_BYTES : LENGTH_BYTES + length])
            self.size = LENGTH_BYTES + length + data_bytes(header)
            self._collected.clear()
            if self.size > self._max_bytes:
                raise BadFile(f"the LoRA has {self.size} bytes: send one of at most {self._max_bytes}")


def data_bytes(header: bytes) -> int:
    """Return the number of bytes that follow a safetensors header. Raises BadFile for a header that is not sound."""
    try:
        entries: dict[str, Any] = json.loads(header, parse_constant=_no_constant)
        entries.pop("__metadata__", None)
        if not 1 <= len(entries) <= MOST_TENSORS:
            raise ValueError
        places = sorted(_place(entry) for entry in entries.values())
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BadFile(f"the safetensors header of the file is damaged: {WAY_OUT}") from error
    if places[0][0] != 0 or any(first[1] != second[0] for first, second in pairwise(places)):
        raise BadFile(f"the tensors of the safetensors file overlap or leave gaps: {WAY_OUT}")
    return places[-1][1]


def check_lora(path: Path) -> None:
    """Check a complete file with the safetensors library. Raises BadFile."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            list(file.keys())
    except (SafetensorError, OSError, ValueError) as error:
        raise BadFile(f"the safetensors file is damaged: {WAY_OUT}") from error


def _place(entry: dict[str, Any]) -> tuple[int, int]:
    start, end = entry["data_offsets"]
    sides = entry["shape"]
    if not all(isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in (start, end, *sides)):
        raise ValueError
    if (end - start) * 8 != math.prod(sides) * BITS[entry["dtype"]]:
        raise ValueError
    return start, end


def _no_constant(name: str) -> float:
    raise ValueError(name)
