"""Every way in which a workflow can be wrong, and the sentence that says so."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from fooocus_stages.pipelines.errors import BadGraph
from fooocus_stages.serving.engine.declarations import Registry
from fooocus_stages.serving.engine.validate import Checked, InvalidGraph, types_match, validate

from ..fakes import ANY, CLASSES, node

Graph = dict[str, Any]
MIXED = {"count": 1, "share": 0.5, "text": "a", "on": True, "mode": "fast"}
Matches = Callable[[str, str], bool]
NO_LINK = '<…>link<…>["node id", output number]<…>{"__value__": […]}'


def check(graph: Any, targets: Any = None) -> Checked:
    return validate(graph, Registry(CLASSES), targets)


def show(**nodes: Any) -> Graph:
    return {**nodes, "show": node("Show", value=["x", 0])}


def mixed(**inputs: Any) -> Graph:
    nodes = {"n": node("Num", value=1), "p": node("Picture"), "end": node("Show", value=1)}
    return show(x=node("Mixed", **{**MIXED, **inputs}), **nodes)


WRONG_INPUTS = [
    ("count", "many", "= 'many' is not a whole number; give a whole number from 1 to 9"),
    ("count", None, "= None is not a whole number; give a whole number from 1 to 9"),
    ("count", float("inf"), "= inf is not a whole number; give a whole number from 1 to 9"),
    ("count", 0, "= 0 is below its minimum 1; give a whole number from 1 to 9"),
    ("count", "10", "= 10 is above its maximum 9; give a whole number from 1 to 9"),
    ("share", "x", "= 'x' is not a number; give a number of at least 0.0"),
    ("share", -1, "= -1.0 is below its minimum 0.0; give a number of at least 0.0"),
    ("share", "nan", "= nan is below its minimum 0.0; give a number of at least 0.0"),
    ("mode", "fsat", "= 'fsat' is not one of its choices (did you mean 'fast'?); choose from 'fast', 'slow'"),
    ("mode", 3, "= 3 is not one of its choices; choose from 'fast', 'slow'"),
    ("kind", "grean", "= 'grean' is not one of its choices (did you mean 'green'?); choose from 'red', 'green'"),
    ("several", {"__value__": ["x", "z"]}, "= 'z' is not one of its choices; choose from 'x', 'y'"),
    ("several", ["x", "y", "z"], f"= ['x', 'y', 'z'] {NO_LINK}"),
    ("count", ["n"], f"= ['n'] {NO_LINK}"),
    ("count", [1, 0], f"= [1, 0] {NO_LINK}"),
    ("count", ["n", "0"], f"= ['n', '0'] {NO_LINK}"),
    ("count", ["m", 0], "<…>node 'm'<…>; link<…>"),
    ("count", ["sow", 0], "<…>node 'sow'<…>'show'<…>; link<…>"),
    ("unheard", ["m", 0], "<…>node 'm'<…>; link<…>"),
    ("count", ["n", 1], "is linked to output 1 of node n (Num), <…>0 (INT)<…>"),
    (
        "count",
        ["p", -1],
        "is linked to output -1 of node p (Picture), <…>0 (IMAGE), 1 (MASK)<…>",
    ),
    ("count", ["end", 0], "is linked to output 0 of node end (Show), <…>none<…>"),
    ("count", ["p", 1], "<…>INT<…>output 1 of node p (Picture)<…>MASK; give a whole number from 1 to 9"),
    (
        "picture",
        ["n", 0],
        "<…>IMAGE,MASK<…>output 0 of node n (Num)<…>INT; link<…>IMAGE,MASK",
    ),
    ("mode", ["n", 0], "<…>fast, slow<…>output 0 of node n (Num)<…>INT; choose from 'fast', 'slow'"),
]


@pytest.mark.parametrize(("name", "value", "sentence"), WRONG_INPUTS)
def test_a_wrong_input_is_reported(name: str, value: Any, sentence: str, matches: Matches) -> None:
    with pytest.raises(BadGraph) as caught:
        check(mixed(**{name: value}))
    assert matches(str(caught.value), f"node x (Mixed): input {name!r} {sentence}")


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        ({}, "input 'value' is missing; give a whole number from -100 to 100"),
        ({"valeu": 3}, "input 'value' <…>missing<…>'valeu'<…>; give a whole number from -100 to 100"),
    ],
)
def test_a_missing_input_is_reported(inputs: Graph, sentence: str, matches: Matches) -> None:
    with pytest.raises(BadGraph) as caught:
        check(show(x=node("Num", **inputs)))
    assert matches(str(caught.value), f"node x (Num): {sentence}")


@pytest.mark.parametrize(
    ("graph", "targets", "sentence"),
    [
        ({}, None, "<…>empty<…>node ids<…>"),
        ([], None, "<…>empty<…>node ids<…>"),
        ({"1": {}}, None, "node 1: <…>class_type<…>"),
        ({"1": 5}, None, "node 1: <…>class_type<…>"),
        ({"1": node("Num") | {"inputs": []}}, None, "node 1 (Num): <…>inputs<…>mapping<…>"),
        (
            {"1": node("KSampler")},
            None,
            "node 1: 'KSampler' <…>in ComfyUI<…>--nodes FOLDER",
        ),
        (
            {"1": node("Shwo")},
            None,
            "node 1: 'Shwo' <…>'Show'<…>in ComfyUI<…>--nodes FOLDER",
        ),
        (
            {"1": node("Num", value=1)},
            None,
            "<…>no target<…>add a node that saves<…>",
        ),
        ({"1": node("Num", value=1)}, [], "<…>no target<…>name at least one"),
        ({"10": node("Num", value=1)}, ["101"], "target '101' is not in the workflow (did you mean '10'?)"),
        (
            show(x=node("Add", a=["y", 0], b=1), y=node("Add", a=["x", 0], b=["x", 0])),
            None,
            "<…>cycle: x (Add) -> y (Add) -> x (Add)<…>",
        ),
        (
            {"x": node("Show", value=1, more=["x", 0])},
            None,
            "<…>cycle: x (Show) -> x (Show)<…>",
        ),
    ],
)
def test_a_wrong_workflow_is_reported(graph: Any, targets: Any, sentence: str, matches: Matches) -> None:
    with pytest.raises(BadGraph) as caught:
        check(graph, targets)
    assert matches(str(caught.value), sentence)


def test_all_problems_are_reported_at_once(matches: Matches) -> None:
    graph = {"a": node("Num", value=101), "b": node("Add", a=["a", 0], b="x"), "s": node("Show", value=["b", 0])}
    graph["t"] = node("Show")
    with pytest.raises(InvalidGraph) as caught:
        check(graph)
    assert [(p.node_id, p.class_type, p.input) for p in caught.value.problems] == [
        ("a", "Num", "value"),
        ("b", "Add", "b"),
        ("t", "Show", "value"),
    ]
    first, *problems = str(caught.value).splitlines()
    assert "3 problems" in first
    assert matches(problems[0], "- node a (Num): <…>'value' = 101<…>from -100 to 100")
    assert matches(problems[1], "- node b (Add): <…>'b' = 'x'<…>whole number")
    assert matches(problems[2], "- node t (Show): <…>'value'<…>missing<…>link<…>")
    assert len(problems) == 3


def test_only_what_the_targets_need_is_checked() -> None:
    graph = {"a": node("Show", value=1), "b": node("Show")}
    assert check(graph, ["a"]).targets == ["a"]
    with pytest.raises(BadGraph):
        check(graph)


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("count", "7", 7),
        ("count", 7.9, 7),
        ("count", True, 1),
        ("share", "0.25", 0.25),
        ("share", 1, 1.0),
        ("text", 5, "5"),
        ("text", {"__value__": [1, 2]}, "[1, 2]"),
        ("on", "false", True),
        ("on", 0, False),
        ("several", {"__value__": ["x", "y"]}, ["x", "y"]),
        ("kind", "red", "red"),
        ("switch", True, True),
    ],
)
def test_constants_are_converted(name: str, given: Any, expected: Any) -> None:
    converted = check(mixed(**{name: given})).graph["x"]["inputs"][name]
    assert converted == expected
    assert type(converted) is type(expected)


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        ({"value": 5}, None),
        ({"value": 11}, None),
        ({"value": 13}, "13 is unlucky"),
        ({"value": 14}, "<…>value = 14, input_types = {}<…>help<…>"),
        ({"value": 6}, "VALIDATE_INPUTS failed: six is taken"),
        ({"value": 7}, "VALIDATE_INPUTS failed: KeyError: 'seven'"),
        ({"value": 5, "other": ["n", 0]}, None),
        ({"value": 5, "other": ["p", 0]}, "pictures are not added"),
        ({"value": ["n", 0]}, None),
        ({"value": "x"}, "input 'value' = 'x' is not a whole number; give a whole number from 0 to 10"),
    ],
)
def test_a_class_checks_its_inputs_itself(inputs: Graph, sentence: str | None, matches: Matches) -> None:
    graph = show(x=node("Checks", **inputs), n=node("Num", value=1), p=node("Picture"))
    if sentence is None:
        check(graph)
    else:
        with pytest.raises(BadGraph) as caught:
            check(graph)
        assert matches(str(caught.value), f"node x (Checks): {sentence}")


def test_a_class_checks_all_its_inputs_asynchronously() -> None:
    check(show(x=node("ChecksAll", value=12)))
    with pytest.raises(BadGraph, match=r"value = 11\b"):
        check(show(x=node("ChecksAll", value=11)))


def test_a_declaration_that_fails_is_reported() -> None:
    class Broken(CLASSES["Num"]):  # type: ignore[misc]
        @classmethod
        def INPUT_TYPES(cls) -> Any:
            raise OSError("no folder")

    with pytest.raises(BadGraph) as caught:
        validate(show(x=node("Broken")), Registry({**CLASSES, "Broken": Broken}))
    assert str(caught.value) == "node x (Broken): INPUT_TYPES failed: OSError: no folder"


@pytest.mark.parametrize(
    ("given", "declared", "match"),
    [
        ("INT", "INT", True),
        ("INT", "FLOAT", False),
        ("INT", "FLOAT,INT", True),
        ("INT, FLOAT", "STRING,FLOAT", True),
        ("INT", "*", False),
        ("INT", ANY, True),
        (ANY, "INT", True),
        (["a", "b"], ["a", "b"], True),
        (["a"], ["a", "b"], False),
        ("COMBO", ["a"], False),
        (["a"], "COMBO", False),
    ],
)
def test_types_match(given: Any, declared: Any, match: bool) -> None:
    assert types_match(given, declared) is match


def test_the_fakes_are_declared_as_nodes_are() -> None:
    assert all(inspect.ismethod(cls.INPUT_TYPES) for cls in CLASSES.values())
