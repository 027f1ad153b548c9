"""The subgraph blueprints: whole, the same graph as their modes, and with the inputs that they promise."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import UUID

import fooocus_stages
import pytest
from fooocus_stages.nodes import NODE_CLASS_MAPPINGS
from fooocus_stages.nodes.headless import HEADLESS_NODES
from fooocus_stages.pipelines.assets.catalogue import download_link
from fooocus_stages.serving.bundled import write_workflows
from fooocus_stages.serving.bundled.blueprints import BLUEPRINTS, Blueprint
from fooocus_stages.serving.bundled.node_inputs import declared_inputs, has_seed_control, is_widget
from fooocus_stages.serving.bundled.subgraph import INPUTS_ID, OUTPUTS_ID

ROOT = Path(fooocus_stages.__file__).parent
SUBGRAPHS = ROOT / "subgraphs"
REGISTRY = {**NODE_CLASS_MAPPINGS, **HEADLESS_NODES}
STYLED = ["prompt", "negative", "style_1", "style_2", "style_3", "performance"]
PROMISED = {  # the inputs of each blueprint's node: sockets, then widgets
    "Text to Image (Fooocus)": ([], [*STYLED, "aspect_ratio", "num_images", "seed", "checkpoint"]),
    "Inpaint (Fooocus)": (
        ["image", "mask"],
        [*STYLED, "mode", "erode_or_dilate", "invert_mask", "seed", "checkpoint"],
    ),
    "Outpaint (Fooocus)": (["image"], [*STYLED, "left", "top", "right", "bottom", "seed", "checkpoint"]),
    "Vary (Fooocus)": (["image"], [*STYLED, "method", "strength", "seed", "checkpoint"]),
    "Upscale (Fooocus)": (["image"], [*STYLED, "method", "factor", "strength", "seed", "checkpoint", "upscaler"]),
    "Image Prompt (Fooocus)": (
        ["image"],
        ["prompt", "negative", "weight", "stop_at", *STYLED[2:], "aspect_ratio", "num_images", "seed", "checkpoint"],
    ),
}

pytestmark = [
    pytest.mark.usefixtures("pocket_host"),
    pytest.mark.parametrize("blueprint", BLUEPRINTS, ids=lambda blueprint: blueprint.title),
]


def read(blueprint: Blueprint) -> tuple[Any, Any]:
    """The node of a blueprint's file, and its subgraph."""
    data = json.loads((SUBGRAPHS / f"{blueprint.title}.json").read_text("utf-8"))
    (node,), (subgraph,) = data["nodes"], data["definitions"]["subgraphs"]
    return node, subgraph


def values_of(node: Any) -> dict[str, Any]:
    """The values of a node's widgets by name, as the page reads them: one after another, after a seed its control."""
    values = iter(node["widgets_values"])
    read: dict[str, Any] = {}
    for name, declared in declared_inputs(REGISTRY[node["type"]]):
        if is_widget(declared):
            read[name] = next(values)
            if has_seed_control(name, declared):
                assert next(values) in ("fixed", "increment", "decrement", "randomize")
    assert list(values) == []
    return read


def flattened(node: Any, subgraph: Any) -> dict[str, Any]:
    """The API form of a subgraph, with the values of its node's widgets in place of the links to them."""
    promoted = [shown["name"] for shown in node["inputs"] if "widget" in shown]
    shown = dict(zip(promoted, node["widgets_values"], strict=True))
    links = {link["id"]: link for link in subgraph["links"]}
    graph = {}
    for inner in subgraph["nodes"]:
        inputs = values_of(inner)
        for slot in inner["inputs"]:
            if (link := links.get(slot["link"])) is None:
                continue
            if link["origin_id"] != INPUTS_ID:
                inputs[slot["name"]] = [str(link["origin_id"]), link["origin_slot"]]
            elif (name := subgraph["inputs"][link["origin_slot"]]["name"]) in shown:
                inputs[slot["name"]] = shown[name]
            else:
                inputs[slot["name"]] = name
        graph[str(inner["id"])] = {"class_type": inner["type"], "inputs": inputs, "_meta": {"title": inner["title"]}}
    return graph


def test_the_files_are_what_the_blueprints_say(blueprint: Blueprint) -> None:
    written = write_workflows.blueprint_files(REGISTRY, fooocus_stages.__version__, download_link)
    assert sorted(written) == sorted(path.name for path in SUBGRAPHS.iterdir())
    name = f"{blueprint.title}.json"
    assert (SUBGRAPHS / name).read_text("utf-8") == written[name], f"{name}: run make workflows"


def test_a_blueprint_holds_the_graph_of_its_mode(blueprint: Blueprint) -> None:
    """All but what loads the pictures, which come in by name instead, and what saves the result."""
    node, subgraph = read(blueprint)
    mode = json.loads((ROOT / "workflows/api" / f"{blueprint.template}.json").read_text("utf-8"))
    pictures = {(title, slot): name for (title, slot), name in blueprint.pictures}
    titles = {node_id: inner["_meta"]["title"] for node_id, inner in mode.items()}
    outside = [i for i, inner in mode.items() if inner["class_type"] in ("LoadImage", "FooocusSaveImage")]
    saved = mode[outside[-1]]["inputs"]
    for inner in mode.values():
        if inner["class_type"] == "FooocusPerformance":
            inner["inputs"]["performance"] = "Speed"
        for name, value in inner["inputs"].items():
            if isinstance(value, list) and value[0] in outside:
                inner["inputs"][name] = pictures[titles[value[0]], value[1]]
    assert flattened(node, subgraph) == {i: inner for i, inner in mode.items() if i not in outside}
    leaving = {
        subgraph["outputs"][link["target_slot"]]["name"]: [str(link["origin_id"]), link["origin_slot"]]
        for link in subgraph["links"]
        if link["target_id"] == OUTPUTS_ID
    }
    assert leaving == {"image": saved["images"], "info": saved["info"]}


def test_the_node_has_the_promised_inputs(blueprint: Blueprint) -> None:
    node, subgraph = read(blueprint)
    sockets, widgets = PROMISED[blueprint.title]
    assert [shown["name"] for shown in node["inputs"] if "widget" not in shown] == sockets
    assert [shown["name"] for shown in node["inputs"] if "widget" in shown] == widgets
    assert [shown["name"] for shown in node["outputs"]] == ["image", "info"]
    assert [shown["type"] for shown in node["outputs"]] == ["IMAGE", "FOOOCUS_INFO"]
    for side in ("inputs", "outputs"):
        assert [(s["name"], s["type"]) for s in node[side]] == [(s["name"], s["type"]) for s in subgraph[side]]
    assert len(node["widgets_values"]) == len(widgets)
    assert dict(zip(widgets, node["widgets_values"], strict=True))["performance"] == "Speed"


def test_the_subgraph_is_whole(blueprint: Blueprint) -> None:
    node, subgraph = read(blueprint)
    assert (node["type"], node["title"], subgraph["name"]) == (subgraph["id"], blueprint.title, blueprint.title)
    assert len({str(UUID(slot["id"])) for slot in (subgraph, *subgraph["inputs"], *subgraph["outputs"])}) == (
        1 + len(subgraph["inputs"]) + len(subgraph["outputs"])
    )
    nodes = {inner["id"]: inner for inner in subgraph["nodes"]}
    assert node["id"] == subgraph["state"]["lastNodeId"] == max(nodes) + 1
    assert subgraph["state"]["lastLinkId"] == len(subgraph["links"])
    assert all(count == 1 for count in Counter(link["id"] for link in subgraph["links"]).values())
    for link in subgraph["links"]:
        if link["origin_id"] == INPUTS_ID:
            begin = subgraph["inputs"][link["origin_slot"]]
            assert link["id"] in begin["linkIds"]
        else:
            begin = nodes[link["origin_id"]]["outputs"][link["origin_slot"]]
            assert link["id"] in begin["links"]
        if link["target_id"] == OUTPUTS_ID:
            end = subgraph["outputs"][link["target_slot"]]
            assert end["linkIds"] == [link["id"]]
        else:
            end = nodes[link["target_id"]]["inputs"][link["target_slot"]]
            assert end["link"] == link["id"]
        assert link["type"] == begin["type"]
        assert set(begin["type"].split(",")) & set(end["type"].split(","))
    attached = [slot["link"] for inner in nodes.values() for slot in inner["inputs"] if slot["link"] is not None]
    assert set(attached) <= {link["id"] for link in subgraph["links"]}


def test_its_panels_stand_beside_the_nodes(blueprint: Blueprint) -> None:
    _, subgraph = read(blueprint)
    lefts = [x for x, *_ in (group["bounding"] for group in subgraph["groups"])]
    rights = [x + width for x, _, width, _ in (group["bounding"] for group in subgraph["groups"])]
    x, y, width, height = subgraph["inputNode"]["bounding"]
    assert x + width < min(lefts)
    assert all(x < slot["pos"][0] < x + width for slot in subgraph["inputs"])
    assert all(y < slot["pos"][1] < y + height for slot in subgraph["inputs"])
    x, y, width, height = subgraph["outputNode"]["bounding"]
    assert max(rights) < x
    assert all(x < slot["pos"][0] < x + width and y < slot["pos"][1] < y + height for slot in subgraph["outputs"])


def test_every_run_begins_with_another_seed(blueprint: Blueprint) -> None:
    """As on a node that is placed by hand; the control stands behind the seed."""
    _, subgraph = read(blueprint)
    (prompt,) = (inner for inner in subgraph["nodes"] if inner["title"] == "Prompt")
    names = list(values_of(prompt))
    assert prompt["widgets_values"][names.index("seed") + 1] == "randomize"


def test_the_page_can_download_what_it_needs(blueprint: Blueprint) -> None:
    node, subgraph = read(blueprint)
    offered = {model["name"] for inner in subgraph["nodes"] for model in inner["properties"].get("models", [])}
    values = [*node["widgets_values"], *(value for inner in subgraph["nodes"] for value in inner["widgets_values"])]
    named = {value for value in map(str, values) if Path(value).suffix in (".safetensors", ".bin", ".pth")}
    assert named <= offered
