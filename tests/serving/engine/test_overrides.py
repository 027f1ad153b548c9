"""Values set from the command line on a graph."""

from typing import Any

import pytest
from fooocus_stages.pipelines.errors import UserError
from fooocus_stages.serving.engine.declarations import Registry
from fooocus_stages.serving.engine.overrides import set_everywhere, set_input

from ..fakes import CLASSES, node

Graph = dict[str, Any]


def graph() -> Graph:
    return {
        "1": node("Num", value=1) | {"_meta": {"title": "My v1.5 number"}},
        "2": node("Num", value=["1", 0]) | {"_meta": {"title": "Other"}},
        "3": node("Mixed", count=1, seed=4),
        "4": node("Add", a=["1", 0], b=2, seed=["2", 0]),
        "5": node("KSampler", steps=1),
    }


@pytest.mark.parametrize(
    ("setting", "node_id", "name", "value"),
    [
        ("1.value=7", "1", "value", 7),
        ("my V1.5 number.value=7", "1", "value", 7),
        ("Mixed.count=3", "3", "count", 3),
        ("Mixed.share=0.5", "3", "share", 0.5),
        ("Mixed.text=a red = b", "3", "text", "a red = b"),
        ("Mixed.text=7", "3", "text", "7"),
        ("Mixed.text=true", "3", "text", "true"),
        ('Mixed.text="quoted"', "3", "text", "quoted"),
        ("Mixed.text=", "3", "text", ""),
        ("Mixed.text=[[red, blue]]", "3", "text", "[[red, blue]]"),
        ("Mixed.on=true", "3", "on", True),
        ("Mixed.mode=slow", "3", "mode", "slow"),
        ('Mixed.several=["x", "y", "z"]', "3", "several", {"__value__": ["x", "y", "z"]}),
        ('4.b=["1", 0]', "4", "b", ["1", 0]),
    ],
)
def test_an_input_is_set(setting: str, node_id: str, name: str, value: Any) -> None:
    changed = graph()
    set_input(changed, Registry(CLASSES), setting)
    assert changed[node_id]["inputs"][name] == value
    assert type(changed[node_id]["inputs"][name]) is type(value)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("value=7", "'value=7' sets nothing; write NODE.input=value, for example FooocusPrompt.seed=7"),
        ("1.value", "'1.value' sets nothing; write NODE.input=value, for example FooocusPrompt.seed=7"),
        ("Num.value=7", "2 nodes are of class 'Num': 1, 2; name one by its id"),
        ("1.valeu=7", "unknown input 'valeu' (did you mean 'value'?); node 1 (Num) has: value"),
        (
            "Mixd.count=1",
            "unknown node 'Mixd' (did you mean 'Mixed'?); "
            "the workflow has: 1 (Num), 2 (Num), 3 (Mixed), 4 (Add), 5 (KSampler)",
        ),
    ],
)
def test_settings_that_can_not_be_applied_are_reported(setting: str, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        set_input(graph(), Registry(CLASSES), setting)
    assert str(caught.value) == sentence


def test_an_unknown_class_is_left_to_the_check_of_the_workflow() -> None:
    set_input(graph(), Registry(CLASSES), "KSampler.steps=3")


def test_every_input_of_a_name_is_set_but_links_stay() -> None:
    changed = graph()
    set_everywhere(changed, "seed", 9)
    assert changed["3"]["inputs"]["seed"] == 9
    assert changed["4"]["inputs"]["seed"] == ["2", 0]


def test_a_name_that_no_node_has_is_reported() -> None:
    with pytest.raises(UserError) as caught:
        set_everywhere(graph(), "step", 9)
    assert str(caught.value) == (
        "no node of the workflow has an input 'step' to set (did you mean 'steps'?); use --set NODE.input=value"
    )
