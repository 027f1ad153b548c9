"""Graphs in API form: what a link is, the inputs a node has, and a graph that grows while it runs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

Node = Mapping[str, Any]
ApiGraph = Mapping[str, Node]


class Link(NamedTuple):
    """An input that takes what an output of another node gives."""

    name: str
    source: str
    slot: int


def is_link(value: Any) -> bool:
    """Whether a value is a link: ["node id", output number]."""
    if not isinstance(value, list) or len(value) != 2 or not isinstance(value[0], str):
        return False
    return type(value[1]) is int or (type(value[1]) is float and math.isfinite(value[1]))


def links_of(node: Node) -> Iterator[Link]:
    """The linked inputs of a node, in the order in which they are written."""
    for name, value in node.get("inputs", {}).items():
        if is_link(value):
            yield Link(name, value[0], int(value[1]))


class GrowingGraph:
    """A graph whose nodes may put further nodes in their place. Nodes see it as the hidden input DYNPROMPT."""

    def __init__(self, original: ApiGraph) -> None:
        self.original = original
        self._added: dict[str, Node] = {}
        self._parents: dict[str, str] = {}
        self._shown_at: dict[str, str] = {}

    def add(self, node_id: str, node: Node, parent: str) -> None:
        """Add a node that `parent` expands into; its `override_display_id` says where its output is shown."""
        if self.has_node(node_id):
            raise ValueError(f"the expansion adds a node {node_id!r}, which is there already; ids must be unique")
        self._added[node_id] = node
        self._parents[node_id] = parent
        self._shown_at[node_id] = node.get("override_display_id", parent)

    def get_node(self, node_id: str) -> Node:
        """The node of that id; a KeyError when there is none."""
        return self._added[node_id] if node_id in self._added else self.original[node_id]

    def has_node(self, node_id: str) -> bool:
        """Whether there is a node of that id, in the original or added."""
        return node_id in self._added or node_id in self.original

    def get_parent_node_id(self, node_id: str) -> str | None:
        """The node that expanded into this one; None for a node of the original."""
        return self._parents.get(node_id)

    def get_real_node_id(self, node_id: str) -> str:
        """The node of the original that this one comes from."""
        while node_id in self._parents:
            node_id = self._parents[node_id]
        return node_id

    def get_display_node_id(self, node_id: str) -> str:
        """The node at which the output of this one is shown."""
        while node_id in self._shown_at:
            node_id = self._shown_at[node_id]
        return node_id

    def get_original_prompt(self) -> ApiGraph:
        """The graph as it was before anything was added."""
        return self.original

    def all_node_ids(self) -> set[str]:
        """The ids of all nodes, added ones included."""
        return set(self.original) | set(self._added)
