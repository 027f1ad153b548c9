"""Events, results and errors of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from ...pipelines.errors import UserError

EventKind = Literal["cached", "start", "call", "done", "blocked"]


@dataclass(frozen=True)
class Event:
    """An event of a node: found in the cache, started, about to be called, done or blocked.

    `shown_at`: the node of the workflow at which a node from an expansion is shown. `detail`: the number of the call,
    the UI output of a node that is done, or the reason for a block.
    """

    kind: EventKind
    node_id: str
    class_type: str
    shown_at: str
    detail: Any = None


@dataclass
class Results:
    """The results of a run.

    UI outputs by node; the requested output values; the nodes that were executed and found in the cache; the reason for
    each block; and the notices, which whoever serves the run must pass on to the user.
    """

    ui: dict[str, dict[str, list[Any]]] = field(default_factory=dict)
    outputs: dict[str, list[list[Any]]] = field(default_factory=dict)
    executed: list[str] = field(default_factory=list)
    cached: list[str] = field(default_factory=list)
    blocked: dict[str, str] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)


class RunError(Exception):
    """A run that failed without the user's doing; the message is one sentence."""


class NodeError(RunError):
    """A node that failed. `__cause__` is its exception, `results` what the nodes before it returned."""

    def __init__(self, node_id: str, class_type: str, sentence: str, results: Results) -> None:
        super().__init__(f"node {node_id} ({class_type}): {sentence}")
        self.node_id = node_id
        self.class_type = class_type
        self.results = results


class NodeUserError(NodeError, UserError):
    """A node that failed for a reason that the user can fix."""


class CircularExpansion(Exception):
    """An expansion whose nodes depend on one another in a cycle."""
