"""Reading workflow files: bundled ones by name, others by path."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...pipelines.errors import BadFile, BadGraph, MissingFile, did_you_mean

BUNDLED = Path(__file__).resolve().parents[2] / "workflows"
EXPORT = "export it in ComfyUI with Workflow > Export (API)"


@dataclass(frozen=True)
class About:
    """The name, title, description and mode of a bundled workflow."""

    name: str
    title: str
    description: str
    mode: str


def bundled(folder: Path = BUNDLED) -> list[About]:
    """The bundled workflows in API format, described by the texts in their canvas files."""
    return [_about(folder, path.stem) for path in sorted((folder / "api").glob("*.json"))]


def _about(folder: Path, name: str) -> About:
    try:
        extra = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))["extra"]["fooocus_stages"]
    except (OSError, ValueError, KeyError, TypeError):
        extra = {}
    return About(name, extra.get("title", name), extra.get("description", ""), extra.get("mode", ""))


def read_workflow(name: str, folder: Path = BUNDLED) -> dict[str, Any]:
    """Read the API graph of a file, or of the bundled workflow of that name."""
    path = Path(name)
    if not path.is_file():
        path = folder / "api" / f"{name.removesuffix('.json')}.json"
    if not path.is_file():
        names = [about.name for about in bundled(folder)]
        longer = [known for known in names if known.startswith(name)]
        near = f" (there are {', '.join(map(repr, longer))})" if longer else did_you_mean(name, names)
        raise MissingFile(
            f"workflow {name!r} is neither a file nor bundled{near}; 'fooocus-stages workflows' lists the bundled ones"
        )
    return api_graph(_json(path), path)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BadFile(f"{path} can't be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{path} is not a workflow file: {error}; {EXPORT}") from error


def api_graph(data: Any, path: Path) -> dict[str, Any]:
    """The graph in a workflow file's data; a queue item's `prompt` counts. BadGraph for the canvas format."""
    if isinstance(data, dict) and isinstance(data.get("prompt"), dict) and "class_type" not in data["prompt"]:
        data = data["prompt"]
    if isinstance(data, dict) and isinstance(data.get("nodes"), list):
        twin = path.parent / "api" / path.name
        way_out = f"run {twin} instead" if twin.is_file() else EXPORT
        raise BadGraph(f"{path} is in the format of the canvas, which only ComfyUI can run; {way_out}")
    nodes = data.values() if isinstance(data, dict) else ()
    if not nodes or not all(isinstance(n, dict) and isinstance(n.get("inputs", {}), dict) for n in nodes):
        raise BadGraph(f"{path} is not a workflow in API format, which maps node ids to nodes; {EXPORT}")
    return dict(data)
