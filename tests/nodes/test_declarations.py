"""Every node says what it does: description, menu place, tooltips, bounds, defaults that its own rules accept."""

from typing import Any

import pytest
from fooocus_stages.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

NODES = list(NODE_CLASS_MAPPINGS.items())
IDS = list(NODE_CLASS_MAPPINGS)
OURS = "FOOOCUS_"
NATIVE = {
    "IMAGE",
    "MASK",
    "LATENT",
    "CONDITIONING",
    "SIGMAS",
    "STRING",
    "INT",
    "FLOAT",
    "BOOLEAN",
    "VAE",
    "UPSCALE_MODEL",
}


def inputs_of(node: Any) -> dict[str, Any]:
    types = node.INPUT_TYPES()
    return {**types.get("required", {}), **types.get("optional", {})}


def test_every_node_has_a_title_and_an_id_of_ours() -> None:
    assert list(NODE_DISPLAY_NAME_MAPPINGS) == IDS
    assert all(node_id == node.__name__ and node_id.startswith("Fooocus") for node_id, node in NODES)


@pytest.mark.parametrize(("node_id", "node"), NODES, ids=IDS)
def test_node_describes_itself(node_id: str, node: Any) -> None:
    assert node.DESCRIPTION.endswith(".")
    assert node.CATEGORY.startswith("Fooocus/")
    assert len(getattr(node, "OUTPUT_TOOLTIPS", ())) == len(node.RETURN_TYPES) == len(getattr(node, "RETURN_NAMES", ()))
    assert callable(getattr(node, node.FUNCTION))


@pytest.mark.parametrize(("node_id", "node"), NODES, ids=IDS)
def test_every_input_has_a_tooltip_bounds_and_a_fitting_default(node_id: str, node: Any) -> None:
    for name, (kind, options) in inputs_of(node).items():
        assert options["tooltip"].endswith("."), name
        if kind in ("INT", "FLOAT"):
            assert options["min"] <= options["default"] <= options["max"], name
        if isinstance(kind, list):
            assert options.get("default", kind[0]) in kind, name
        assert isinstance(kind, list) or all(k in NATIVE or k.startswith(OURS) for k in kind.split(",")), name


@pytest.mark.parametrize(("node_id", "node"), NODES, ids=IDS)
def test_declaring_twice_gives_the_same(node_id: str, node: Any) -> None:
    assert node.INPUT_TYPES() == node.INPUT_TYPES()
