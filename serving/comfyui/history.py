"""Reads the history entry of a finished run on a ComfyUI server: its outputs, failure and executed nodes."""

from __future__ import annotations

from typing import Any

from ..engine.graph import ApiGraph, links_of
from ..engine.results import NodeError, NodeUserError, Results, RunError
from .protocol import JsonObject, mapping

OUR_ERRORS = ".pipelines.errors."


class RemoteTraceback(Exception):
    """The traceback of a node that failed on the server."""


def messages(entry: JsonObject, kind: str) -> list[JsonObject]:
    """Return the data of a run's messages of one kind, in order."""
    kept = mapping(entry.get("status")).get("messages") or []
    return [m[1] for m in kept if isinstance(m, list) and len(m) == 2 and m[0] == kind and isinstance(m[1], dict)]


def ui_outputs(entry: JsonObject, graph: ApiGraph) -> dict[str, dict[str, list[Any]]]:
    """Return the UI outputs in the order of the graph; nodes from expansions come last."""
    order = {node_id: number for number, node_id in enumerate(graph)}
    outputs = mapping(entry.get("outputs"))
    ids = sorted(outputs, key=lambda node_id: order.get(node_id, len(order)))
    return {i: {k: v if isinstance(v, list) else [v] for k, v in mapping(outputs[i]).items()} for i in ids}


def failure_in(entry: JsonObject, results: Results) -> RunError | None:
    """Return the failure of the run, or None. This pack's own errors are those that the user can fix."""
    if not (failures := messages(entry, "execution_error")):
        failed = mapping(entry.get("status")).get("status_str") == "error"
        return RunError("the run failed on the server without a reason; look into the server's log") if failed else None
    data = failures[-1]
    kind, text = str(data.get("exception_type", "")), str(data.get("exception_message", "")).strip()
    words = [text] if OUR_ERRORS in kind else [kind.rpartition(".")[2], text]
    sentence = ": ".join(filter(None, words)) or "the server gives no reason; look into its log"
    cls = NodeUserError if OUR_ERRORS in kind else NodeError
    failure = cls(str(data.get("node_id")), str(data.get("node_type")), sentence, results)
    failure.__cause__ = RemoteTraceback("\n" + "".join(map(str, data.get("traceback") or [])))
    return failure


def executed_nodes(entry: JsonObject, graph: ApiGraph, results: Results) -> list[str]:
    """Return the executed nodes of a run whose messages were missed: known ones, and uncached nodes behind targets."""
    queued = entry.get("prompt")
    targets = queued[4] if isinstance(queued, list) and len(queued) > 4 else None
    needed: set[str] = set()
    stack = [node_id for node_id in graph if not isinstance(targets, list) or node_id in targets]
    while stack:
        node_id = stack.pop()
        if node_id not in needed and node_id not in results.cached:
            needed.add(node_id)
            stack += [link.source for link in links_of(graph[node_id]) if link.source in graph]
    return list(dict.fromkeys([*results.executed, *(node_id for node_id in graph if node_id in needed)]))
