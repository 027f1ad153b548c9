"""The files of the bundled workflows, written from their requests in API and in canvas form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .building_blocks import BUILDING_BLOCKS, BuildingBlock
from .canvas import DownloadOf, to_canvas
from .catalogue import TEMPLATES, Template

BUNDLED: tuple[Template | BuildingBlock, ...] = (*TEMPLATES, *BUILDING_BLOCKS)


def files(registry: Mapping[str, Any], version: str, download_of: DownloadOf) -> dict[str, str]:
    """The text of every bundled file by its path below workflows/: NAME.json for the canvas, api/NAME.json to run."""
    written = {}
    for template in BUNDLED:
        about = {"mode": template.mode, "title": template.title, "description": template.description}
        canvas = to_canvas(template.graph, registry, template.name, version, about, download_of)
        written[f"{template.name}.json"] = as_text(canvas)
        written[f"api/{template.name}.json"] = as_text(template.graph)
    return written


def as_text(data: Any) -> str:
    """JSON as it is committed."""
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def write(folder: Path, registry: Mapping[str, Any], version: str, download_of: DownloadOf) -> list[Path]:
    """Write the bundled files below `folder`; returns their paths."""
    paths = []
    for name, text in files(registry, version, download_of).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths
