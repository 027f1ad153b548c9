"""What a run tells while it goes, what it gives, and how a node fails."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from ...pipelines.errors import UserError

EventKind = Literal["cached", "start", "call", "done", "blocked"]


@dataclass(frozen=True)
class Event:
    """What happens to a node: found in the cache, begun, about to be called, done (with its UI output), blocked.

    `shown_at`: the node of the workflow that a node from an expansion is shown at. `detail`: the number of the call,
    the UI output, or why it is blocked.
    """

    kind: EventKind
    node_id: str
    class_type: str
    shown_at: str
    detail: Any = None


@dataclass
class Results:
    """What a run gave: UI outputs by node, the outputs asked for, which nodes ran and which were found in the cache."""

    ui: dict[str, dict[str, list[Any]]] = field(default_factory=dict)
    outputs: dict[str, list[list[Any]]] = field(default_factory=dict)
    executed: list[str] = field(default_factory=list)
    cached: list[str] = field(default_factory=list)
    blocked: dict[str, str] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)


class RunError(Exception):
    """A run that failed, through no wish of the user; the message is one sentence."""


class NodeError(RunError):
    """A node that failed; `__cause__` is why, `results` what the nodes before it gave."""

    def __init__(self, node_id: str, class_type: str, sentence: str, results: Results) -> None:
        super().__init__(f"node {node_id} ({class_type}): {sentence}")
        self.node_id = node_id
        self.class_type = class_type
        self.results = results


class NodeUserError(NodeError, UserError):
    """A node that failed for something that the user can mend."""


class CircularExpansion(Exception):
    """Nodes that an expansion has made wait for one another."""
