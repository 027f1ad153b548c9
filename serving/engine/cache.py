"""Caches the results of nodes by signature, and their instances, between runs."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .calls import TaskLoop, call_and_wait, is_blocker
from .declarations import Declaration, Registry, constants_of
from .graph import GrowingGraph, Node, links_of

Signature = bytes | None
log = logging.getLogger("fooocus_stages")


@dataclass(frozen=True)
class Entry:
    """The outputs of a node, each a list of values, and its UI output."""

    outputs: list[list[Any]]
    ui: dict[str, list[Any]]


class Signatures:
    """Digests of everything that a node's result depends on: class, constants, IS_CHANGED and its sources' signatures.

    Node ids are left out, so equal sub-graphs share results. The signature None equals no other. Each node is hashed
    once, from the digests of its sources, so the cost per node does not grow with the length of a chain.
    """

    def __init__(self, graph: GrowingGraph, registry: Registry, loop: TaskLoop) -> None:
        self._graph = graph
        self._registry = registry
        self._loop = loop
        self._known: dict[str, Signature] = {}

    def of(self, node_id: str) -> Signature:
        """Return the signature of a node; None for a node in a cycle or behind a missing one."""
        stack, entered = [node_id], set[str]()
        while stack:
            here = stack[-1]
            if here in self._known:
                stack.pop()
            elif not self._graph.has_node(here):
                self._known[here] = None
            else:
                unknown = [link.source for link in links_of(self._graph.get_node(here))]
                unknown = [source for source in unknown if source not in self._known and source not in entered]
                if unknown and here not in entered:
                    stack += unknown
                else:
                    self._known[here] = self._digest(here)
                entered.add(here)
        return self._known[node_id]

    def _digest(self, node_id: str) -> Signature:
        node = self._graph.get_node(node_id)
        if node["class_type"] not in self._registry:
            return None
        declared = self._registry[node["class_type"]]
        inputs: list[Any] = []
        sources = {link.name: link for link in links_of(node)}
        for name, value in sorted(node.get("inputs", {}).items()):
            link = sources.get(name)
            if link is None:
                inputs.append([name, value])
                continue
            source = self._known.get(link.source)
            if source is None:
                return None
            inputs.append([name, link.slot, source])
        identity = node_id if declared.keeps_identity else None
        try:
            parts = [declared.name, identity, self._changed(node_id, node, declared), inputs]
            text = json.dumps(parts, sort_keys=True, allow_nan=False, default=_bytes)
        except Exception as error:
            log.debug("node %s (%s) is not cached: %s", node_id, declared.name, error)
            return None
        return hashlib.blake2b(text.encode(), digest_size=20).digest()

    def _changed(self, node_id: str, node: Node, declared: Declaration) -> Any:
        function = getattr(declared.cls, "IS_CHANGED", None)
        if function is None:
            return False
        inputs = constants_of(node, node_id, declared)
        values = call_and_wait(function, inputs, declared.takes_lists, self._loop)
        return [None if is_blocker(value) else value for value in values]


def _bytes(value: Any) -> str:
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"a {type(value).__name__} has no signature")


@dataclass
class Cache:
    """Results and instances kept from one run to the next, as long as the latest graph contains their nodes."""

    _entries: dict[bytes, Entry] = field(default_factory=dict)
    _instances: dict[tuple[str, str], Any] = field(default_factory=dict)
    _parts: dict[tuple[str, str], dict[tuple[str, str], Signature]] = field(default_factory=dict)

    def keep(self, nodes: Mapping[tuple[str, str], Signature]) -> None:
        """Drop everything except what belongs to these nodes, by (id, class), and to what they expanded into."""
        alive = dict(nodes)
        queue = list(nodes)
        while queue:
            parts = self._parts.get(queue.pop(), {})
            queue += [part for part in parts if part not in alive]
            alive |= {part: key for part, key in parts.items() if part not in alive}
        keys = set(alive.values())
        self._entries = {key: entry for key, entry in self._entries.items() if key in keys}
        self._instances = {node: held for node, held in self._instances.items() if node in alive}
        self._parts = {node: parts for node, parts in self._parts.items() if node in alive}

    def get(self, key: Signature) -> Entry | None:
        """Return the result for a signature; None without one."""
        return self._entries.get(key) if key is not None else None

    def put(self, key: Signature, entry: Entry) -> None:
        """Store a result unless its signature is None."""
        if key is not None:
            self._entries[key] = entry

    def instance(self, node_id: str, declared: Declaration) -> Any:
        """Return the node's instance, created on first use."""
        node = (node_id, declared.name)
        if node not in self._instances:
            self._instances[node] = declared.cls()
        return self._instances[node]

    def expanded(self, parent: tuple[str, str], parts: Iterable[tuple[tuple[str, str], Signature]]) -> None:
        """Record the nodes that a node expanded into, replacing those of its previous expansion."""
        self._parts[parent] = dict(parts)
