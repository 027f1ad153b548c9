"""API graph to the canvas's own format and back: places, sizes, links, widget values, groups and a note.

The canvas format is that of schema version 0.4: links [id, from, slot, to, slot, type], widget values by position.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from ..engine.graph import is_link
from .graph_builder import ApiGraph

COLUMN_GAP, ROW_GAP, NODE_WIDTH = 100, 70, 300

# Where a person looks for a node: its column, and the height at which its column's stack begins or goes on. Settings
# lie on top, the prompt in the middle, the model below, so that wires run between the nodes and not behind them.
SECTIONS: tuple[tuple[str, tuple[tuple[str, int], ...]], ...] = (
    (
        "Settings",
        (
            ("FooocusPreset", 0),
            ("FooocusReadInfo", 0),
            ("FooocusSamplingSettings", 0),
            ("FooocusLora", 0),
            ("FooocusLoraStack", 0),
            ("FooocusLoadRefiner", 0),
        ),
    ),
    (
        "Performance and styles",
        (
            ("FooocusPerformance", 0),
            ("FooocusStyles", 280),
            ("FooocusExpandPrompt", 620),
            ("FooocusInpaintPrompt", 620),
        ),
    ),
    ("Prompt and checkpoint", (("FooocusPrompt", 210), ("FooocusLoadCheckpoint", 720))),
    (
        "Model and picture",
        (
            ("FooocusApplyLoras", 340),
            ("FooocusRefinerSwitch", 540),
            ("LoadImage", 780),
            ("LoadImageMask", 780),
            ("FooocusLoadUpscaler", 1180),
            ("FooocusLoadControl", 1180),
            ("FooocusLoadImagePrompt", 1180),
            ("FooocusMaskThreshold", 1180),
            ("FooocusMaskCombine", 1180),
            ("FooocusMaskGrow", 1180),
            ("FooocusMaskInvert", 1180),
        ),
    ),
    (
        "Text and size",
        (
            ("FooocusEncodePrompt", 100),
            ("FooocusAspectRatio", 450),
            ("FooocusVary", 450),
            ("FooocusUpscaleSize", 450),
            ("FooocusInpaint", 450),
            ("FooocusInpaintModel", 450),
            ("FooocusOutpaintPad", 780),
            ("FooocusInpaintCrop", 780),
            ("FooocusInpaintFill", 780),
            ("FooocusInpaintEncode", 780),
            ("FooocusPyraCanny", 780),
            ("FooocusCpds", 780),
            ("FooocusFaceCrop", 780),
            ("FooocusControl", 1000),
            ("FooocusImagePrompt", 1000),
        ),
    ),
    (
        "Sampling",
        (("FooocusScheduler", 0), ("FooocusSampler", 220), ("FooocusUpscale", 220), ("FooocusUpscaleImage", 700)),
    ),
    ("Decoding", (("FooocusVaeDecode", 640), ("FooocusVaeEncode", 860), ("FooocusInpaintPaste", 860))),
    ("Saving", (("FooocusSaveImage", 540),)),
)
SEED_CONTROL, UPLOAD = "fixed", "image"
GROUP_COLORS = ("#3f789e", "#8A8", "#b58b2a", "#a1309b", "#88A", "#3f789e", "#8A8", "#b58b2a")
WIDGET_TYPES = ("INT", "FLOAT", "STRING", "BOOLEAN")


def to_canvas(
    graph: ApiGraph, registry: Mapping[str, Any], name: str, version: str, about: Mapping[str, str]
) -> dict[str, Any]:
    """The canvas form of an API graph. `about`: mode, title and description, shown in a note and kept in `extra`."""
    places = arrange(graph, registry)
    links: list[list[Any]] = []
    nodes = [_canvas_node(graph, registry, node_id, places[node_id], order, links, version)
             for order, node_id in enumerate(in_order(graph))]  # fmt: skip
    by_id = {node["id"]: node for node in nodes}
    for link_id, source, slot, target, target_slot, _ in links:
        by_id[source]["outputs"][slot]["links"].append(link_id)
        by_id[target]["inputs"][target_slot]["link"] = link_id
    note = _note(about, max(by_id) + 1, version, paints_a_mask(graph))
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"fooocus-stages/{name}")),
        "revision": 0,
        "last_node_id": note["id"],
        "last_link_id": len(links),
        "nodes": [*sorted(nodes, key=lambda n: n["id"]), note],
        "links": links,
        "groups": _groups(nodes),
        "config": {},
        "extra": {"fooocus_stages": dict(about), "ds": {"scale": 0.6, "offset": [60, 260]}},
        "version": 0.4,
    }


def to_api(canvas: Mapping[str, Any], registry: Mapping[str, Any]) -> ApiGraph:
    """The API form of a canvas file of ours, as the page's own export gives it."""
    sources = {link[0]: [str(link[1]), link[2]] for link in canvas["links"]}
    graph: ApiGraph = {}
    for node in canvas["nodes"]:
        if node["type"] not in registry:
            continue
        values = iter(node["widgets_values"])
        inputs: dict[str, Any] = {}
        linked = {i["name"]: i["link"] for i in node["inputs"]}
        for name, declared in declared_inputs(registry[node["type"]]):
            if is_widget(declared):
                value = next(values)
                if has_seed_control(name, declared):
                    next(values)
                inputs[name] = value
            if linked.get(name) is not None:
                inputs[name] = sources[linked[name]]
        graph[str(node["id"])] = {"class_type": node["type"], "inputs": inputs, "_meta": {"title": node["title"]}}
    return graph


def in_order(graph: ApiGraph) -> list[str]:
    """Node ids, every node after those it takes from."""
    depth = depths(graph)
    return sorted(graph, key=lambda node_id: (depth[node_id], int(node_id)))


def depths(graph: ApiGraph) -> dict[str, int]:
    """Length of the longest path of links that ends in each node."""
    found: dict[str, int] = {}

    def depth(node_id: str) -> int:
        if node_id not in found:
            found[node_id] = 1 + max((depth(v[0]) for v in graph[node_id]["inputs"].values() if is_link(v)), default=-1)
        return found[node_id]

    for node_id in graph:
        depth(node_id)
    return found


def arrange(graph: ApiGraph, registry: Mapping[str, Any]) -> dict[str, tuple[list[int], list[int]]]:
    """Position and size of every node: in the column of its section, below those that stand there already."""
    free = [0] * len(SECTIONS)
    placed: dict[str, tuple[list[int], list[int]]] = {}
    for column, (_, rows) in enumerate(SECTIONS):
        for class_type, top in rows:
            for node_id in (i for i in graph if graph[i]["class_type"] == class_type):
                size = size_of(registry[class_type])
                y = max(free[column], top)
                placed[node_id] = ([column * (NODE_WIDTH + COLUMN_GAP), y], size)
                free[column] = y + size[1] + ROW_GAP
    return placed


def size_of(node: Any) -> list[int]:
    """Width and height in canvas units that show every socket and widget of a node class."""
    declared = declared_inputs(node)
    sockets = max(sum(not is_widget(d) for _, d in declared), len(node.RETURN_TYPES))
    height = 20 * sockets + 16
    for name, d in declared:
        if is_widget(d):
            picture = 220 if d[1].get("image_upload") else 0
            height += picture + (110 if d[1].get("multiline") else 48 if has_seed_control(name, d) else 24)
    return [NODE_WIDTH, max(height, 60)]


def declared_inputs(node: Any) -> list[tuple[str, tuple[Any, dict[str, Any]]]]:
    """(name, (type, options)) of a node class, required before optional."""
    types = node.INPUT_TYPES()
    declared = {**types.get("required", {}), **types.get("optional", {})}
    return [(name, (kind, *options) if options else (kind, {})) for name, (kind, *options) in declared.items()]


def is_widget(declared: tuple[Any, dict[str, Any]]) -> bool:
    """Whether an input has a widget on the canvas."""
    kind, options = declared
    return (isinstance(kind, list) or kind in WIDGET_TYPES) and not options.get("forceInput")


def has_seed_control(name: str, declared: tuple[Any, dict[str, Any]]) -> bool:
    """Whether the page adds a control-after-generate value behind an input's own."""
    return declared[0] == "INT" and (name in ("seed", "noise_seed") or bool(declared[1].get("control_after_generate")))


def _canvas_node(
    graph: ApiGraph,
    registry: Mapping[str, Any],
    node_id: str,
    place: tuple[list[int], list[int]],
    order: int,
    links: list[list[Any]],
    version: str,
) -> dict[str, Any]:
    class_type, given = graph[node_id]["class_type"], graph[node_id]["inputs"]
    node = registry[class_type]
    optional = node.INPUT_TYPES().get("optional", {})
    inputs: list[dict[str, Any]] = []
    values: list[Any] = []
    for name, declared in declared_inputs(node):
        kind = "COMBO" if isinstance(declared[0], list) else declared[0]
        socket: dict[str, Any] = {"name": name, "type": kind, "link": None}
        if name in optional:
            socket["shape"] = 7
        if is_widget(declared):
            socket["widget"] = {"name": name}
            linked = is_link(given.get(name))
            values.append(declared[1]["default"] if linked else given[name])
            if has_seed_control(name, declared):
                values.append(SEED_CONTROL)
        if is_link(given.get(name)):
            source, slot = given[name]
            kind = registry[graph[source]["class_type"]].RETURN_TYPES[slot]
            links.append([len(links) + 1, int(source), slot, int(node_id), len(inputs), kind])
        inputs.append(socket)
    if any(declared[1].get("image_upload") for _, declared in declared_inputs(node)):
        values.append(UPLOAD)  # the page's upload button, behind all other widgets
    names = getattr(node, "RETURN_NAMES", node.RETURN_TYPES)
    position, size = place
    return {
        "id": int(node_id),
        "type": class_type,
        "pos": position,
        "size": size,
        "flags": {},
        "order": order,
        "mode": 0,
        "inputs": inputs,
        "outputs": [{"name": n, "type": t, "links": []} for n, t in zip(names, node.RETURN_TYPES, strict=True)],
        "title": graph[node_id].get("_meta", {}).get("title", class_type),
        "properties": {"Node name for S&R": class_type, **_origin(class_type, version)},
        "widgets_values": values,
    }


def _origin(class_type: str, version: str) -> dict[str, str]:
    """Which pack the page's manager should look in for a node."""
    return (
        {"cnr_id": "fooocus-stages", "ver": version} if class_type.startswith("Fooocus") else {"cnr_id": "comfy-core"}
    )


def paints_a_mask(graph: ApiGraph) -> bool:
    """Whether the mask of a picture that is loaded, painted in ComfyUI's mask editor, is used."""
    inputs = (value for node in graph.values() for value in node["inputs"].values())
    return any(is_link(value) and graph[value[0]]["class_type"] == "LoadImage" and value[1] == 1 for value in inputs)


def _note(about: Mapping[str, str], node_id: int, version: str, mask: bool) -> dict[str, Any]:
    text = (
        f"## {about['title']}\n\n{about['description']}\n\n"
        "Choose your SDXL checkpoint in the node *Checkpoint*, or `pocket`, the small model that comes with the "
        "pack: it draws coloured shapes and needs no download."
    )
    if mask:
        text += (
            "\n\nThe mask is painted into the picture: right-click the node *Picture to inpaint*, then *Open in "
            "MaskEditor*."
        )
    return {
        "id": node_id,
        "type": "MarkdownNote",
        "pos": [0, -290],
        "size": [2 * NODE_WIDTH + COLUMN_GAP, 160],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "title": about["title"],
        "properties": {"ver": version},
        "widgets_values": [text],
        "color": "#432",
        "bgcolor": "#653",
    }


def _groups(nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A titled frame round the nodes of each section."""
    groups: list[dict[str, Any]] = []
    for column, (title, _) in enumerate(SECTIONS):
        x = column * (NODE_WIDTH + COLUMN_GAP)
        inside = [node for node in nodes if node["pos"][0] == x]
        if not inside:
            continue
        top = min(node["pos"][1] for node in inside)
        bottom = max(node["pos"][1] + node["size"][1] for node in inside)
        groups.append(
            {
                "id": len(groups) + 1,
                "title": f"{len(groups) + 1} · {title}",
                "bounding": [x - 20, top - 85, NODE_WIDTH + 40, bottom - top + 105],
                "color": GROUP_COLORS[column],
                "font_size": 20,
                "flags": {},
            }
        )
    return groups
