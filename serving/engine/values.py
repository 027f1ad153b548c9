"""Constants of a workflow: converted as ComfyUI converts them, and held to the declared range and choices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...pipelines.errors import UserError, did_you_mean
from .declarations import Input

CONVERTERS: dict[str, Callable[[Any], Any]] = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}
WORDS = {"INT": "a whole number", "FLOAT": "a number", "STRING": "a text", "BOOLEAN": "true or false"}
NOT_LINKED = {*CONVERTERS, "COMBO", "*"}  # types of which a value can stand in a workflow
FEW = 12


class Wrong(UserError):
    """What is wrong with one input, in a sentence."""


def convert(info: Input, value: Any) -> Any:
    """The value as the declared type: int(), float(), str() or bool() of it; {"__value__": v} stands for v."""
    if isinstance(value, dict) and "__value__" in value:
        value = value["__value__"]
    converter = CONVERTERS.get(info.type) if isinstance(info.type, str) else None
    if converter is None:
        return value
    try:
        return converter(value)
    except (TypeError, ValueError, OverflowError):
        raise Wrong(f"input {info.name!r} = {shown(value)} is not {WORDS[info.type]}; {wanted(info)}") from None


def check_value(info: Input, value: Any) -> None:
    """Raise Wrong when the value is outside the declared range or not among the choices."""
    low, high = info.options.get("min"), info.options.get("max")
    try:
        if low is not None and not value >= low:
            raise Wrong(f"input {info.name!r} = {shown(value)} is below its minimum {low}; {wanted(info)}")
        if high is not None and not value <= high:
            raise Wrong(f"input {info.name!r} = {shown(value)} is above its maximum {high}; {wanted(info)}")
    except TypeError:
        raise Wrong(f"input {info.name!r} = {shown(value)} can't be compared with its range; {wanted(info)}") from None
    if isinstance(info.type, str) and NOT_LINKED.isdisjoint(info.type.split(",")) and _is_plain(value):
        raise Wrong(f"input {info.name!r} = {shown(value)} can't be written into a workflow; {wanted(info)}")
    choices = info.choices
    if choices is None:
        return
    several = isinstance(value, list) and info.options.get("multi_select")
    for one in value if several else [value]:
        if one not in choices:
            near = did_you_mean(one, map(str, choices)) if isinstance(one, str) else ""
            raise Wrong(f"input {info.name!r} = {shown(one)} is not one of its choices{near}; {wanted(info)}")


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def wanted(info: Input) -> str:
    """What to do about an input: the sort of value it takes, with range or choices."""
    if info.choices is not None:
        listed = ", ".join(map(repr, info.choices[:FEW]))
        more = f" and {len(info.choices) - FEW} more" if len(info.choices) > FEW else ""
        return f"choose from {listed}{more}" if listed else "there is nothing to choose from"
    if not isinstance(info.type, str) or info.type not in WORDS or info.options.get("forceInput"):
        return "link it to an output" if info.type == "*" else f"link it to an output of type {info.type}"
    low, high = info.options.get("min"), info.options.get("max")
    bounds = {
        (True, True): f" from {low} to {high}",
        (True, False): f" of at least {low}",
        (False, True): f" of at most {high}",
        (False, False): "",
    }
    return f"give {WORDS[info.type]}{bounds[low is not None, high is not None]}"


def shown(value: Any) -> str:
    """A value in a message: its repr, cut when long."""
    text = repr(value)
    return text if len(text) <= 100 else text[:97] + "…"


def in_words(error: Exception) -> str:
    """An exception in a message: a user's error by its sentence, others with their kind."""
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
