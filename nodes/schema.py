"""Declarations of nodes as plain data, independent of the version of ComfyUI's node API; `v1` renders them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..pipelines.names import base, same

Choices = Sequence[str] | Callable[[], Sequence[str]]


@dataclass(frozen=True)
class Int:
    """A widget for a whole number from `min` to `max`."""

    default: int
    min: int
    max: int
    step: int | None = None
    control_after_generate: bool | None = None


@dataclass(frozen=True)
class Float:
    """A widget for a number from `min` to `max`; `round` is the precision that the page keeps."""

    default: float
    min: float
    max: float
    step: float | None = None
    round: float | None = None


@dataclass(frozen=True)
class String:
    """A widget for text. ComfyUI's own dynamic prompts stay off, because their braces belong to our syntax."""

    default: str = ""
    multiline: bool | None = None
    placeholder: str | None = None


@dataclass(frozen=True)
class Boolean:
    """A switch."""

    default: bool = False


@dataclass(frozen=True)
class Combo:
    """A widget for one of several choices. A function in place of the choices is called each time they are shown.

    `default` may be missing from a list of files: see `initial_choice`.
    """

    choices: Choices
    default: str | None = None
    image_upload: bool | None = None

    def options(self) -> list[str]:
        """The choices at this moment."""
        return list(self.choices() if callable(self.choices) else self.choices)


Widget = Int | Float | String | Boolean | Combo


@dataclass(frozen=True)
class Input:
    """An input of a node: its id, its widget or the name of its socket type, and a tooltip.

    `lazy`: computed only if the node asks for it. `advanced`: few people change it, so ComfyUI may fold it away.
    """

    name: str
    type: str | Widget
    tooltip: str
    optional: bool = False
    lazy: bool = False
    advanced: bool = False


@dataclass(frozen=True)
class Output:
    """An output of a node. With `is_list`, each call returns a list, whose values later nodes take one by one."""

    name: str
    type: str
    tooltip: str
    is_list: bool = False


@dataclass(frozen=True)
class Hidden:
    """An argument that ComfyUI supplies: `value` is PROMPT, EXTRA_PNGINFO, UNIQUE_ID or DYNPROMPT."""

    name: str
    value: str


@dataclass(frozen=True)
class Schema:
    """A node: what it is called and where it is found in the menu, its inputs, required ones first, and its outputs."""

    display_name: str
    category: str
    description: str
    search_aliases: tuple[str, ...]
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...] = ()
    hidden: tuple[Hidden, ...] = ()
    is_output_node: bool = False


def initial_choice(choices: Sequence[str], default: str) -> str:
    """Return `default` if it can be chosen, else that file in a sub-folder, else the first choice."""
    if default in choices:
        return default
    return next((choice for choice in choices if same(base(choice), default)), choices[0])
