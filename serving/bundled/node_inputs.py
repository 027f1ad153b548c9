"""Inputs of node classes as the page shows them: sockets and widgets, their order, and the height that they need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...pipelines.settings import DEFAULT_CHECKPOINT
from ..engine.graph import is_link

Declared = tuple[str, tuple[Any, dict[str, Any]]]
"""An input of a node class: its name, and its type and options."""
WIDGET_TYPES = ("INT", "FLOAT", "STRING", "BOOLEAN")
SEED_CONTROL, UPLOAD = "fixed", "image"
SHOWN_WHEN_LINKED = {"ckpt_name": DEFAULT_CHECKPOINT}  # instead of a default that depends on the installed files


def declared_inputs(node: Any) -> list[Declared]:
    """(name, (type, options)) of a node class, required before optional."""
    types = node.INPUT_TYPES()
    declared = {**types.get("required", {}), **types.get("optional", {})}
    return [(name, (kind, *options) if options else (kind, {})) for name, (kind, *options) in declared.items()]


def is_widget(declared: tuple[Any, dict[str, Any]]) -> bool:
    """True for an input that has a widget on the canvas."""
    kind, options = declared
    return (isinstance(kind, list) or kind in WIDGET_TYPES) and not options.get("forceInput")


def has_seed_control(name: str, declared: tuple[Any, dict[str, Any]]) -> bool:
    """True if the page adds a control-after-generate value after an input's own value."""
    return declared[0] == "INT" and (name in ("seed", "noise_seed") or bool(declared[1].get("control_after_generate")))


def drawn_order(node: Any) -> list[str]:
    """The names of a node's inputs from top to bottom: sockets, then widgets."""
    return in_drawn_order(declared_inputs(node))


def in_drawn_order(declared: Sequence[Declared]) -> list[str]:
    """The names of inputs from top to bottom."""
    return [name for name, _ in sorted(declared, key=lambda one: is_widget(one[1]))]


def height_for(declared: Sequence[Declared], outputs: int) -> int:
    """The height that shows these inputs and this number of outputs."""
    sockets = max(sum(not is_widget(d) for _, d in declared), outputs)
    height = 20 * sockets + 38
    for _, (_, options) in (d for d in declared if is_widget(d[1])):
        height += 28 + (244 if options.get("image_upload") else 154 if options.get("multiline") else 0)
    return height


def canvas_inputs(node: Any, declared: Sequence[Declared]) -> list[dict[str, Any]]:
    """Return the inputs of a node class in the canvas format from top to bottom, without their links."""
    by_name, optional = dict(declared), node.INPUT_TYPES().get("optional", {})
    return [_canvas_input(name, by_name[name], name in optional) for name in in_drawn_order(declared)]


def _canvas_input(name: str, declared: tuple[Any, dict[str, Any]], is_optional: bool) -> dict[str, Any]:
    kind = "COMBO" if isinstance(declared[0], list) else declared[0]
    socket: dict[str, Any] = {"name": name, "type": kind, "link": None}
    if is_optional:
        socket["shape"] = 7
    if is_widget(declared):
        socket["widget"] = {"name": name}
    return socket


def widget_values(inputs: Sequence[Declared], given: Mapping[str, Any]) -> list[Any]:
    """Return the values of the widgets in the page's order; linked and unset inputs have their defaults."""
    values: list[Any] = []
    for name, declared in inputs:
        if not is_widget(declared):
            continue
        is_set = name in given and not is_link(given[name])
        values.append(given[name] if is_set else SHOWN_WHEN_LINKED.get(name) or declared[1]["default"])
        if has_seed_control(name, declared):
            values.append(SEED_CONTROL)
    if any(declared[1].get("image_upload") for _, declared in inputs):
        values.append(UPLOAD)  # the page's upload button comes after all other widgets
    return values
