"""Sets inputs of a graph from the command line: NODE.input=value, and every input of one name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ...pipelines.errors import BadGraph, BadValue, UnknownName, did_you_mean
from ...pipelines.names import same
from .declarations import Input, Registry
from .graph import is_link

Graph = dict[str, dict[str, Any]]


def set_input(graph: Graph, registry: Registry, setting: str) -> None:
    """Set one input from 'NODE.input=value', where NODE is an id, a title, or a class that only one node has.

    Raises BadValue, UnknownName, and BadGraph for a name that several nodes have.
    """
    place, equals, text = setting.partition("=")
    node_name, dot, name = place.strip().rpartition(".")
    if not equals or not dot or not node_name or not name:
        raise BadValue(f"{setting!r} sets nothing; write NODE.input=value, for example FooocusPrompt.seed=7")
    node_id = find_node(graph, node_name)
    node = graph[node_id]
    if node.get("class_type") not in registry:
        return  # validation refuses the whole workflow
    declared = registry[node["class_type"]].inputs
    info = declared.get(name)
    if info is None or info.group == "hidden":
        names = [n for n, i in declared.items() if i.group != "hidden"]
        raise UnknownName("input", name, names, f"node {node_id} ({node['class_type']}) has: {', '.join(names)}")
    node.setdefault("inputs", {})[name] = read_value(text, info)


def find_node(graph: Mapping[str, Mapping[str, Any]], name: str) -> str:
    """Return the id of the node with this id, title or class. Raises UnknownName and BadGraph."""
    if name in graph:
        return name
    candidates = {
        "titled": [i for i, node in graph.items() if same(title_of(node), name)],
        "of class": [i for i, node in graph.items() if node.get("class_type") == name],
    }
    for how, found in candidates.items():
        if len(found) == 1:
            return found[0]
        if found:
            raise BadGraph(f"{len(found)} nodes are {how} {name!r}: {', '.join(found)}; name one by its id")
    known = [*graph, *(title_of(n) for n in graph.values()), *(str(n.get("class_type")) for n in graph.values())]
    ids = ", ".join(f"{i} ({node.get('class_type')})" for i, node in graph.items())
    raise UnknownName("node", name, filter(None, dict.fromkeys(known)), f"the workflow has: {ids}")


def title_of(node: Mapping[str, Any]) -> str:
    """Return the title of the node on the canvas; '' without one."""
    meta = node.get("_meta")
    return str(meta.get("title", "")) if isinstance(meta, Mapping) else ""


def read_value(text: str, info: Input) -> Any:
    """Read a value for an input: the text itself for a string or a choice, else its value as JSON.

    Raises BadValue for a boolean that is neither true nor false.
    """
    if info.type == "STRING":
        text = typed_text(text)
    if info.type == "BOOLEAN" and text.casefold() in ("true", "false"):
        return text.casefold() == "true"
    wants_text = info.type == "STRING" or text in (info.choices or ())
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        if info.type == "BOOLEAN":
            raise BadValue(f"input {info.name!r} must be true or false, not {text!r}") from None
        return text
    if is_link(value):
        return value
    if wants_text and not isinstance(value, str):
        return text
    return {"__value__": value} if isinstance(value, list) else value


def set_everywhere(graph: Graph, name: str, value: Any) -> None:
    """Set every input of that name that is not linked. Raises BadGraph if there is none."""
    free = [node for node in graph.values() if name in node.get("inputs", {}) and not is_link(node["inputs"][name])]
    for node in free:
        node["inputs"][name] = value
    if not free:
        near = did_you_mean(name, {n for node in graph.values() for n in node.get("inputs", {})})
        raise BadGraph(f"no node of the workflow has an input {name!r} to set{near}; use --set NODE.input=value")


def typed_text(text: str) -> str:
    """Return a text of the command line, decoded again as UTF-8 where the locale (such as C) could not decode it."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    except UnicodeEncodeError:
        return text
