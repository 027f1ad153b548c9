"""Where the nodes of the bundled workflows stand, and how their wires run."""

from __future__ import annotations

from itertools import combinations

import pytest
from fooocus_stages.nodes import NODE_CLASS_MAPPINGS
from fooocus_stages.nodes.headless import HEADLESS_NODES
from fooocus_stages.serving.bundled import canvas, layout
from fooocus_stages.serving.bundled.building_blocks import BuildingBlock
from fooocus_stages.serving.bundled.catalogue import Template
from fooocus_stages.serving.bundled.layout import Box, Wire
from fooocus_stages.serving.bundled.write_workflows import BUNDLED

REGISTRY = {**NODE_CLASS_MAPPINGS, **HEADLESS_NODES}
BEHIND = 2  # wires that may run behind a node in one workflow
TALLEST = 3500
Rectangle = tuple[float, float, float, float]


def overlap(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def test_every_node_belongs_to_a_group() -> None:
    assert set(canvas.ROLE_OF) >= set(NODE_CLASS_MAPPINGS)


@pytest.mark.usefixtures("pocket_host")
@pytest.mark.parametrize("template", BUNDLED, ids=lambda t: t.name)
def test_nodes_stand_apart_and_wires_run_to_the_right(template: Template | BuildingBlock) -> None:
    graph = template.graph
    boxes, places = canvas.arranged(graph, REGISTRY)
    wires = canvas.wires_of(graph, REGISTRY)
    corners = {
        node: (x, y - layout.TITLE_HEIGHT, x + layout.NODE_WIDTH, y + boxes[node].height + layout.BADGE_HEIGHT)
        for node, (x, y) in places.items()
    }
    assert not [(a, b) for a, b in combinations(corners, 2) if overlap(corners[a], corners[b])]
    assert all(places[wire.source][0] < places[wire.target][0] for wire in wires)
    assert sum(bool(layout.behind(wire, places, boxes)) for wire in wires) <= BEHIND
    assert max(bottom for *_, bottom in corners.values()) <= TALLEST


@pytest.mark.usefixtures("pocket_host")
@pytest.mark.parametrize("template", BUNDLED, ids=lambda t: t.name)
def test_groups_hold_their_own_nodes_alone(template: Template | BuildingBlock) -> None:
    written = canvas.to_canvas(template.graph, REGISTRY, template.name, "1.0", {"title": "", "description": ""})
    frames: list[Rectangle] = [(x, y, x + w, y + h) for x, y, w, h in (g["bounding"] for g in written["groups"])]
    assert not [pair for pair in combinations(frames, 2) if overlap(*pair)]
    for node in written["nodes"]:
        (x, y), (width, height) = node["pos"], node["size"]
        box = (x, y - layout.TITLE_HEIGHT, x + width, y + height + layout.BADGE_HEIGHT)
        around = [frame for frame in frames if overlap(frame, box)]
        assert len(around) == (0 if node["type"] == "MarkdownNote" else 1), node["title"]
        assert all(f[0] <= box[0] and f[1] <= box[1] and box[2] <= f[2] and box[3] <= f[3] for f in around)


def test_a_wire_that_leaves_a_node_alone_is_preferred() -> None:
    """A wire from the first column to the third goes round the node between them."""
    boxes = {name: Box(200, role) for name, role in (("a", "one"), ("b", "two"), ("c", "one"))}
    wires = [Wire("a", 0, "b", 0), Wire("b", 0, "c", 0), Wire("a", 1, "c", 1)]
    places = layout.arrange(boxes, wires, ("one", "two"))
    assert [places[name][0] for name in "abc"] == [0, layout.COLUMN_WIDTH, 2 * layout.COLUMN_WIDTH]
    assert not any(layout.behind(wire, places, boxes) for wire in wires)
