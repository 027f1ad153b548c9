"""In ComfyUI's page, in both renderers: templates and blueprints open whole, export as ours, and are laid out tidily.

Needs Node.js, a Chromium (CHROMIUM names it if it is not on the path) and playwright-core, which `make test-comfyui`
installs into `.browser`.
"""

from __future__ import annotations

import json
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from .server import PACK, Comfy

RENDERERS = ("classic", "vue")
TEMPLATES = {path.stem: path for path in sorted((PACK / "workflows").glob("*.json"))}
BLUEPRINTS = {path.stem: path for path in sorted((PACK / "subgraphs").glob("*.json"))}
MINUTES = 9
PLAIN = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}  # values, for which the page's palettes have no color
SLACK = 1.0  # pixels of the canvas

Report = dict[str, Any]
Box = tuple[float, float, float, float]


@pytest.fixture(scope="session", params=RENDERERS)
def opened(request: pytest.FixtureRequest, comfy: Comfy, browser: tuple[str, str, str]) -> Report:
    """What the page reports of every template and blueprint in one renderer."""
    node, chromium, modules = browser
    files = [str(path) for path in (*TEMPLATES.values(), *BLUEPRINTS.values())]
    script = str(Path(__file__).parent / "page.mjs")
    command = [node, script, comfy.url, chromium, modules, request.param, *files]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60 * MINUTES)
    assert ran.returncode == 0, ran.stderr[-2000:]
    report = json.loads(ran.stdout)
    if not report["available"]:
        pytest.skip(f"this ComfyUI has no {request.param} renderer")
    return dict(report["workflows"])


@pytest.mark.parametrize("name", [*TEMPLATES, *BLUEPRINTS])
def test_it_opens_without_an_error(opened: Report, name: str) -> None:
    assert opened[name]["missing"] == []
    assert opened[name]["errors"] == []


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_page_exports_our_api_workflow(opened: Report, name: str) -> None:
    ours = json.loads((PACK / "workflows/api" / f"{name}.json").read_text("utf-8"))
    exported = opened[name]["api"]
    assert exported == ours


@pytest.mark.parametrize("name", TEMPLATES)
def test_wires_have_colors(opened: Report, name: str) -> None:
    assert set(opened[name]["grey"]) <= PLAIN


@pytest.mark.parametrize("name", [*TEMPLATES, *BLUEPRINTS])
def test_nodes_are_drawn_side_by_side(opened: Report, name: str) -> None:
    overlaps = [
        f"{one['title']} and {other['title']}"
        for one, other in combinations(opened[name]["nodes"], 2)
        if overlap(drawn(one), drawn(other))
    ]
    assert overlaps == []


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_group_holds_its_nodes_whole(opened: Report, name: str) -> None:
    jutting = [
        f"{node['title']} out of {group['title']}"
        for group in opened[name]["groups"]
        for node in opened[name]["nodes"]
        if overlap(drawn(node), group["canvas"]) and not inside(drawn(node), group["canvas"])
    ]
    assert jutting == []


@pytest.mark.parametrize("name", BLUEPRINTS)
def test_the_page_exports_the_nodes_of_a_blueprint(opened: Report, name: str) -> None:
    blueprint = json.loads(BLUEPRINTS[name].read_text("utf-8"))
    inner = {node["type"] for subgraph in blueprint["definitions"]["subgraphs"] for node in subgraph["nodes"]}
    classes = {node["class_type"] for node in opened[name]["api"].values()}
    assert classes == {kind for kind in inner if kind.startswith("Fooocus")}


def drawn(node: Any) -> Box:
    """The rectangle of a node, title included, as its renderer draws it: left, top, width, height."""
    left, top, width, height = node["dom"] or node["canvas"]
    return left, top, width, height


def overlap(one: Box, other: Box) -> bool:
    """Whether two rectangles share more than an edge."""
    return all(
        min(one[axis] + one[axis + 2], other[axis] + other[axis + 2]) - max(one[axis], other[axis]) > SLACK
        for axis in (0, 1)
    )


def inside(one: Box, other: Box) -> bool:
    """Whether the first rectangle lies within the second."""
    return all(
        one[axis] >= other[axis] - SLACK and one[axis] + one[axis + 2] <= other[axis] + other[axis + 2] + SLACK
        for axis in (0, 1)
    )
