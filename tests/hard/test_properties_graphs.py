"""What holds of every graph: a second run does only what a change asks for, and gives what a fresh runner gives."""

from __future__ import annotations

import copy
from typing import Any

from fooocus_stages.pipelines.errors import UserError
from fooocus_stages.serving.engine.results import NodeError
from fooocus_stages.serving.engine.runner import Runner
from hypothesis import given, settings
from hypothesis import strategies as st

Graph = dict[str, Any]


class Node:
    """A node of numbers with one output; its class tells how it is called."""

    FUNCTION = "run"
    RETURN_TYPES: tuple[str, ...] = ("INT",)
    spec: dict[str, Any] = {}

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return cls.spec


class Number(Node):
    spec = {"required": {"value": ("INT", {})}}

    def run(self, value: int) -> tuple[int]:
        return (value,)


class Add(Node):
    spec = {"required": {"a": ("INT", {}), "b": ("INT", {})}}

    def run(self, a: int, b: int) -> tuple[int]:
        return (a + b,)


class Count(Node):
    """0 … |value| mod 4, as a list."""

    spec = {"required": {"value": ("INT", {})}}
    OUTPUT_IS_LIST = (True,)

    def run(self, value: int) -> tuple[list[int]]:
        return (list(range(abs(value) % 4 + 1)),)


class Total(Node):
    spec = {"required": {"values": ("INT", {})}}
    INPUT_IS_LIST = True

    def run(self, values: list[int]) -> tuple[int]:
        return (sum(values),)


class Either(Node):
    """a when `first` is even, else b; the other is not asked for."""

    spec = {"required": {"first": ("INT", {}), "a": ("INT", {"lazy": True}), "b": ("INT", {"lazy": True})}}

    def check_lazy_status(self, first: int, a: int | None = None, b: int | None = None) -> list[str]:
        return [name for name, value in (("b", b) if first % 2 else ("a", a),) if value is None]

    def run(self, first: int, a: int | None = None, b: int | None = None) -> tuple[int | None]:
        return (b if first % 2 else a,)


class Halve(Node):
    """Refuses odd numbers."""

    spec = {"required": {"value": ("INT", {})}}

    def run(self, value: int) -> tuple[int]:
        if value % 2:
            raise UserError(f"{value} is odd")
        return (value // 2,)


class Out(Node):
    spec = {"required": {"value": ("INT", {})}}
    RETURN_TYPES = ()
    OUTPUT_NODE = True

    def run(self, value: int) -> dict[str, Any]:
        return {"ui": {"value": [value]}}


CLASSES = {cls.__name__: cls for cls in (Number, Add, Count, Total, Either, Halve, Out)}
LINKED = {"Add": "ab", "Count": ["value"], "Total": ["values"], "Either": ["first", "a", "b"], "Halve": ["value"]}


@st.composite
def graphs(draw: st.DrawFn, kinds: tuple[str, ...]) -> Graph:
    """Numbers first, then nodes that take from any before them, and up to three that show."""
    numbers = draw(st.integers(1, 3))
    graph: Graph = {
        str(i): {"class_type": "Number", "inputs": {"value": draw(st.integers(-5, 5))}} for i in range(numbers)
    }
    for i in range(numbers, numbers + draw(st.integers(1, 9))):
        kind = draw(st.sampled_from(kinds))
        links = {name: [str(draw(st.integers(0, i - 1))), 0] for name in LINKED[kind]}
        graph[str(i)] = {"class_type": kind, "inputs": links}
    for i in draw(st.sets(st.integers(0, len(graph) - 1), min_size=1, max_size=3)):
        graph[f"out {i}"] = {"class_type": "Out", "inputs": {"value": [str(i), 0]}}
    return dict(draw(st.permutations(list(graph.items()))))


def below(graph: Graph, node_id: str) -> set[str]:
    """A node and all that take from it."""
    found = {node_id}
    while more := {i for i, node in graph.items() if found & sources(node)} - found:
        found |= more
    return found


def sources(node: Graph) -> set[str]:
    """The nodes that a node takes from."""
    return {value[0] for value in node["inputs"].values() if isinstance(value, list)}


def shown(runner: Runner, graph: Graph) -> Any:
    """What the graph shows, or the sentence with which it fails."""
    try:
        return {node_id: ui["value"] for node_id, ui in runner.run(graph).ui.items()}
    except NodeError as error:
        return str(error.__cause__)


EVERY = ("Add", "Count", "Total", "Either")


@settings(max_examples=80)
@given(graphs(EVERY), st.data())
def test_a_change_runs_what_hangs_on_it_and_nothing_else(graph: Graph, data: st.DataObject) -> None:
    runner = Runner(CLASSES)
    shown(runner, graph)
    before = copy.deepcopy(graph)
    changed = data.draw(st.sampled_from([i for i, n in graph.items() if n["class_type"] == "Number"]))
    graph[changed]["inputs"]["value"] += 100
    given = copy.deepcopy(graph)
    again = shown(runner, graph)
    assert graph == given
    assert again == shown(Runner(CLASSES), graph)
    if all(node["class_type"] != "Either" for node in graph.values()):  # a choice may ask for what never ran before
        runner = Runner(CLASSES)
        runner.run(before)
        assert set(runner.run(graph).executed) <= below(graph, changed)
    assert runner.run(graph).executed == []


@settings(max_examples=80)
@given(graphs((*EVERY, "Halve")), st.lists(st.integers(-4, 4), min_size=1, max_size=4))
def test_a_failed_run_spoils_no_later_one(graph: Graph, values: list[int]) -> None:
    runner = Runner(CLASSES)
    for value in values:
        for node in graph.values():
            if node["class_type"] == "Number":
                node["inputs"]["value"] = value
        worn, fresh = shown(runner, graph), shown(Runner(CLASSES), graph)
        assert type(worn) is type(fresh)
        assert worn == fresh or isinstance(worn, str)  # which of two odd numbers is met first may differ
