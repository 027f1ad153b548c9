"""A bounded cache of a host, freed when memory is needed."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import fields, is_dataclass
from threading import RLock
from typing import Any, TypeVar, cast

Value = TypeVar("Value")

MOST_BYTES = 2**31  # the safety checker alone takes 1.2 GB
MOST_VALUES = 1024
SMALL = 2**16  # bytes; freeing smaller values gains nothing


class Kept:
    """A cache bounded in values and total bytes; the least recently used values are dropped first."""

    def __init__(self, most_bytes: int = MOST_BYTES, most_values: int = MOST_VALUES) -> None:
        self._values: OrderedDict[Hashable, tuple[object, int]] = OrderedDict()
        self._most_bytes, self._most_values = most_bytes, most_values
        self._lock = RLock()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return the value of a key, calling `make` for a missing one. Nothing is kept if `make` raises."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return cast(Value, self._values[key][0])
        value = make()
        size = bytes_of(value)
        with self._lock:
            self._values[key] = value, size
            while self._values and (len(self._values) > self._most_values or self.bytes > self._most_bytes):
                self._values.popitem(last=False)
        return value

    def free(self) -> None:
        """Drop large values to free memory; small ones such as hashes are kept."""
        with self._lock:
            for key in [key for key, (_, size) in self._values.items() if size >= SMALL]:
                del self._values[key]

    @property
    def bytes(self) -> int:
        """Total memory of the kept values."""
        return sum(size for _, size in self._values.values())

    def __len__(self) -> int:
        return len(self._values)


def bytes_of(value: Any) -> int:
    """Return the memory in bytes of the tensors, arrays and text in a value."""
    if hasattr(value, "nbytes"):
        return int(value.nbytes)
    if hasattr(value, "parameters") and hasattr(value, "buffers"):
        return sum(bytes_of(tensor) for tensors in (value.parameters(), value.buffers()) for tensor in tensors)
    if is_dataclass(value) and not isinstance(value, type):
        return sum(bytes_of(getattr(value, field.name)) for field in fields(value))
    if isinstance(value, Mapping):
        return sum(bytes_of(part) for part in value.values())
    if isinstance(value, tuple | list):
        return sum(bytes_of(part) for part in value)
    return sys.getsizeof(value)
