"""The files of the bundled workflows, written from their requests in API and in canvas form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...pipelines.files import replace_whole
from .blueprints import BLUEPRINTS
from .building_blocks import BUILDING_BLOCKS, BuildingBlock
from .canvas import to_canvas
from .catalogue import TEMPLATES, Template
from .graph_builder import ApiGraph
from .model_files import DownloadOf
from .native_models import NATIVE_WORKFLOWS
from .node_inputs import declared_inputs, is_widget
from .subgraph import to_blueprint

BUNDLED: tuple[Template | BuildingBlock, ...] = (*TEMPLATES, *BUILDING_BLOCKS, *NATIVE_WORKFLOWS)


def files(registry: Mapping[str, Any], version: str, download_link: DownloadOf) -> dict[str, str]:
    """The text of every bundled file by its path below workflows/: NAME.json for the canvas, api/NAME.json to run."""
    written = {}
    for template in BUNDLED:
        about = {"mode": template.mode, "title": template.title, "description": template.description}
        graph = completed(template.graph, registry)
        canvas = to_canvas(graph, registry, template.name, version, about, download_link)
        written[f"{template.name}.json"] = as_text(canvas)
        written[f"api/{template.name}.json"] = as_text(graph)
    return written


def blueprint_files(registry: Mapping[str, Any], version: str, download_link: DownloadOf) -> dict[str, str]:
    """The text of every subgraph blueprint by its path below subgraphs/; the page shows the stem as its name."""
    return {
        f"{blueprint.title}.json": as_text(
            to_blueprint(blueprint, completed(blueprint.graph, registry), registry, version, download_link)
        )
        for blueprint in BLUEPRINTS
    }


def completed(graph: ApiGraph, registry: Mapping[str, Any]) -> ApiGraph:
    """The graph with the default of every optional widget that it leaves out, as the page's own export gives it."""
    return {
        node_id: {**node, "inputs": {**node["inputs"], **unset_widgets(node, registry[node["class_type"]])}}
        for node_id, node in graph.items()
    }


def unset_widgets(node: Mapping[str, Any], declaration: Any) -> dict[str, Any]:
    """The optional widgets that a node leaves out, with their defaults."""
    optional = declaration.INPUT_TYPES().get("optional", {})
    return {
        name: declared[1]["default"]
        for name, declared in declared_inputs(declaration)
        if name in optional and name not in node["inputs"] and is_widget(declared)
    }


def as_text(data: Any) -> str:
    """JSON as it is committed."""
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def write(folder: Path, registry: Mapping[str, Any], version: str, download_link: DownloadOf) -> list[Path]:
    """Write the bundled files below workflows/ and subgraphs/ of `folder`, each whole, and return their paths.
    Raises UserError."""
    texts = {
        **{f"workflows/{name}": text for name, text in files(registry, version, download_link).items()},
        **{f"subgraphs/{name}": text for name, text in blueprint_files(registry, version, download_link).items()},
    }
    return [replace_whole(folder / name, text.encode(), "a workflow file") for name, text in texts.items()]
