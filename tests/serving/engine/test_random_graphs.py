"""Random graphs, run and evaluated by plain recursion."""

from typing import Any

from fooocus_stages.serving.engine.runner import Runner
from hypothesis import given, settings
from hypothesis import strategies as st

from ..fakes import CLASSES, node

Graph = dict[str, Any]
KINDS = {"Num": 0, "Range": 0, "Add": 2, "Sum": 1, "Choose": 3, "Later": 1, "Countdown": 1}


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    graph: Graph = {}
    for i in range(draw(st.integers(1, 12))):
        kind = draw(st.sampled_from(sorted(KINDS) if i else ["Num", "Range"]))
        sources = [[str(draw(st.integers(0, i - 1))), 0] for _ in range(KINDS[kind])]
        small = draw(st.integers(1, 3))
        graph[str(i)] = {
            "Num": lambda s, n: node("Num", value=n),
            "Range": lambda s, n: node("Range", count=n),
            "Add": lambda s, n: node("Add", a=s[0], b=draw(st.sampled_from([s[1], n]))),
            "Sum": lambda s, n: node("Sum", values=s[0], scale=n),
            "Choose": lambda s, n: node("Choose", first=draw(st.sampled_from([s[0], n % 2])), a=s[1], b=s[2]),
            "Later": lambda s, n: node("Later", value=s[0]),
            "Countdown": lambda s, n: node("Countdown", value=s[0]),
        }[kind](sources, small)
    for i in draw(st.sets(st.integers(0, len(graph) - 1), min_size=1, max_size=3)):
        graph[f"show{i}"] = node("Show", value=[str(i), 0])
    return dict(draw(st.permutations(list(graph.items()))))


def evaluate(graph: Graph, node_id: str) -> list[Any]:
    """What a node gives, by recursion, one list of values."""
    inputs = graph[node_id]["inputs"]
    values = {k: evaluate(graph, v[0]) if isinstance(v, list) else [v] for k, v in inputs.items()}
    if graph[node_id]["class_type"] == "Sum":
        return [sum(values["values"]) * values["scale"][0]]
    given = []
    for i in range(max(map(len, values.values()))):
        x = {k: v[min(i, len(v) - 1)] for k, v in values.items()}
        match graph[node_id]["class_type"]:
            case "Num" | "Later" | "Show":
                given.append(x["value"])
            case "Range":
                given += range(x["count"])
            case "Add":
                given.append(x["a"] + x["b"])
            case "Choose":
                given.append(x["a"] if x["first"] else x["b"])
            case "Countdown":
                given.append(sum(range(1, x["value"] + 1)))
    return given


def out_of_scope(graph: Graph) -> bool:
    """Whether a value is too large to count down from, or a lazy input is a list.

    How often a node is called then depends on which of its lazy inputs happen to be known.
    """
    lazy = [one["inputs"][name] for one in graph.values() if one["class_type"] == "Choose" for name in "ab"]
    if any(len(evaluate(graph, link[0])) != 1 for link in lazy):
        return True
    return max(v for node_id in graph for v in evaluate(graph, node_id)) > 12


@settings(max_examples=60, deadline=None)
@given(graph=graphs(), later=st.integers(1, 3))
def test_a_run_gives_what_recursion_gives(graph: Graph, later: int) -> None:
    if out_of_scope(graph):
        return
    runner = Runner(CLASSES)
    for number in (None, later):  # the second time with a changed constant and what is left in the cache
        for one in graph.values():
            if number and one["class_type"] == "Num":
                one["inputs"]["value"] = number
        if out_of_scope(graph):
            return
        results = runner.run(graph)
        shown = {node_id: ui["values"] for node_id, ui in results.ui.items()}
        assert shown == {n: evaluate(graph, n) for n in graph if n.startswith("show")}
    assert runner.run(graph).executed == []
