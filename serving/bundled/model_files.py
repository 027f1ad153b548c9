"""Model files that the nodes of a graph name, for the page's list of missing models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...pipelines.settings import INPAINT_HEAD, INPAINT_PATCHES, MAX_LORAS, PERFORMANCES
from ..engine.graph import is_link
from .node_inputs import SHOWN_WHEN_LINKED

FILE_KINDS = {  # the models folder of the file that a widget names
    "ckpt_name": "checkpoints",
    "refiner_name": "checkpoints",
    "vae_name": "vae",
    "lora_name": "loras",
    **{f"lora_{slot + 1}": "loras" for slot in range(MAX_LORAS)},
    "upscaler_name": "upscale_models",
    "control_name": "controlnet",
    "adapter_name": "controlnet",
    "clip_vision_name": "clip_vision",
    "negative_name": "controlnet",
    "checker_name": "safety_checker",
}
DownloadOf = Callable[[str, str], Mapping[str, str] | None]
"""(kind, name) of a file -> name, url and directory of its download; None for a file that is not known."""


def model_files(node: Mapping[str, Any], download_link: DownloadOf) -> list[dict[str, str]]:
    """The known files that a node names or needs, each once, for the page's list of missing models."""
    shown = {name: SHOWN_WHEN_LINKED.get(name) if is_link(v) else v for name, v in node["inputs"].items()}
    given = {name: value for name, value in shown.items() if isinstance(value, str)}
    named = [(kind, given[widget]) for widget, kind in FILE_KINDS.items() if widget in given]
    if (mode := PERFORMANCES.get(given.get("performance", ""))) is not None and mode.lora:
        named.append(("loras", mode.lora))
    if patch := INPAINT_PATCHES.get(given.get("engine", "")):
        named += [("inpaint", INPAINT_HEAD), ("inpaint", patch)]
    found = [download_link(*file) for file in dict.fromkeys(named)]
    return [dict(download) for download in found if download is not None]
