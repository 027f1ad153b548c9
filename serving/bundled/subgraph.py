"""A bundled graph as a subgraph blueprint: ComfyUI's canvas format of one node that holds a graph.

The nodes that load and save pictures stay outside: their links become inputs and outputs of the node. Its other inputs
are linked to widgets of inner nodes, which the page then shows on the node ("promoted widgets").
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..engine.graph import is_link
from .blueprints import CATEGORY, Blueprint
from .canvas import Drawing, draw
from .graph_builder import ApiGraph, Link
from .model_files import DownloadOf
from .node_inputs import SEED_CONTROL, Declared, declared_inputs, drawn_order, height_for, is_widget

INPUTS_ID, OUTPUTS_ID = -10, -20  # of the panels of a subgraph, the same on every canvas
PANEL_WIDTH, PANEL_GAP, PANEL_HEAD, PANEL_SLOT = 180, 80, 40, 20
NODE_SIZE = 400
NEXT_SEED = "randomize"  # as a node that is placed by hand begins
LOADS, SAVES = ("LoadImage", "LoadImageMask"), ("FooocusSaveImage",)
OUTPUT_NAMES = {"images": "image", "info": "info"}
CanvasNodes = Mapping[int, dict[str, Any]]


@dataclass(frozen=True)
class Socket:
    """An input of the blueprint's node: the inputs (node id, name) that it feeds, how they are declared, and the value
    of its widget."""

    name: str
    feeds: tuple[tuple[str, str], ...]
    declared: Declared
    optional: bool = False
    value: Any = None

    @property
    def kind(self) -> str:
        """The type of the socket."""
        return kind_of(self.declared)


def kind_of(declared: Declared) -> str:
    """The type that the canvas writes for an input."""
    kind = declared[1][0]
    return "COMBO" if isinstance(kind, list) else str(kind)


def to_blueprint(
    blueprint: Blueprint, graph: ApiGraph, registry: Mapping[str, Any], version: str, download_link: DownloadOf
) -> dict[str, Any]:
    """The canvas form of a blueprint. `graph`: the API graph of its mode, optional widgets included."""
    inner, outputs = inside(graph)
    sockets = [*picture_sockets(blueprint, graph, registry), *widget_sockets(blueprint, inner, registry)]
    drawing = draw(inner, registry, version, download_link)
    for node in drawing.nodes:
        node["widgets_values"] = [NEXT_SEED if v == SEED_CONTROL else v for v in node["widgets_values"]]
    kinds = {name: registry[inner[link[0]]["class_type"]].RETURN_TYPES[link[1]] for name, link in outputs.items()}
    definition = _definition(blueprint, drawing, sockets, outputs, kinds, registry, inner)
    node_id = definition["state"]["lastNodeId"] + 1
    definition["state"]["lastNodeId"] = node_id
    return {
        "revision": 0,
        "last_node_id": node_id,
        "last_link_id": 0,
        "nodes": [_node(blueprint, node_id, str(definition["id"]), sockets, kinds, version)],
        "links": [],
        "version": 0.4,
        "definitions": {"subgraphs": [definition]},
        "extra": {
            "BlueprintDescription": blueprint.description,
            "BlueprintSearchAliases": list(blueprint.search_aliases),
        },
    }


def inside(graph: ApiGraph) -> tuple[ApiGraph, dict[str, Link]]:
    """The graph without what loads and saves, and the links that leave it, by the names of the node's outputs."""
    (save,) = (node for node in graph.values() if node["class_type"] in SAVES)
    outputs = {name: save["inputs"][given] for given, name in OUTPUT_NAMES.items()}
    left_out = {node_id for node_id, node in graph.items() if node["class_type"] in (*LOADS, *SAVES)}
    kept = {
        node_id: {**node, "inputs": {name: v for name, v in node["inputs"].items() if not _from(v, left_out)}}
        for node_id, node in graph.items()
        if node_id not in left_out
    }
    return kept, outputs


def _from(value: Any, nodes: set[str]) -> bool:
    return is_link(value) and value[0] in nodes


def picture_sockets(blueprint: Blueprint, graph: ApiGraph, registry: Mapping[str, Any]) -> list[Socket]:
    """The inputs that take the place of the loaded pictures and masks."""
    sockets = []
    for (title, slot), name in blueprint.pictures:
        link = [node_titled(graph, title), slot]
        feeds = [(i, key) for i, node in graph.items() for key, value in node["inputs"].items() if value == link]
        declared = _declared(registry, graph, *feeds[0])
        optional = all(key in _optional(registry, graph, node_id) for node_id, key in feeds)
        sockets.append(Socket(name, tuple(feeds), declared, optional))
    return sockets


def widget_sockets(blueprint: Blueprint, inner: ApiGraph, registry: Mapping[str, Any]) -> list[Socket]:
    """The inputs with the promoted widgets."""
    sockets = []
    for promoted in blueprint.inputs:
        node_id = node_titled(inner, promoted.node)
        declared = _declared(registry, inner, node_id, promoted.input)
        value = inner[node_id]["inputs"][promoted.input]
        sockets.append(Socket(promoted.name, ((node_id, promoted.input),), declared, value=value))
    return sockets


def node_titled(graph: ApiGraph, title: str) -> str:
    """The id of the one node of that title."""
    (node_id,) = (node_id for node_id, node in graph.items() if node["_meta"]["title"] == title)
    return node_id


def _declared(registry: Mapping[str, Any], graph: ApiGraph, node_id: str, name: str) -> Declared:
    return next(d for d in declared_inputs(registry[graph[node_id]["class_type"]]) if d[0] == name)


def _optional(registry: Mapping[str, Any], graph: ApiGraph, node_id: str) -> Mapping[str, Any]:
    optional: Mapping[str, Any] = registry[graph[node_id]["class_type"]].INPUT_TYPES().get("optional", {})
    return optional


def _definition(
    blueprint: Blueprint,
    drawing: Drawing,
    sockets: Sequence[Socket],
    outputs: Mapping[str, Link],
    kinds: Mapping[str, str],
    registry: Mapping[str, Any],
    inner: ApiGraph,
) -> dict[str, Any]:
    """The subgraph: the drawing, and its links to the panels of inputs and outputs at its sides."""
    links = [
        {"id": i, "origin_id": source, "origin_slot": slot, "target_id": target, "target_slot": to, "type": kind}
        for i, source, slot, target, to, kind in drawing.links
    ]
    nodes = {node["id"]: node for node in drawing.nodes}
    left, top, right, _ = extent(drawing)
    slots = {
        "inputs": _input_slots(blueprint, sockets, nodes, links, registry, inner, (left - PANEL_GAP - PANEL_SLOT, top)),
        "outputs": _output_slots(blueprint, outputs, kinds, nodes, links, (right + PANEL_GAP + PANEL_SLOT, top)),
    }
    return {
        "id": _uuid(blueprint, ""),
        "version": 1,
        "state": {
            "lastGroupId": len(drawing.groups),
            "lastNodeId": max(nodes),
            "lastLinkId": len(links),
            "lastRerouteId": 0,
        },
        "revision": 0,
        "config": {},
        "name": blueprint.title,
        "category": CATEGORY,
        "description": blueprint.description,
        "inputNode": _panel(INPUTS_ID, left - PANEL_GAP - PANEL_WIDTH, top, len(slots["inputs"])),
        "outputNode": _panel(OUTPUTS_ID, right + PANEL_GAP, top, len(slots["outputs"])),
        **slots,
        "widgets": [],
        "nodes": drawing.nodes,
        "groups": drawing.groups,
        "links": links,
        "extra": {},
    }


def _input_slots(
    blueprint: Blueprint,
    sockets: Sequence[Socket],
    nodes: CanvasNodes,
    links: list[dict[str, Any]],
    registry: Mapping[str, Any],
    inner: ApiGraph,
    corner: tuple[int, int],
) -> list[dict[str, Any]]:
    """Return the slots of the input panel, and link each to the inputs that it feeds."""
    slots = []
    for number, socket in enumerate(sockets):
        slot = _slot(blueprint, "inputs", socket.name, socket.kind, (*corner, number))
        for node_id, name in socket.feeds:
            target = drawn_order(registry[inner[node_id]["class_type"]]).index(name)
            link = _link(len(links) + 1, (INPUTS_ID, number), (int(node_id), target), socket.kind)
            nodes[int(node_id)]["inputs"][target]["link"] = link["id"]
            slot["linkIds"].append(link["id"])
            links.append(link)
        slots.append(slot)
    return slots


def _output_slots(
    blueprint: Blueprint,
    outputs: Mapping[str, Link],
    kinds: Mapping[str, str],
    nodes: CanvasNodes,
    links: list[dict[str, Any]],
    corner: tuple[int, int],
) -> list[dict[str, Any]]:
    """Return the slots of the output panel, and link the outputs of the graph to them."""
    slots = []
    for number, (name, (node_id, output)) in enumerate(outputs.items()):
        slot = _slot(blueprint, "outputs", name, kinds[name], (*corner, number))
        link = _link(len(links) + 1, (int(node_id), output), (OUTPUTS_ID, number), kinds[name])
        nodes[int(node_id)]["outputs"][output]["links"].append(link["id"])
        slot["linkIds"].append(link["id"])
        links.append(link)
        slots.append(slot)
    return slots


def extent(drawing: Drawing) -> tuple[int, int, int, int]:
    """The rectangle round all groups: left, top, right, bottom."""
    frames = [group["bounding"] for group in drawing.groups]
    return (
        min(x for x, _, _, _ in frames),
        min(y for _, y, _, _ in frames),
        max(x + width for x, _, width, _ in frames),
        max(y + height for _, y, _, height in frames),
    )


def _slot(blueprint: Blueprint, side: str, name: str, kind: str, at: tuple[int, int, int]) -> dict[str, Any]:
    x, top, number = at
    y = top + PANEL_HEAD // 2 + PANEL_SLOT * number
    return {"id": _uuid(blueprint, f"/{side}/{name}"), "name": name, "type": kind, "linkIds": [], "pos": [x, y]}


def _link(link_id: int, origin: tuple[int, int], target: tuple[int, int], kind: str) -> dict[str, Any]:
    return {
        "id": link_id,
        "origin_id": origin[0],
        "origin_slot": origin[1],
        "target_id": target[0],
        "target_slot": target[1],
        "type": kind,
    }


def _panel(panel_id: int, x: int, y: int, slots: int) -> dict[str, Any]:
    return {"id": panel_id, "bounding": [x, y, PANEL_WIDTH, PANEL_HEAD + PANEL_SLOT * slots]}


def _uuid(blueprint: Blueprint, part: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"fooocus-stages/subgraphs/{blueprint.title}{part}"))


def _node(
    blueprint: Blueprint,
    node_id: int,
    subgraph: str,
    sockets: Sequence[Socket],
    kinds: Mapping[str, str],
    version: str,
) -> dict[str, Any]:
    """The one node of the blueprint."""
    inputs: list[dict[str, Any]] = []
    for socket in sockets:
        shown: dict[str, Any] = {"name": socket.name, "type": socket.kind, "link": None}
        if socket.optional:
            shown["shape"] = 7
        if is_widget(socket.declared[1]):
            shown["widget"] = {"name": socket.name}
        inputs.append(shown)
    return {
        "id": node_id,
        "type": subgraph,
        "pos": [0, 0],
        "size": [NODE_SIZE, height_for([socket.declared for socket in sockets], len(kinds))],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": inputs,
        "outputs": [{"name": name, "type": kind, "links": []} for name, kind in kinds.items()],
        "title": blueprint.title,
        "properties": {"cnr_id": "fooocus-stages", "ver": version},
        "widgets_values": [socket.value for socket in sockets if is_widget(socket.declared[1])],
    }
