"""ComfyUI's V1 node classes, rendered from schemas: class attributes and `INPUT_TYPES`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import fields
from typing import Any, ClassVar

from . import sockets
from .comfy import current_host
from .schema import Boolean, Combo, Float, Input, Int, Schema, String, Widget, initial_choice

PACK_ALIAS = "fooocus"  # finds every node of the pack
SOCKETS_WITH_WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN")
ADOPTED = {sockets.ANY_MODEL, sockets.ANY_CLIP, sockets.ANY_VAE}
WIDGET_TYPES: dict[type[Widget], str] = {Int: "INT", Float: "FLOAT", String: "STRING", Boolean: "BOOLEAN"}


class Node:
    """A node that ComfyUI can register: the `schema` of the subclass becomes the attributes that the server reads."""

    schema: ClassVar[Schema]
    DESCRIPTION: ClassVar[str]
    CATEGORY: ClassVar[str]
    SEARCH_ALIASES: ClassVar[list[str]]
    FUNCTION: ClassVar[str] = "run"
    RETURN_TYPES: ClassVar[tuple[str, ...]]
    RETURN_NAMES: ClassVar[tuple[str, ...]]
    OUTPUT_TOOLTIPS: ClassVar[tuple[str, ...]]
    OUTPUT_IS_LIST: ClassVar[tuple[bool, ...]]
    OUTPUT_NODE: ClassVar[bool]
    run: Callable[..., Any]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "schema" not in vars(cls):
            return
        schema = cls.schema
        cls.DESCRIPTION = schema.description
        cls.CATEGORY = schema.category
        cls.SEARCH_ALIASES = [PACK_ALIAS, *schema.search_aliases]
        cls.RETURN_TYPES = tuple(output.type for output in schema.outputs)
        cls.RETURN_NAMES = tuple(output.name for output in schema.outputs)
        cls.OUTPUT_TOOLTIPS = tuple(output.tooltip for output in schema.outputs)
        cls.OUTPUT_IS_LIST = tuple(output.is_list for output in schema.outputs)
        cls.OUTPUT_NODE = schema.is_output_node
        if ADOPTED & {declared.type for declared in schema.inputs if isinstance(declared.type, str)}:
            cls.run = adopting(cls.run)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:
        """Declare the inputs as V1 expects them, with lists of files as they are now."""
        inputs = cls.schema.inputs
        groups: dict[str, dict[str, Any]] = {
            "required": {declared.name: rendered(declared) for declared in inputs if not declared.optional},
            "optional": {declared.name: rendered(declared) for declared in inputs if declared.optional},
            "hidden": {hidden.name: hidden.value for hidden in cls.schema.hidden},
        }
        return {group: members for group, members in groups.items() if members or group == "required"}


def adopting(run: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
    """Let a node's function take ComfyUI's own models in the place of ours, and return them."""

    @functools.wraps(run)
    def call(*args: Any, **inputs: Any) -> tuple[Any, ...]:
        host = current_host()
        results = run(*map(host.adopt, args), **{name: host.adopt(value) for name, value in inputs.items()})
        return tuple(map(host.hand_on, results))

    return call


def rendered(declared: Input) -> tuple[str | list[str], dict[str, Any]]:
    """Render one input as V1's pair of a type, or a list of choices, and options."""
    kind, options = _widget(declared.type)
    flags = {"lazy": declared.lazy, "advanced": declared.advanced}
    return kind, {**options, **{name: True for name, on in flags.items() if on}, "tooltip": declared.tooltip}


def _widget(widget: str | Widget) -> tuple[str | list[str], dict[str, Any]]:
    if isinstance(widget, str):
        return widget, {"forceInput": True} if widget in SOCKETS_WITH_WIDGETS else {}
    options = {field.name: getattr(widget, field.name) for field in fields(widget)}
    given = {name: value for name, value in options.items() if value is not None}
    if not isinstance(widget, Combo):
        return WIDGET_TYPES[type(widget)], given
    choices = widget.options()
    del given["choices"]
    if widget.default is not None:
        given["default"] = initial_choice(choices, widget.default)
    return choices, given
