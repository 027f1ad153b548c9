"""What a run gives: order, lists, optional and hidden inputs, lazy inputs, blockers, expansion, async, failures."""

import subprocess
import sys
import time
from typing import Any

import pytest
from fooocus_stages.pipelines.errors import Interrupted
from fooocus_stages.serving.engine.results import Event, NodeError, NodeUserError, Results
from fooocus_stages.serving.engine.runner import Runner

from ..fakes import CLASSES, Changing, Fake, Later, node

Graph = dict[str, Any]


def run(graph: Graph, **options: Any) -> Results:
    return Runner(CLASSES).run(graph, **options)


def shown(graph: Graph, **options: Any) -> dict[str, list[Any]]:
    return {node_id: ui["values"] for node_id, ui in run(graph, **options).ui.items()}


def one(**nodes: Any) -> list[Any]:
    """What a Show at the node `out` shows."""
    return shown({**nodes, "show": node("Show", value=["out", 0])})["show"]


def test_values_go_from_node_to_node() -> None:
    assert one(a=node("Num", value="2"), b=node("Num", value=3.9), out=node("Add", a=["a", 0], b=["b", 0])) == [5]


def test_a_shared_source_runs_once() -> None:
    one(a=node("Num", value=2), out=node("Add", a=["a", 0], b=["a", 0]))
    assert Fake.calls.count(("Num", 2)) == 1


def test_equal_nodes_share_one_result() -> None:
    graph = {"a": node("Num", value=2), "b": node("Num", value=2), "out": node("Add", a=["a", 0], b=["b", 0])}
    results = run({**graph, "show": node("Show", value=["out", 0])})
    assert Fake.calls.count(("Num", 2)) == 1
    assert len(results.executed) == 3
    assert len(results.cached) == 1


@pytest.mark.parametrize(
    ("out", "expected"),
    [
        (node("Add", a=["range", 0], b=10), [10, 11, 12]),
        (node("Add", a=["range", 0], b=["two", 0]), [0, 2, 3]),
        (node("Sum", values=["range", 0], scale=2), [6]),
        (node("Range", count=["range", 0]), [0, 0, 1]),
    ],
    ids=["mapped", "last repeats", "whole list", "lists are joined"],
)
def test_lists(out: Graph, expected: list[Any]) -> None:
    assert one(range=node("Range", count=3), two=node("Range", count=2), out=out) == expected


def test_an_empty_list_beside_values_is_reported() -> None:
    with pytest.raises(NodeError, match="input 'a' received an empty list"):
        one(range=node("Range", count=0), out=node("Add", a=["range", 0], b=1))


def test_optional_inputs_are_not_passed_when_absent() -> None:
    values = one(out=node("Mixed", count="2", share="0.5", text=7, on=1, mode="slow", unknown=1))[0]
    assert values == {"count": 2, "share": 0.5, "text": "7", "on": True, "mode": "slow"}


def test_hidden_inputs() -> None:
    graph = {"out": node("Hidden"), "show": node("Show", value=["out", 0])}
    converted, extra, me, live = shown(graph, extra_pnginfo={"workflow": 1})["show"][0]
    assert (converted, extra, me, live) == (graph, {"workflow": 1}, "out", "Hidden")
    assert one(out=node("Hidden"))[0][1] is None


def test_prompt_is_the_graph_after_conversion_and_the_callers_graph_stays() -> None:
    graph = {"n": node("Num", value="5"), "h": node("Hidden"), "a": node("Show", value=["n", 0])}
    graph["show"] = node("Show", value=["h", 0])
    assert shown(graph)["show"][0][0]["n"]["inputs"] == {"value": 5}
    assert graph["n"]["inputs"] == {"value": "5"}


def test_undeclared_links_are_passed() -> None:
    assert one(n=node("Num", value=4), out=node("Variadic", x=["n", 0], y=1)) == [{"x": 4}]


def test_targets() -> None:
    graph = {"a": node("Num", value=1), "b": node("Num", value=2)}
    graph |= {"x": node("Show", value=["a", 0]), "y": node("Show", value=["b", 0])}
    assert shown(graph, targets=["y"]) == {"y": [2]}
    assert Fake.calls == [("Num", 2), ("Show", 2)]


def test_any_node_can_be_a_target_and_its_outputs_requested() -> None:
    graph = {"range": node("Range", count=3), "out": node("Add", a=["range", 0], b=1)}
    assert run(graph, targets=["out"], outputs=["out", "range"]).outputs == {"out": [[1, 2, 3]], "range": [[0, 1, 2]]}


@pytest.mark.parametrize(
    ("first", "chosen", "called"), [(True, 1, [("Num", 1)]), (False, 2, [("Num", 2)])], ids=["a", "b"]
)
def test_lazy_inputs(first: bool, chosen: int, called: list[Any]) -> None:
    nodes = {"a": node("Num", value=1), "b": node("Num", value=2)}
    assert one(**nodes, out=node("Choose", first=first, a=["a", 0], b=["b", 0])) == [chosen]
    assert Fake.calls == [*called, ("Show", chosen)]


def test_lazy_inputs_that_are_not_requested_are_none_unless_known() -> None:
    nodes = {"a": node("Num", value=1), "out": node("NeverAsks", first=True, a=["a", 0], b=["a", 0])}
    assert one(**nodes) == [None]


def test_lazy_inputs_of_slices_are_requested_together() -> None:
    nodes = {"a": node("Num", value=1), "b": node("Num", value=2), "r": node("Range", count=2)}
    assert one(**nodes, out=node("Choose", first=["r", 0], a=["a", 0], b=["b", 0])) == [2, 1]


@pytest.mark.parametrize("block", ["Block", "ForeignBlock"])
def test_blockers_stop_their_slices_only(block: str) -> None:
    nodes = {"r": node("Range", count=4), "b": node(block, value=["r", 0]), "out": node("Add", a=["b", 0], b=10)}
    assert one(**nodes) == [10, 12]


def test_a_blocker_with_a_message_is_reported_once() -> None:
    events: list[Event] = []
    graph = {"b": node("Block", value=1, message="odd"), "c": node("Add", a=["b", 0], b=1)}
    graph["show"] = node("Show", value=["c", 0])
    results = Runner(CLASSES, events.append).run(graph)
    assert results.blocked == {"c": "odd"}
    assert [e.detail for e in events if e.kind == "blocked"] == ["odd"]
    assert results.ui == {}


def test_a_blocker_blocks_a_node_that_takes_lists() -> None:
    nodes = {"r": node("Range", count=3), "b": node("Block", value=["r", 0])}
    graph = {**nodes, "s": node("Sum", values=["b", 0], scale=1), "show": node("Show", value=["s", 0])}
    assert shown(graph) == {}


def test_expansion_can_loop() -> None:
    assert one(out=node("Countdown", value=10)) == [55]
    assert Fake.calls.count(("Countdown", 0)) == 1


def test_expansion_in_slices() -> None:
    assert one(r=node("Range", count=4), out=node("Countdown", value=["r", 0])) == [0, 1, 3, 6]


def test_output_nodes_of_an_expansion_run() -> None:
    parts = {"p.n": node("Num", value=8), "p.show": node("Show", value=["p.n", 0])}
    graph = {
        "e": node("ExpandsTo", graph=parts, result={"__value__": [["p.n", 0]]}),
        "show": node("Show", value=["e", 0]),
    }
    assert shown(graph) == {"p.show": [8], "show": [8]}


@pytest.mark.parametrize(
    ("parts", "result", "message"),
    [
        (
            {"x": {"class_type": "Nix", "inputs": {}}},
            ["x", 0],
            "the expansion contains a node 'Nix', which does not exist",
        ),
        ({"x": node("Num", value=1)}, ["y", 0], "has a link to node 'y', which is not in the workflow"),
        ({"e": node("Num", value=1)}, ["e", 0], "adds a node 'e', which exists already"),
        ({"x": node("Add", a=["y", 0], b=1), "y": node("Add", a=["x", 0], b=1)}, ["x", 0], "x -> y|y -> x"),
        ({"x": node("Add", a=["e", 0], b=1)}, ["x", 0], "e -> x|x -> e"),
        (
            {"x": node("Fails", value=0)},
            ["x", 0],
            r"node e \(ExpandsTo\): in its part x \(Fails\): RuntimeError: broken",
        ),
    ],
    ids=["class", "link", "twice", "circle", "through itself", "fails"],
)
def test_a_bad_expansion_is_reported_at_its_node(parts: Graph, result: list[Any], message: str) -> None:
    with pytest.raises(NodeError, match=message) as caught:
        one(e=node("ExpandsTo", graph=parts, result={"__value__": [result]}), out=node("Add", a=["e", 0], b=0))
    assert caught.value.node_id == "e"


def test_async_nodes_wait_together() -> None:
    nodes = {f"n{i}": node("Later", value=i) for i in range(3)}
    graph = {**nodes, **{f"s{i}": node("Show", value=[f"n{i}", 0]) for i in range(3)}}
    assert shown(graph) == {"s0": [0], "s1": [1], "s2": [2]}
    assert Later.together == 3
    assert one(r=node("Range", count=3), out=node("Later", value=["r", 0])) == [0, 1, 2]


def test_an_async_node_that_fails_ends_the_run() -> None:
    with pytest.raises(NodeError, match=r"node out \(Later\): RuntimeError: thirteen"):
        one(out=node("Later", value=13), a=node("Later", value=1))


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (0, NodeError, "node out (Fails): RuntimeError: broken"),
        (1, NodeUserError, "node out (Fails): choose another value than 1"),
        (3, NodeError, "node out (Fails): TypeError: run() returned int, expected a tuple of 1"),
    ],
    ids=["bug", "user", "no tuple"],
)
def test_a_failure_names_its_node_and_keeps_its_cause(value: int, kind: type[NodeError], message: str) -> None:
    with pytest.raises(NodeError) as caught:
        one(out=node("Fails", value=value))
    assert (type(caught.value), str(caught.value)) == (kind, message)
    assert caught.value.__cause__ is not None
    assert (caught.value.node_id, caught.value.class_type) == ("out", "Fails")


def test_what_was_done_before_a_failure_is_kept() -> None:
    graph = {"n": node("Num", value=1), "s": node("Show", value=["n", 0]), "f": node("Fails", value=0), }  # fmt: skip
    graph["t"] = node("Show", value=["f", 0])
    runner = Runner(CLASSES)
    with pytest.raises(NodeError) as caught:
        runner.run(graph)
    assert caught.value.results.ui == {"s": {"values": [1]}}
    with pytest.raises(NodeError) as caught:
        runner.run(graph)
    assert caught.value.results.cached == ["n", "s"]


def test_interruption_comes_through() -> None:
    with pytest.raises(Interrupted):
        one(out=node("Fails", value=2))

    def stop(event: Event) -> None:
        if event.kind == "call" and event.class_type == "Add":
            raise Interrupted

    graph = {"n": node("Num", value=1), "a": node("Add", a=["n", 0], b=1), "s": node("Show", value=["a", 0])}
    with pytest.raises(Interrupted):
        Runner(CLASSES, stop).run(graph)
    assert Fake.calls == [("Num", 1)]


def test_events_tell_what_happens() -> None:
    events: list[Event] = []
    runner = Runner(CLASSES, events.append)
    graph = {"n": node("Num", value=1), "s": node("Show", value=["n", 0])}
    runner.run(graph)
    assert [(e.kind, e.node_id) for e in events] == [(k, n) for n in "ns" for k in ("start", "call", "done")]
    events.clear()
    runner.run(graph)
    assert [(e.kind, e.node_id) for e in events] == [("cached", "s")]


def test_a_long_chain_costs_little_per_node() -> None:
    graph = {"0": node("Num", value=0)}
    graph |= {str(i): node("Add", a=[str(i - 1), 0], b=1) for i in range(1, 2000)}
    graph["show"] = node("Show", value=["1999", 0])
    start = time.process_time()
    assert shown(graph)["show"] == [1999]
    assert (time.process_time() - start) / 2000 < 1e-3


def test_running_imports_no_torch() -> None:
    code = "import sys; from fooocus_stages.serving.engine import runner; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_nodes_run_in_inference_mode() -> None:
    torch = pytest.importorskip("torch")

    class Asks(Fake):
        def run(self) -> tuple[bool]:
            return (torch.is_inference_mode_enabled(),)

    graph = {"a": node("Asks"), "s": node("Show", value=["a", 0])}
    results = Runner({**CLASSES, "Asks": Asks}).run(graph)
    assert results.ui["s"]["values"] == [True]
    assert not torch.is_inference_mode_enabled()
    assert Changing.state == 0


def test_notices_are_in_the_results_of_their_run() -> None:
    runner = Runner({"Speak": Speak})
    Speak.say = runner.notice
    for number in (1, 2):
        results = runner.run({"1": {"class_type": "Speak", "inputs": {"text": f"say {number}"}}})
        assert results.notices == [f"say {number}"]


class Speak:
    RETURN_TYPES, FUNCTION, OUTPUT_NODE = (), "run", True
    say = print

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"text": ("STRING", {})}}

    def run(self, text: str) -> tuple[()]:
        type(self).say(text)
        return ()
