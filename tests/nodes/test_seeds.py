"""Seeds survive the page: widgets keep to whole numbers that a browser does not round, and larger ones still run."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest
from fooocus_stages.nodes import NODE_CLASS_MAPPINGS
from fooocus_stages.nodes.inputs import fooocus_seed
from fooocus_stages.serving.engine.declarations import Registry
from fooocus_stages.serving.engine.validate import InvalidGraph, validate

FOOOCUS, ROUNDED = 2**63 - 1, 9223372036854776000
SEEDED = [
    name for name, node in NODE_CLASS_MAPPINGS.items() if node.INPUT_TYPES()["required"].get("seed", ("",))[0] == "INT"
]


def test_the_rounded_seed_is_what_a_page_sends() -> None:
    assert float(FOOOCUS) == float(ROUNDED)
    assert f"{float(FOOOCUS):.16g}" == f"{float(ROUNDED):.16g}"


@pytest.mark.parametrize("name", SEEDED)
def test_a_widget_offers_only_numbers_that_a_page_keeps(name: str) -> None:
    options = NODE_CLASS_MAPPINGS[name].INPUT_TYPES()["required"]["seed"][1]
    assert options["max"] == 2**53 - 1
    assert int(float(options["max"])) == options["max"]


@pytest.mark.parametrize("name", SEEDED)
@pytest.mark.parametrize(("seed", "taken"), [(0, True), (FOOOCUS, True), (ROUNDED, True), (-1, False), (2**64, False)])
def test_every_node_takes_the_seeds_of_fooocus(name: str, seed: int, taken: bool) -> None:
    """As ComfyUI validates: an input that VALIDATE_INPUTS names is not compared with the widget's range."""
    check = NODE_CLASS_MAPPINGS[name].VALIDATE_INPUTS
    assert "seed" in inspect.getfullargspec(check).args
    assert (check(seed=seed) is True) is taken
    if not taken:
        assert str(seed) in check(seed=seed)
        assert str(FOOOCUS) in check(seed=seed)


@pytest.mark.usefixtures("pocket_host")
@pytest.mark.parametrize(("seed", "image"), [(5, 5), (FOOOCUS, FOOOCUS), (ROUNDED, FOOOCUS)])
def test_the_rounded_maximum_is_the_maximum(seed: int, image: int) -> None:
    assert fooocus_seed(seed) == image
    prompt = NODE_CLASS_MAPPINGS["FooocusPrompt"]()
    assert prompt.run("a circle", "", seed, 2)[2] == [image, (image + 1) % 2**63]


@pytest.mark.usefixtures("pocket_host")
def test_a_graph_with_a_seed_of_fooocus_is_valid_and_a_larger_one_is_refused() -> None:
    def graph(seed: Any) -> Any:
        prompt = {"text": "a circle", "negative": "", "seed": seed, "num_images": 1}
        return {"1": {"class_type": "FooocusPrompt", "inputs": prompt}}

    registry = Registry(NODE_CLASS_MAPPINGS)
    assert validate(json.loads(json.dumps(graph(FOOOCUS))), registry, ["1"]).graph["1"]["inputs"]["seed"] == FOOOCUS
    with pytest.raises(InvalidGraph, match=r"9223372036854776001.*give a whole number from 0 to"):
        validate(graph(ROUNDED + 1), registry, ["1"])
