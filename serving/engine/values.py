"""Constants of a workflow: converted as ComfyUI converts them, and checked against their declared range and choices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...pipelines.errors import UserError, did_you_mean
from ...pipelines.names import match_name
from .declarations import Input

CONVERTERS: dict[str, Callable[[Any], Any]] = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}
WORDS = {"INT": "a whole number", "FLOAT": "a number", "STRING": "a text", "BOOLEAN": "true or false"}
WIDGET_TYPES = {*CONVERTERS, "COMBO", "*"}  # types whose value can be written into a workflow
LISTED_CHOICES = 12
COMFYUI_MODULES = (
    "api_server", "app", "comfy", "comfy_api", "comfy_api_nodes", "comfy_execution", "comfy_extras", "execution",
    "folder_paths", "latent_preview", "main", "node_helpers", "nodes", "server",
)  # fmt: skip


class InvalidInput(UserError):
    """One input with a wrong value or link; the message is one sentence."""


def convert(info: Input, value: Any) -> Any:
    """Convert a value to the declared type with int(), float(), str() or bool(); {"__value__": v} stands for v.

    A choice that is spelled in another way (`pipelines.names.match_name`) becomes the listed one. Raises InvalidInput.
    """
    if isinstance(value, dict) and "__value__" in value:
        value = value["__value__"]
    converter = CONVERTERS.get(info.type) if isinstance(info.type, str) else None
    if converter is None:
        spelled = match_name(value, filter(_is_text, info.choices or ())) if isinstance(value, str) else None
        return value if spelled is None else spelled
    try:
        return converter(value)
    except (TypeError, ValueError, OverflowError):
        raise InvalidInput(
            f"input {info.name!r} = {shown(value)} is not {WORDS[info.type]}; {expected(info)}"
        ) from None


def check_value(info: Input, value: Any) -> None:
    """Raise InvalidInput for a value outside the declared range or not among the choices."""
    _check_range(info, value)
    if _takes_links_only(info) and _is_plain(value):
        raise InvalidInput(f"input {info.name!r} = {shown(value)} must be a link; {expected(info)}")
    choices = info.choices
    if choices is None:
        return
    several = isinstance(value, list) and info.options.get("multi_select")
    for one in value if several else [value]:
        if one not in choices:
            near = did_you_mean(one, map(str, choices)) if isinstance(one, str) else ""
            raise InvalidInput(f"input {info.name!r} = {shown(one)} is not one of its choices{near}; {expected(info)}")


def _takes_links_only(info: Input) -> bool:
    """Return whether an input has no widget; a type of a node pack's own has one if it declares a default."""
    if not isinstance(info.type, str) or "default" in info.options:
        return False
    return WIDGET_TYPES.isdisjoint(info.type.split(","))


def _check_range(info: Input, value: Any) -> None:
    low, high = info.options.get("min"), info.options.get("max")
    given = f"input {info.name!r} = {shown(value)}"
    try:
        if low is not None and not value >= low:
            raise InvalidInput(f"{given} is below its minimum {low}; {expected(info)}")
        if high is not None and not value <= high:
            raise InvalidInput(f"{given} is above its maximum {high}; {expected(info)}")
    except TypeError:
        raise InvalidInput(f"{given} can't be compared with its range; {expected(info)}") from None


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def expected(info: Input) -> str:
    """Describe what an input accepts: its choices, a kind of value with its range, or a link."""
    if info.choices is not None:
        listed = ", ".join(map(repr, info.choices[:LISTED_CHOICES]))
        more = f" and {len(info.choices) - LISTED_CHOICES} more" if len(info.choices) > LISTED_CHOICES else ""
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
    """Return the repr of a value, shortened to 100 characters."""
    text = repr(value)
    return text if len(text) <= 100 else text[:97] + "…"


def error_text(error: BaseException) -> str:
    """Return an exception as text: the message of a user's error, the type and message of any other."""
    if isinstance(error, UserError):
        return str(error)
    if module := comfyui_module(error):
        return f"it imports {module!r}, which is part of ComfyUI; run the workflow on a ComfyUI with --comfyui"
    return f"{type(error).__name__}: {error}"


def comfyui_module(error: BaseException) -> str:
    """Return the module of ComfyUI that an import did not find; '' for any other error."""
    name = error.name or "" if isinstance(error, ImportError) else ""
    return name if name.partition(".")[0] in COMFYUI_MODULES else ""
