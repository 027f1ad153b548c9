"""Readers for values written as text: numbers, groups of numbers, lists of names. Text is never evaluated as code.

A reader raises ValueError with the expected value, to complete a message: '… should be a number from 0 to 1'.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ...names import match_name

T = TypeVar("T")

NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
GROUP = re.compile(rf"[(\[]\s*(?:(['\"]?){NUMBER}\1\s*(?:,\s*|(?=[)\]])))+[)\]]")
QUOTED = r"'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\""
NAMES = re.compile(rf"\[\s*(?:(?:{QUOTED})\s*(?:,\s*|(?=\])))*\]")
SIZE = re.compile(r"\s*(\d{1,6})\s*[x×*]\s*(\d{1,6})(?!\d)", re.IGNORECASE)
LONGEST_NUMBER = 100
WHOLE = re.compile(r"([+-]?\d+)\.0*")
LARGEST_SIDE = 999_999


def text(value: Any) -> str:
    """Read a text unchanged."""
    if not isinstance(value, str):
        raise ValueError("a text")
    return value


def switch(value: Any) -> bool:
    """Read True or False, also from a text."""
    found = {"true": True, "false": False}.get(str(value).strip().casefold())
    if found is None:
        raise ValueError("True or False")
    return found


def number(low: float = -math.inf, high: float = math.inf) -> Callable[[Any], float]:
    """Return a reader of finite numbers from `low` to `high`, also from a text."""

    def read(value: Any) -> float:
        found = float(_plain(value))
        if not math.isfinite(found) or not low <= found <= high:
            raise ValueError
        return found

    return _reader(f"a number{_range(low, high)}", read)


def whole(low: int, high: int) -> Callable[[Any], int]:
    """Return a reader of whole numbers from `low` to `high`, also from a text."""

    def read(value: Any) -> int:
        plain = _plain(value)
        found = int(plain) if not isinstance(plain, str) or plain.strip().lstrip("+-").isdigit() else int(_whole(plain))
        if (isinstance(plain, float) and plain != found) or not low <= found <= high:
            raise ValueError
        return found

    return _reader(f"a whole number{_range(low, high)}", read)


def one_of(choices: Sequence[str]) -> Callable[[Any], str]:
    """Return a reader of one of the choices, in any spelling."""

    def read(value: Any) -> str:
        found = match_name(value, choices) if isinstance(value, str) else None
        if found is None:
            raise ValueError
        return found

    return _reader(f"one of {', '.join(choices)}", read)


def numbers(count: int) -> Callable[[Any], tuple[float, ...]]:
    """Return a reader of `count` numbers: a list, or a text such as `(1.5, 0.8, 0.3)`."""

    def read(value: Any) -> tuple[float, ...]:
        if isinstance(value, str) and GROUP.fullmatch(value.strip()):
            value = [match[0] for match in re.finditer(NUMBER, value)]
        if not isinstance(value, (list, tuple)) or len(value) != count:
            raise ValueError
        return tuple(number()(item) for item in value)

    return _reader(f"{count} numbers", read)


def size(value: Any) -> tuple[int, int]:
    """Read width and height: a list of two, or a text such as `1152*896`, `1152×896 | 9:7`, `(1152, 896)`."""
    found = SIZE.match(value) if isinstance(value, str) else None
    width, height = (int(side) for side in found.groups()) if found else map(whole(0, LARGEST_SIDE), numbers(2)(value))
    return width, height


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) and NAMES.fullmatch(value.strip()):
        value = ast.literal_eval(value.strip())  # flat by its grammar: it can neither call nor nest
    if not isinstance(value, (list, tuple)):
        raise ValueError
    return tuple(text(item) for item in value)


def _plain(value: Any) -> int | float | str:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError
    if isinstance(value, str) and len(value) > LONGEST_NUMBER:
        raise ValueError
    return value


def _whole(text: str) -> str:
    """Return the digits of a text such as '20.0'."""
    if (found := WHOLE.fullmatch(text.strip())) is None:
        raise ValueError
    return found[1]


def _reader(wants: str, read: Callable[[Any], T]) -> Callable[[Any], T]:
    def reader(value: Any) -> T:
        try:
            return read(value)
        except (ValueError, OverflowError, SyntaxError):
            raise ValueError(wants) from None

    return reader


def _range(low: float, high: float) -> str:
    return "" if math.isinf(low) or math.isinf(high) else f" from {low} to {high}"


names = _reader("a list of names", _names)
"""Reads a list of texts, or a text such as `['one', "two"]`."""
