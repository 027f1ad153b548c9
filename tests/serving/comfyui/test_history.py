"""What the history of a ComfyUI tells of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fooocus_stages.serving.comfyui.history import executed_nodes, failure_in, messages, ui_outputs
from fooocus_stages.serving.engine.results import NodeError, NodeUserError, Results, RunError

GRAPH: dict[str, Any] = {
    "1": {"class_type": "Load", "inputs": {}},
    "2": {"class_type": "Turn", "inputs": {"image": ["1", 0]}},
    "3": {"class_type": "Save", "inputs": {"images": ["2", 0]}},
    "4": {"class_type": "Load", "inputs": {}},
}


def test_the_history_is_read_in_the_order_of_the_graph() -> None:
    entry = {
        "outputs": {"9.1": {"text": "x"}, "2": {"images": [1]}, "1": {"a": [2]}},
        "status": {"messages": [["k", {}]]},
    }
    assert list(ui_outputs(entry, GRAPH).items()) == [
        ("1", {"a": [2]}),
        ("2", {"images": [1]}),
        ("9.1", {"text": ["x"]}),
    ]
    assert (messages(entry, "k"), messages(entry, "l"), messages({"status": None}, "k")) == ([{}], [], [])


@pytest.mark.parametrize(
    ("targets", "executed", "cached", "expected"),
    [
        (["3"], [], [], ["1", "2", "3"]),
        (["3"], ["1"], [], ["1", "2", "3"]),
        (["3"], ["3.0.1"], ["2"], ["3.0.1", "3"]),
        (["3"], [], ["3"], []),
        (None, [], [], ["1", "2", "3", "4"]),
        (["5"], [], [], []),
    ],
)
def test_what_must_have_run(targets: Any, executed: list[str], cached: list[str], expected: list[str]) -> None:
    entry = {"prompt": [0, "id", GRAPH, {}, targets]}
    assert executed_nodes(entry, GRAPH, Results(executed=executed, cached=cached)) == expected


Matches = Callable[[str, str], bool]


def failed(**told: str) -> dict[str, Any]:
    return {"messages": [["execution_error", {"node_id": "1", "node_type": "Load", **told}]]}


@pytest.mark.parametrize(
    ("status", "kind", "sentence"),
    [
        ({"status_str": "error"}, RunError, "the run failed on the server<…>log"),
        (failed(), NodeError, "node 1 (Load): <…>no reason<…>log"),
        (failed(exception_type="a.b.C"), NodeError, "node 1 (Load): C"),
        (failed(exception_type="KeyError", exception_message="'x'\n"), NodeError, "node 1 (Load): KeyError: 'x'"),
        (
            failed(exception_type="x.pipelines.errors.BadValue", exception_message="too large\n"),
            NodeUserError,
            "node 1 (Load): too large",
        ),
    ],
)
def test_failures(status: dict[str, Any], kind: type[RunError], sentence: str, matches: Matches) -> None:
    failure = failure_in({"status": status}, Results())
    assert type(failure) is kind
    assert matches(str(failure), sentence)


@pytest.mark.parametrize("entry", [{}, {"status": None}, {"status": {"status_str": "success", "messages": []}}])
def test_no_failure(entry: dict[str, Any]) -> None:
    assert failure_in(entry, Results()) is None
