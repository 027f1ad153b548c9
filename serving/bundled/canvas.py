"""Converts an API graph to the canvas format: places, sizes, links, widget values, groups and a note.

The canvas format is that of schema version 0.4: links [id, from, slot, to, slot, type], widget values by position.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..engine.graph import is_link
from . import layout
from .graph_builder import ApiGraph
from .layout import Box, Place, Wire
from .model_files import DownloadOf, model_files
from .node_inputs import canvas_inputs, declared_inputs, drawn_order, height_for, in_drawn_order, widget_values

SAVING = "Sampling and saving"
ROLES: dict[str, tuple[str, ...]] = {  # the groups on the canvas, and the nodes in each
    "Model": (
        "FooocusLoadCheckpoint",
        "FooocusApplyLoras",
        "FooocusFreeU",
        "FooocusLoadRefiner",
        "FooocusRefinerSwitch",
        "FooocusInpaintModel",
        "FooocusModelPatch",
        "CheckpointLoaderSimple",
        "LoraLoader",
    ),
    "Prompt": (
        "CLIPTextEncode",
        "FooocusPrompt",
        "FooocusExpandPrompt",
        "FooocusInpaintPrompt",
        "FooocusEncodePrompt",
        "ConditioningCombine",
        "ConditioningSetAreaPercentage",
    ),
    "Settings": (
        "FooocusPreset",
        "FooocusReadInfo",
        "FooocusLora",
        "FooocusLoraStack",
        "FooocusSamplingSettings",
        "FooocusPerformance",
        "FooocusStyles",
    ),
    "Image": (
        "FooocusLoadUpscaler",
        "FooocusInpaint",
        "FooocusInpaintCrop",
        "FooocusInpaintFill",
        "FooocusInpaintEncode",
        "FooocusMaskThreshold",
        "FooocusMaskCombine",
        "FooocusMaskGrow",
        "FooocusMaskInvert",
        "FooocusOutpaintPad",
        "FooocusVaeEncode",
        "FooocusVary",
        "FooocusUpscaleSize",
    ),
    "Size": ("FooocusAspectRatio",),
    "Control images and image prompts": (
        "FooocusLoadControl",
        "FooocusPyraCanny",
        "FooocusCpds",
        "FooocusControl",
        "FooocusLoadImagePrompt",
        "FooocusFaceCrop",
        "FooocusImagePrompt",
    ),
    SAVING: (
        "FooocusScheduler",
        "FooocusSampler",
        "KSampler",
        "VAEDecode",
        "FooocusUpscale",
        "FooocusUpscaleImage",
        "RepeatLatentBatch",
        "LatentUpscaleBy",
        "FooocusVaeDecode",
        "FooocusInpaintPaste",
        "FooocusSafetyCheck",
        "FooocusSaveImage",
        "SaveImage",
    ),
}
ROLE_OF = {class_type: role for role, class_types in ROLES.items() for class_type in class_types}
GROUP_COLORS = dict(zip(ROLES, ("#3f789e", "#88a", "#b58b2a", "#8a8", "#a88", "#b06634", "#8aa"), strict=True))
GROUP_TITLE_HEIGHT, GROUP_PADDING = 50, 20
NOTE_SIZE = [1100, 330]
SHOW_IMAGES, IMAGE_HEIGHT = ("FooocusSaveImage", "SaveImage", "PreviewImage"), 220


def to_canvas(
    graph: ApiGraph,
    registry: Mapping[str, Any],
    name: str,
    version: str,
    about: Mapping[str, str],
    download_link: DownloadOf = lambda kind, file: None,
) -> dict[str, Any]:
    """Convert an API graph to the canvas format.

    `about`: mode, title and description, which are shown in a note and kept in `extra`. `download_link`: the address
    from which the page offers to download a missing file.
    """
    drawing = draw(graph, registry, version, download_link)
    in_turn = sorted(drawing.nodes, key=lambda node: int(node["order"]))
    models = [model for node in in_turn for model in node["properties"].get("models", [])]
    each_once = list({(model["directory"], model["name"]): model for model in models}.values())
    last = max(node["id"] for node in drawing.nodes)
    note = _note(about, last + 1, version, graph, each_once)
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"fooocus-stages/{name}")),
        "revision": 0,
        "last_node_id": note["id"],
        "last_link_id": len(drawing.links),
        "nodes": [*drawing.nodes, note],
        "links": drawing.links,
        "groups": drawing.groups,
        "config": {},
        "extra": {"fooocus_stages": dict(about), "ds": {"scale": 0.6, "offset": [60, 320]}},
        "version": 0.4,
    }


@dataclass(frozen=True)
class Drawing:
    """A graph on the canvas: its nodes by rising ids, its links [id, from, slot, to, slot, type] and its groups."""

    nodes: list[dict[str, Any]]
    links: list[list[Any]]
    groups: list[dict[str, Any]]


def draw(graph: ApiGraph, registry: Mapping[str, Any], version: str, download_link: DownloadOf) -> Drawing:
    """The nodes of an API graph with their places and values, joined by links, in their groups."""
    boxes, places = arranged(graph, registry)
    links: list[list[Any]] = []
    nodes = [_canvas_node(graph, registry, node_id, (places[node_id], boxes[node_id]), order, links, version)
             for order, node_id in enumerate(in_order(graph))]  # fmt: skip
    for node in nodes:
        if models := model_files(graph[str(node["id"])], download_link):
            node["properties"]["models"] = models
    by_id = {node["id"]: node for node in nodes}
    for link_id, source, slot, target, target_slot, _ in links:
        by_id[source]["outputs"][slot]["links"].append(link_id)
        by_id[target]["inputs"][target_slot]["link"] = link_id
    return Drawing(sorted(nodes, key=lambda node: int(node["id"])), links, _groups(boxes, places))


def in_order(graph: ApiGraph) -> list[str]:
    """Node ids in topological order."""
    depth = depths(graph)
    return sorted(graph, key=lambda node_id: (depth[node_id], int(node_id)))


def depths(graph: ApiGraph) -> dict[str, int]:
    """The length of the longest path of links that ends in each node."""
    found: dict[str, int] = {}

    def depth(node_id: str) -> int:
        if node_id not in found:
            found[node_id] = 1 + max((depth(v[0]) for v in graph[node_id]["inputs"].values() if is_link(v)), default=-1)
        return found[node_id]

    for node_id in graph:
        depth(node_id)
    return found


def arranged(graph: ApiGraph, registry: Mapping[str, Any]) -> tuple[dict[str, Box], dict[str, Place]]:
    """The box and the place of every node."""
    boxes = {i: Box(height_of(node["class_type"], registry), role_of(graph, i)) for i, node in graph.items()}
    return boxes, layout.arrange(boxes, wires_of(graph, registry), tuple(ROLES))


def wires_of(graph: ApiGraph, registry: Mapping[str, Any]) -> list[Wire]:
    """The links of a graph, with the slots at which they start and end."""
    return [
        Wire(value[0], value[1], node_id, sockets.index(name))
        for node_id, node in graph.items()
        for sockets in [drawn_order(registry[node["class_type"]])]
        for name, value in node["inputs"].items()
        if is_link(value)
    ]


def role_of(graph: ApiGraph, node_id: str) -> str:
    """The group of a node; one of ComfyUI's own nodes is in the group of the node after it, or before it."""
    if (known := ROLE_OF.get(graph[node_id]["class_type"])) is not None:
        return known
    fed = [i for i, node in graph.items() if [node_id, 0] in node["inputs"].values()]
    if fed:
        return "Image" if role_of(graph, fed[0]) == SAVING else role_of(graph, fed[0])
    return role_of(graph, next(value[0] for value in graph[node_id]["inputs"].values() if is_link(value)))


def height_of(class_type: str, registry: Mapping[str, Any]) -> int:
    """The height in canvas units, without the title, that shows all of a node class in either of the page's renderers,
    after a run too.

    Measured in the Vue renderer of frontend 1.49, where rows are taller; the classic one needs less.
    """
    node = registry[class_type]
    shown = IMAGE_HEIGHT if class_type in SHOW_IMAGES else 0
    return height_for(declared_inputs(node), len(node.RETURN_TYPES)) + shown


def _canvas_node(
    graph: ApiGraph,
    registry: Mapping[str, Any],
    node_id: str,
    placed: tuple[Place, Box],
    order: int,
    links: list[list[Any]],
    version: str,
) -> dict[str, Any]:
    """Return a node in the canvas format, and append the links to its inputs to `links`."""
    class_type, given = graph[node_id]["class_type"], graph[node_id]["inputs"]
    node = registry[class_type]
    declared = declared_inputs(node)
    slots = in_drawn_order(declared)
    for name, _ in declared:
        if is_link(given.get(name)):
            source, slot = given[name]
            kind = registry[graph[source]["class_type"]].RETURN_TYPES[slot]
            links.append([len(links) + 1, int(source), slot, int(node_id), slots.index(name), kind])
    names = getattr(node, "RETURN_NAMES", node.RETURN_TYPES)
    place, box = placed
    return {
        "id": int(node_id),
        "type": class_type,
        "pos": list(place),
        "size": [layout.NODE_WIDTH, box.height],
        "flags": {},
        "order": order,
        "mode": 0,
        "inputs": canvas_inputs(node, declared),
        "outputs": [{"name": n, "type": t, "links": []} for n, t in zip(names, node.RETURN_TYPES, strict=True)],
        "title": graph[node_id].get("_meta", {}).get("title", class_type),
        "properties": {"Node name for S&R": class_type, **_origin(class_type, version)},
        "widgets_values": widget_values(declared, given),
    }


def _origin(class_type: str, version: str) -> dict[str, str]:
    """The pack in which the page's manager finds a node."""
    return (
        {"cnr_id": "fooocus-stages", "ver": version} if class_type.startswith("Fooocus") else {"cnr_id": "comfy-core"}
    )


def paints_a_mask(graph: ApiGraph) -> bool:
    """True for a graph that uses the mask of a loaded image, as painted in ComfyUI's mask editor."""
    inputs = (value for node in graph.values() for value in node["inputs"].values())
    return any(is_link(value) and graph[value[0]]["class_type"] == "LoadImage" and value[1] == 1 for value in inputs)


def _note(
    about: Mapping[str, str], node_id: int, version: str, graph: ApiGraph, models: Sequence[Mapping[str, str]]
) -> dict[str, Any]:
    """The note above the graph: a description, the first things to change, and the files that are needed."""
    texts = [f"## {about['title']}", about["description"]]
    if titles_of(graph, "FooocusLoadCheckpoint"):
        texts.append(
            "**First:** choose your SDXL checkpoint in *Checkpoint* and write what you want to see in *Prompt*. To try "
            "the workflow without a download, choose `pocket`, the small model in this pack: it draws coloured shapes."
        )
    if pictures := titles_of(graph, "LoadImage"):
        texts.append(f"**Images:** choose yours in {' and '.join(f'*{title}*' for title in pictures)}.")
    if paints_a_mask(graph):
        texts.append("**Mask:** right-click *Picture to inpaint* and choose *Open in MaskEditor*.")
    if models:
        texts.append("**Files:** " + ", ".join(f"`{model['directory']}/{model['name']}`" for model in models))
    return {
        "id": node_id,
        "type": "MarkdownNote",
        "pos": [0, -NOTE_SIZE[1] - GROUP_TITLE_HEIGHT - 2 * layout.TITLE_HEIGHT],
        "size": NOTE_SIZE,
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "title": about["title"],
        "properties": {"ver": version},
        "widgets_values": ["\n\n".join(texts)],
        "color": "#432",
        "bgcolor": "#653",
    }


def titles_of(graph: ApiGraph, class_type: str) -> list[str]:
    """The titles of the nodes of a class, each once."""
    titles = (node["_meta"]["title"] for node in graph.values() if node["class_type"] == class_type)
    return list(dict.fromkeys(titles))


def _groups(boxes: Mapping[str, Box], places: Mapping[str, Place]) -> list[dict[str, Any]]:
    """A titled frame around the nodes of each role."""
    groups: list[dict[str, Any]] = []
    for role, color in GROUP_COLORS.items():
        inside = [(*places[node], box.height) for node, box in boxes.items() if box.role == role]
        if not inside:
            continue
        left, top = min(x for x, _, _ in inside), min(y for _, y, _ in inside) - layout.TITLE_HEIGHT
        right, bottom = max(x for x, _, _ in inside) + layout.NODE_WIDTH, max(y + height for _, y, height in inside)
        x, y = left - GROUP_PADDING, top - GROUP_TITLE_HEIGHT
        groups.append(
            {
                "id": len(groups) + 1,
                "title": role,
                "bounding": [x, y, right - x + GROUP_PADDING, bottom - y + layout.BADGE_HEIGHT + GROUP_PADDING],
                "color": color,
                "font_size": 20,
                "flags": {},
            }
        )
    return groups
