"""What is kept from one run to the next, and what makes a node run again."""

import math
from typing import Any

import pytest
from fooocus_stages.serving.engine.results import Results
from fooocus_stages.serving.engine.runner import Runner

from ..fakes import CLASSES, Changing, Fake, node

Graph = dict[str, Any]


@pytest.fixture
def runner() -> Runner:
    return Runner(CLASSES)


def chain(a: int, b: int, c: int) -> Graph:
    """a + b, then + c."""
    return {
        "n": node("Num", value=a),
        "x": node("Add", a=["n", 0], b=b),
        "y": node("Add", a=["x", 0], b=c),
        "show": node("Show", value=["y", 0]),
    }


def values(results: Results) -> Any:
    return results.ui["show"]["values"]


def test_nothing_runs_twice_and_outputs_are_repeated(runner: Runner) -> None:
    first, second = runner.run(chain(1, 2, 3)), runner.run(chain(1, 2, 3))
    assert first.executed == ["n", "x", "y", "show"]
    assert (second.executed, second.cached) == ([], ["n", "x", "y", "show"])
    assert values(first) == values(second) == [6]


def test_a_late_change_keeps_early_results(runner: Runner) -> None:
    runner.run(chain(1, 2, 3))
    results = runner.run(chain(1, 2, 4))
    assert (results.cached, results.executed, values(results)) == (["n", "x"], ["y", "show"], [7])


def test_ids_do_not_matter(runner: Runner) -> None:
    runner.run(chain(1, 2, 3))
    renamed = {
        "a": node("Num", value=1),
        "b": node("Add", a=["a", 0], b=2),
        "c": node("Add", a=["b", 0], b=3),
        "d": node("Show", value=["c", 0]),
    }
    assert runner.run(renamed).executed == []


def test_which_output_is_linked_matters(runner: Runner) -> None:
    for slot, expected in ((0, "picture"), (1, "mask")):
        graph = {"p": node("Picture"), "show": node("Show", value=["p", slot])}
        assert values(runner.run(graph)) == [expected]


def test_only_the_latest_graph_is_kept(runner: Runner) -> None:
    runner.run(chain(1, 2, 3))
    runner.run({"show": node("Show", value="else")})
    assert runner.run(chain(1, 2, 3)).cached == []


def test_kinds_of_constants_are_distinguished(runner: Runner) -> None:
    for value in (1, True, 1.0, "1", None, {"a": [1]}):
        assert runner.run({"show": node("Show", value=value)}).executed == ["show"]


@pytest.mark.parametrize(
    ("states", "ran"),
    [
        ((0, 0), [True, False]),
        ((0, 1), [True, True]),
        ((True, True), [True, False]),
        ((math.nan, math.nan), [True, True]),
        ((b"x", b"x"), [True, False]),
        ((object(), object()), [True, True]),
        (("raise", "raise"), [True, True]),
    ],
    ids=["same", "new", "true is no change", "nan", "bytes", "no JSON", "raises"],
)
def test_is_changed(runner: Runner, states: tuple[Any, Any], ran: list[bool]) -> None:
    did = []
    for state in states:
        Changing.state = state
        did.append("c" in runner.run({"c": node("Changing", value=1), "show": node("Show", value=["c", 0])}).executed)
    assert did == ran


def test_what_follows_a_changed_node_runs_again(runner: Runner) -> None:
    Changing.state = math.nan
    graph = {"n": node("Num", value=1), "c": node("Changing", value=["n", 0]), "show": node("Show", value=["c", 0])}
    runner.run(graph)
    results = runner.run(graph)
    assert (results.cached, results.executed) == (["n"], ["c", "show"])


def test_nodes_with_an_identity_share_nothing_but_are_kept(runner: Runner) -> None:
    graph = {"a": node("Own", value=1), "b": node("Own", value=1)}
    graph["show"] = node("Show", value=["a", 0], also=["b", 0])
    assert set(runner.run(graph).executed) == {"a", "b", "show"}
    assert runner.run(graph).executed == []


def test_instances_are_kept_while_their_node_is_in_the_graph(runner: Runner) -> None:
    def count(value: int, node_id: str = "a") -> Any:
        return values(runner.run({node_id: node("Own", value=value), "show": node("Show", value=[node_id, 0])}))

    assert [count(1), count(2), count(3)] == [[1], [2], [3]]
    assert count(4, "b") == [1]
    assert count(5) == [1]


def test_parts_of_an_expansion_are_kept_with_their_node(runner: Runner) -> None:
    graph = {"out": node("Countdown", value=3), "show": node("Show", value=["out", 0])}
    runner.run(graph)
    assert runner.run(graph).executed == []
    Fake.calls.clear()
    assert values(runner.run({**graph, "out": node("Countdown", value=4)})) == [10]
    assert ("Countdown", 4) in Fake.calls


def test_lazy_inputs_are_served_from_the_cache(runner: Runner) -> None:
    def graph(first: bool) -> Graph:
        nodes = {"a": node("Num", value=1), "b": node("Num", value=2), "show": node("Show", value=["out", 0])}
        return {**nodes, "out": node("Choose", first=first, a=["a", 0], b=["b", 0])}

    assert [values(runner.run(graph(first))) for first in (True, False, True)] == [[1], [2], [1]]
    assert [call for call in Fake.calls if call[0] == "Num"] == [("Num", 1), ("Num", 2)]
