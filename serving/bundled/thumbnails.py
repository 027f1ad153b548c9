"""Thumbnails of the bundled workflows: the images or the words that go in beside the images that come out."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from ...pipelines.settings import NO_STYLE
from .canvas import paints_a_mask
from .graph_builder import ApiGraph

SIZE = (512, 320)
MARGIN, GAP, TITLE_HEIGHT, ARROW_WIDTH = 12, 8, 44, 40
PANEL = (SIZE[0] // 2 - MARGIN - ARROW_WIDTH // 2, SIZE[1] - TITLE_HEIGHT - 2 * MARGIN)
LINE_HEIGHT, LINE_LETTERS = 20, 28
BACKGROUND, TEXT, ARROW, MASKED = "#1b1d22", "#f2f2f2", "#8f96a3", (255, 64, 64)
QUALITY = 85
SHOWN = {"FooocusPyraCanny": 0, "FooocusCpds": 0, "FooocusFaceCrop": 0, "FooocusInpaintFill": 0}
"""Nodes that prepare an image that a person should see, and the output that holds it."""

UNTOLD = {
    "CLIPTextEncode",
    "FooocusApplyLoras",
    "FooocusAspectRatio",
    "FooocusEncodePrompt",
    "FooocusLoadCheckpoint",
    "FooocusLora",
    "FooocusSampler",
    "FooocusSamplingSettings",
    "FooocusSaveImage",
    "FooocusVaeDecode",
    "SaveImage",
    "VAEDecode",
}
"""Nodes that text to image always has: their titles tell no workflow from another."""

Run = Callable[[ApiGraph], Mapping[str, Mapping[str, Sequence[Path]]]]
"""Runs a graph: node id -> 'images' -> the files that the node saved."""


def thumbnail(graph: ApiGraph, drawn: ApiGraph, title: str, find: Callable[[str], Path], run: Run) -> bytes:
    """The thumbnail of a workflow as JPEG. `drawn`: the graph that is run for it; `find`: an input image's file."""
    whole, previews = with_previews(drawn)
    saved = run(whole)
    made = {node_id: [_opened(path) for path in shown["images"]] for node_id, shown in saved.items()}
    prepared = [image for node_id in previews if node_id in made for image in made[node_id]]
    results = [image for node_id, images in made.items() if node_id not in previews for image in images]
    inputs = [*inputs_of(drawn, find), *prepared]
    left, right = side_by_side(inputs, results) if inputs else (card(words_of(graph)), panel(results, fit(results)))
    return composed(left, right, title)


def with_previews(graph: ApiGraph) -> tuple[ApiGraph, list[str]]:
    """The graph with a preview of each image that is prepared, and the ids of these previews."""
    whole, previews = dict(graph), []
    for node_id, node in graph.items():
        if (slot := SHOWN.get(node["class_type"])) is not None:
            preview = f"preview-{node_id}"
            whole[preview] = {"class_type": "PreviewImage", "inputs": {"images": [node_id, slot]}}
            previews.append(preview)
    return whole, previews


def inputs_of(graph: ApiGraph, find: Callable[[str], Path]) -> list[Image.Image]:
    """The images that a workflow loads, each once, with a mask that it uses drawn over its image in red."""
    names = dict.fromkeys(node["inputs"]["image"] for node in graph.values() if node["class_type"] == "LoadImage")
    masks = [node["inputs"]["image"] for node in graph.values() if node["class_type"] == "LoadImageMask"]
    uses_own = paints_a_mask(graph)
    return [_masked(find(name), find(masks[0]) if masks else None, uses_own) for name in names]


def words_of(graph: ApiGraph) -> list[str]:
    """What tells a workflow without images from others: its prompts, performance, styles, and nodes of its own."""
    lines = dict.fromkeys(line for node in graph.values() for line in _words(node["class_type"], node))
    return sorted(lines, key=lambda line: not line.startswith('"'))


def _words(class_type: str, node: Mapping[str, Any]) -> list[str]:
    inputs = node["inputs"]
    match class_type:
        case "FooocusPrompt" | "FooocusExpandPrompt":
            text, number = inputs.get("text"), inputs.get("num_images", 1)
            prompt = [f'"{text}"'] if isinstance(text, str) else []
            return [*prompt, *([f"{number} images"] if number != 1 else [])]
        case "FooocusPerformance":
            return [inputs["performance"]] if isinstance(inputs.get("performance"), str) else []
        case "FooocusStyles":
            chosen = [value for name, value in inputs.items() if name.startswith("style_") and value != NO_STYLE]
            return ["+ " + ", ".join(chosen)] if chosen else ["no styles"]
        case "FooocusLoraStack":
            return [f"{sum(name.startswith('lora_') for name in inputs)} LoRAs"]
        case _:
            return [] if class_type in UNTOLD else [node["_meta"]["title"]]


def card(lines: Sequence[str]) -> Image.Image:
    """Words on a panel, one line below the other."""
    wrapped = [part for line in lines for part in textwrap.wrap(line, LINE_LETTERS, subsequent_indent="  ")]
    sheet = Image.new("RGB", PANEL, BACKGROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    top = (sheet.height - LINE_HEIGHT * len(wrapped)) // 2
    for number, line in enumerate(wrapped):
        draw.text((0, top + number * LINE_HEIGHT), line, fill=TEXT, font=font)
    return sheet


def _masked(path: Path, mask: Path | None, uses_own: bool) -> Image.Image:
    with Image.open(path) as file:
        whole: Image.Image = file.convert("RGBA")
    if mask is not None:
        with Image.open(mask) as file:
            hole: Image.Image = file.convert("RGB").getchannel("R")
    elif uses_own:
        hole = whole.getchannel("A").point([255 - value for value in range(256)])
    else:
        hole = Image.new("L", whole.size)
    plain: Image.Image = whole.convert("RGB")
    marked: Image.Image = Image.composite(Image.blend(plain, Image.new("RGB", plain.size, MASKED), 0.6), plain, hole)
    return marked


def side_by_side(inputs: Sequence[Image.Image], results: Sequence[Image.Image]) -> tuple[Image.Image, Image.Image]:
    """A panel of inputs and one of results. One image on each side: both to the same scale, so that growth shows."""
    scales = fit(inputs), fit(results)
    if len(inputs) == len(results) == 1:
        scales = (min(scales), min(scales))
    return panel(inputs, scales[0]), panel(results, scales[1])


def fit(images: Sequence[Image.Image]) -> float:
    """The scale at which each of the images fits its cell of a panel."""
    width, height = _cell(len(images))
    return min(min(width / image.width, height / image.height) for image in images)


def panel(images: Sequence[Image.Image], scale: float) -> Image.Image:
    """Images on a panel in one row, or in two from three on, at a scale."""
    sheet = Image.new("RGB", PANEL, BACKGROUND)
    (width, height), columns = _cell(len(images)), _columns(len(images))
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        small = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
        x = column * (width + GAP) + (width - small.width) // 2
        y = row * (height + GAP) + (height - small.height) // 2
        sheet.paste(small, (x, y))
    return sheet


def _columns(count: int) -> int:
    return count if count < 3 else -(-count // 2)


def _cell(count: int) -> tuple[int, int]:
    """Width and height that each of some images has on a panel."""
    columns, rows = _columns(count), 1 if count < 3 else 2
    return (PANEL[0] - GAP * (columns - 1)) // columns, (PANEL[1] - GAP * (rows - 1)) // rows


def composed(left: Image.Image, right: Image.Image, title: str) -> bytes:
    """A panel on the left, an arrow, a panel on the right, and the title below, as JPEG."""
    sheet = Image.new("RGB", SIZE, BACKGROUND)
    sheet.paste(left, (MARGIN, MARGIN))
    sheet.paste(right, (SIZE[0] - MARGIN - PANEL[0], MARGIN))
    draw = ImageDraw.Draw(sheet)
    x, y = SIZE[0] // 2, MARGIN + PANEL[1] // 2
    draw.polygon([(x - 9, y - 12), (x + 11, y), (x - 9, y + 12)], fill=ARROW)
    font = ImageFont.load_default(20)
    draw.text((SIZE[0] // 2, SIZE[1] - TITLE_HEIGHT // 2 - 4), title, fill=TEXT, font=font, anchor="mm")
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return buffer.getvalue()


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as file:
        opened: Image.Image = file.convert("RGB")
    return opened


def saved_files(ui: Mapping[str, Any], folder: Callable[[Any], Path]) -> dict[str, dict[str, list[Path]]]:
    """The files behind the UI output of a run: node id -> 'images' -> paths."""
    return {
        node_id: {"images": [folder(i["type"]) / i["subfolder"] / i["filename"] for i in shown.get("images", [])]}
        for node_id, shown in ui.items()
    }
