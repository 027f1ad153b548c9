"""In ComfyUI's page, in both renderers: blueprints are found by their names, placed, run and unpacked.

Needs what the other tests in the page need (see test_page.py), and a ComfyUI that lists the blueprints of packs.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from fooocus_stages.pipelines.settings import EXAMPLE_PICTURE

from .server import FILE_INPUTS, PACK, Comfy
from .test_page import RENDERERS, Report

NAMES = sorted(path.stem for path in (PACK / "subgraphs").glob("*.json"))
MINUTES = 15
FEWEST_COLORS = 50
SET = {"performance": "Lightning", "prompt": "a blue star"}  # on the node, before the run

# The page logs this for each widget of a subgraph's node that no link sets, also for the blueprints of ComfyUI and for
# subgraphs that are made in the page. It then takes the value of the inner node, not that of the widget.
UNLINKED = "Missing Link ID when unpacking"


@pytest.fixture(scope="module", params=RENDERERS)
def used(
    request: pytest.FixtureRequest,
    comfy: Comfy,
    browser: tuple[str, str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Report:
    """What became of every blueprint in one renderer."""
    if not comfy.serves("/global_subgraphs"):
        pytest.skip("this ComfyUI serves no blueprints")
    node, chromium, modules = browser
    settings = tmp_path_factory.mktemp("blueprints") / "settings.json"
    given = {"names": NAMES, "files": FILE_INPUTS, "picture": EXAMPLE_PICTURE, "set": SET}
    settings.write_text(json.dumps(given), "utf-8")
    script = str(Path(__file__).parent / "blueprints.mjs")
    command = [node, script, comfy.url, chromium, modules, request.param, str(settings)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60 * MINUTES)
    assert ran.returncode == 0, ran.stderr[-2000:]
    report = json.loads(ran.stdout)
    if not report["available"]:
        pytest.skip(f"this ComfyUI has no {request.param} renderer")
    return dict(report)


@pytest.mark.parametrize("name", NAMES)
def test_the_page_lists_it_with_its_words(used: Report, name: str) -> None:
    blueprint = json.loads((PACK / "subgraphs" / f"{name}.json").read_text("utf-8"))
    described = blueprint["definitions"]["subgraphs"][0]["description"]
    assert [name, "Subgraph Blueprints/Fooocus", described] in used["listed"]
    assert name in used["blueprints"][name]["rows"][0]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_placed_with_its_widgets_and_sockets(used: Report, name: str) -> None:
    (node,) = json.loads((PACK / "subgraphs" / f"{name}.json").read_text("utf-8"))["nodes"]
    placed = used["blueprints"][name]["placed"]
    widgets = [shown["name"] for shown in node["inputs"] if "widget" in shown]
    assert placed["title"] == name
    assert dict(placed["widgets"]) == dict(zip(widgets, node["widgets_values"], strict=True))
    assert placed["sockets"] == [shown["name"] for shown in node["inputs"] if "widget" not in shown]


@pytest.mark.parametrize("name", NAMES)
def test_it_draws_a_picture(comfy: Comfy, used: Report, name: str) -> None:
    ran = used["blueprints"][name]["ran"]
    assert ran["status"] == "success", ran["message"]
    images = comfy.saved([image for image in ran["images"] if image["type"] == "output"])
    colors = [image.convert("RGB").getcolors(image.width * image.height) or [] for image in images]
    assert len(colors) == 1
    assert len(colors[0]) >= FEWEST_COLORS
    inputs = [value for node in ran["before"].values() for value in node["inputs"].items()]
    assert ("performance", SET["performance"]) in inputs
    assert ("text", SET["prompt"]) in inputs


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_is_another_after_a_run(used: Report, name: str) -> None:
    before, after = (seed_of(used["blueprints"][name]["ran"][when]) for when in ("before", "after"))
    assert before == 0
    assert after != before


def seed_of(api: Any) -> int:
    """The seed of the prompt."""
    (seed,) = (node["inputs"]["seed"] for node in api.values() if node["class_type"] == "FooocusPrompt")
    return int(seed)


@pytest.mark.parametrize("name", NAMES)
def test_unpacked_it_is_the_same_graph(used: Report, name: str) -> None:
    blueprint = used["blueprints"][name]
    assert blueprint["unpacked"]["missing"] == []
    assert saved(blueprint["unpacked"]["api"]) == saved(blueprint["placed"]["api"])


@pytest.mark.parametrize("name", NAMES)
def test_the_page_logs_no_error_of_ours(used: Report, name: str) -> None:
    assert set(used["blueprints"][name]["errors"]) <= {UNLINKED}


def saved(api: Any) -> Any:
    """What a graph saves, whatever the ids of its nodes: each node as its class and its inputs, from the end back."""

    def meaning(node_id: str) -> Any:
        node = api[node_id]
        inputs = {
            name: [meaning(value[0]), value[1]] if isinstance(value, list) else value
            for name, value in node["inputs"].items()
        }
        return node["class_type"], inputs

    (end,) = (node_id for node_id, node in api.items() if node["class_type"] == "SaveImage")
    return meaning(end)
