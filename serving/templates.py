"""The bundled workflows: one request per mode of the endpoints, written in API and in canvas form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..pipelines.settings import DEFAULT_REFINER, DEFAULT_STYLES
from ..pipelines.types import Lora
from .canvas import to_canvas
from .request import OFFSET_LORA, ApiGraph, TextToImage, UpscaleOrVary, graph_of

PROMPT = "a large red circle on a yellow background"


@dataclass(frozen=True)
class Template:
    """One bundled workflow: its mode in the endpoints' matrix, file stem, and words for the list and the note."""

    mode: str
    name: str
    title: str
    description: str
    request: TextToImage

    @property
    def graph(self) -> ApiGraph:
        return graph_of(self.request)


FIVE_LORAS = (
    OFFSET_LORA,
    Lora("SDXL_FILM_PHOTOGRAPHY_STYLE_V1.safetensors", 0.25),
    Lora("sd_xl_offset_example-lora_1.0.safetensors", 0.2),
    Lora("SDXL_FILM_PHOTOGRAPHY_STYLE_V1.safetensors", 0.15),
    Lora("sd_xl_offset_example-lora_1.0.safetensors", -0.1),
)

TEMPLATES = (
    Template(
        "B01",
        "text-to-image-extreme-speed",
        "Text to image, Extreme Speed",
        "Eight LCM steps without guidance: the hosted endpoint's defaults.",
        TextToImage(PROMPT),
    ),
    Template(
        "B02",
        "text-to-image-lightning",
        "Text to image, Lightning",
        "Four steps with the Lightning LoRA, without guidance.",
        TextToImage(PROMPT, performance="Lightning"),
    ),
    Template(
        "B03",
        "text-to-image-speed",
        "Text to image, Speed",
        "Thirty steps; guidance, sharpness and the negative prompt count.",
        TextToImage(PROMPT, performance="Speed"),
    ),
    Template(
        "B04",
        "text-to-image-quality",
        "Text to image, Quality",
        "Sixty steps; guidance, sharpness and the negative prompt count.",
        TextToImage(PROMPT, performance="Quality"),
    ),
    Template(
        "B05",
        "text-to-image-refiner",
        "Text to image with an SD 1.5 refiner",
        "The base draws two fifths of the steps; the refiner finishes on latents of its own.",
        TextToImage(PROMPT, performance="Speed", refiner=DEFAULT_REFINER, refiner_switch=0.4),
    ),
    Template(
        "B06",
        "text-to-image-five-loras",
        "Text to image, five LoRAs",
        "A stack of five LoRAs, each with its weight.",
        TextToImage(PROMPT, loras=FIVE_LORAS),
    ),
    Template(
        "B07",
        "text-to-image-styles-only",
        "Text to image, styles without expansion",
        "Styles are applied, and the prompt is not expanded.",
        TextToImage(PROMPT, styles=DEFAULT_STYLES[1:]),
    ),
    Template(
        "B08",
        "text-to-image-no-styles",
        "Text to image, no styles",
        "The prompt as it is: no styles, no expansion.",
        TextToImage(PROMPT, styles=()),
    ),
    Template(
        "B09",
        "text-to-image-four-images",
        "Text to image, four images",
        "Four pictures from four seeds in a row.",
        TextToImage(PROMPT, num_images=4, seed=176400),
    ),
    Template(
        "U01",
        "vary-subtle",
        "Vary (Subtle)",
        "Half of the picture is drawn anew.",
        UpscaleOrVary(PROMPT, method="Vary (Subtle)"),
    ),
    Template(
        "U02",
        "vary-strong",
        "Vary (Strong)",
        "Most of the picture is drawn anew: the hosted endpoint's default.",
        UpscaleOrVary(PROMPT),
    ),
    Template(
        "U03",
        "upscale-1.5x",
        "Upscale (1.5x)",
        "The network enlarges, and the model draws the details over, in tiles.",
        UpscaleOrVary(PROMPT, method="Upscale (1.5x)"),
    ),
    Template(
        "U04",
        "upscale-2x",
        "Upscale (2x)",
        "The network enlarges, and the model draws the details over, in tiles.",
        UpscaleOrVary(PROMPT, method="Upscale (2x)"),
    ),
    Template(
        "U05",
        "upscale-fast-2x",
        "Upscale (Fast 2x)",
        "The network alone: no checkpoint, no prompt, nothing drawn anew.",
        UpscaleOrVary(PROMPT, method="Upscale (Fast 2x)"),
    ),
    Template(
        "U09",
        "vary-refiner",
        "Vary with an SD 1.5 refiner",
        "At this strength only one of the two models runs; here it is the refiner.",
        UpscaleOrVary(PROMPT, method="Vary (Subtle)", performance="Speed", refiner=DEFAULT_REFINER, refiner_switch=0.4),
    ),
)


def files(registry: Mapping[str, Any], version: str) -> dict[str, str]:
    """Every bundled file's text by its path below workflows/: NAME.json for the canvas, api/NAME.json to run."""
    written = {}
    for template in TEMPLATES:
        about = {"mode": template.mode, "title": template.title, "description": template.description}
        canvas = to_canvas(template.graph, registry, template.name, version, about)
        written[f"{template.name}.json"] = as_text(canvas)
        written[f"api/{template.name}.json"] = as_text(template.graph)
    return written


def as_text(data: Any) -> str:
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def write(folder: Path, registry: Mapping[str, Any], version: str) -> list[Path]:
    """Write the bundled files below `folder`; returns their paths."""
    paths = []
    for name, text in files(registry, version).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths
