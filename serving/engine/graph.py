"""Graphs in API form: links, and a graph that grows by expansion while it runs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

Node = Mapping[str, Any]
ApiGraph = Mapping[str, Node]


class Link(NamedTuple):
    """An input that is linked to an output of another node."""

    name: str
    source: str
    slot: int


def is_link(value: Any) -> bool:
    """Return whether a value is a link: ["node id", output number]."""
    if not isinstance(value, list) or len(value) != 2 or not isinstance(value[0], str):
        return False
    return type(value[1]) is int or (type(value[1]) is float and math.isfinite(value[1]))


def links_of(node: Node) -> Iterator[Link]:
    """Yield the linked inputs of a node in their written order."""
    for name, value in node.get("inputs", {}).items():
        if is_link(value):
            yield Link(name, value[0], int(value[1]))


class GrowingGraph:
    """A graph whose nodes can expand into further nodes. Nodes receive it as the hidden input DYNPROMPT."""

    def __init__(self, original: ApiGraph) -> None:
        self.original = original
        self._added: dict[str, Node] = {}
        self._parents: dict[str, str] = {}
        self._shown_at: dict[str, str] = {}

    def add(self, node_id: str, node: Node, parent: str) -> None:
        """Add a node that `parent` expands into. Its output is shown at its `override_display_id`, else at `parent`."""
        if self.has_node(node_id):
            raise ValueError(f"the expansion adds a node {node_id!r}, which exists already; ids must be unique")
        self._added[node_id] = node
        self._parents[node_id] = parent
        self._shown_at[node_id] = node.get("override_display_id", parent)

    def get_node(self, node_id: str) -> Node:
        """Return the node with that id. Raises KeyError."""
        return self._added[node_id] if node_id in self._added else self.original[node_id]

    def has_node(self, node_id: str) -> bool:
        """Return whether a node with that id is in the original graph or was added."""
        return node_id in self._added or node_id in self.original

    def get_parent_node_id(self, node_id: str) -> str | None:
        """Return the node that expanded into this one; None for a node of the original graph."""
        return self._parents.get(node_id)

    def get_real_node_id(self, node_id: str) -> str:
        """Return the node of the original graph that this one was expanded from."""
        while node_id in self._parents:
            node_id = self._parents[node_id]
        return node_id

    def get_display_node_id(self, node_id: str) -> str:
        """Return the node at which the output of this one is shown."""
        while node_id in self._shown_at:
            node_id = self._shown_at[node_id]
        return node_id

    def get_original_prompt(self) -> ApiGraph:
        """Return the graph without the added nodes."""
        return self.original

    def all_node_ids(self) -> set[str]:
        """Return the ids of all nodes, including added ones."""
        return set(self.original) | set(self._added)
