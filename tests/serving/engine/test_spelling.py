"""Choices on nodes are matched as people type them."""

import pytest
from fooocus_stages.nodes.prompt import FooocusStyles
from fooocus_stages.serving.engine.declarations import Registry
from fooocus_stages.serving.engine.values import convert


@pytest.mark.parametrize("typed", ["fooocus sharp", "Fooocus Sharp", " FOOOCUS SHARP "])
def test_a_choice_in_any_spelling_becomes_the_listed_one(typed: str) -> None:
    info = Registry({"FooocusStyles": FooocusStyles})["FooocusStyles"].inputs["style_1"]
    assert convert(info, typed) == "Fooocus Sharp"
    assert convert(info, "no such style") == "no such style"
