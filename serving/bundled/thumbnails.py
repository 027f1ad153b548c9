"""Thumbnails of the bundled workflows: the images that go in beside those that come out."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from ..engine.graph import is_link
from .graph_builder import ApiGraph

SIZE = (512, 320)
MARGIN, GAP, TITLE_HEIGHT = 12, 8, 44
BACKGROUND, TEXT, ARROW, MASKED = "#1b1d22", "#f2f2f2", "#8f96a3", (255, 64, 64)
QUALITY = 85
SHOWN = {"FooocusPyraCanny": 0, "FooocusCpds": 0, "FooocusFaceCrop": 0, "FooocusInpaintFill": 0}
"""Nodes that prepare an image that a person should see, and the output that holds it."""

Run = Callable[[ApiGraph], Mapping[str, Mapping[str, Sequence[Path]]]]
"""Runs a graph: node id -> 'images' -> the files that the node saved."""


def thumbnail(graph: ApiGraph, title: str, find: Callable[[str], Path], run: Run) -> bytes:
    """The thumbnail of a workflow as JPEG. `find`: the file of an input image by its name."""
    whole, previews = with_previews(graph)
    saved = run(whole)
    made = {node_id: [_opened(path) for path in shown["images"]] for node_id, shown in saved.items()}
    prepared = [image for node_id in previews if node_id in made for image in made[node_id]]
    results = [image for node_id, images in made.items() if node_id not in previews for image in images]
    return composed([*inputs_of(graph, find), *prepared], results, title)


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
    linked = (value for node in graph.values() for value in node["inputs"].values() if is_link(value))
    uses_own = any(graph[source]["class_type"] == "LoadImage" and slot == 1 for source, slot in linked)
    return [_masked(find(name), find(masks[0]) if masks else None, uses_own) for name in names]


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


def composed(inputs: Sequence[Image.Image], results: Sequence[Image.Image], title: str) -> bytes:
    """Inputs on the left, an arrow, results on the right, and the title below."""
    sheet = Image.new("RGB", SIZE, BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    height = SIZE[1] - TITLE_HEIGHT - MARGIN
    if inputs:
        side = (SIZE[0] - 2 * MARGIN - 40) // 2
        _place(sheet, inputs, (MARGIN, MARGIN, MARGIN + side, height))
        _place(sheet, results, (SIZE[0] - MARGIN - side, MARGIN, SIZE[0] - MARGIN, height))
        x, y = SIZE[0] // 2, (MARGIN + height) // 2
        draw.polygon([(x - 9, y - 12), (x + 11, y), (x - 9, y + 12)], fill=ARROW)
    else:
        _place(sheet, results, (MARGIN, MARGIN, SIZE[0] - MARGIN, height))
    font = ImageFont.load_default(20)
    draw.text((SIZE[0] // 2, SIZE[1] - TITLE_HEIGHT // 2 - 4), title, fill=TEXT, font=font, anchor="mm")
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return buffer.getvalue()


def _place(sheet: Image.Image, images: Sequence[Image.Image], area: tuple[int, int, int, int]) -> None:
    """Images in one row, or in two from three on, as large as the area lets them be."""
    left, top, right, bottom = area
    rows = 1 if len(images) < 3 else 2
    columns = -(-len(images) // rows)
    width, height = (right - left - GAP * (columns - 1)) // columns, (bottom - top - GAP * (rows - 1)) // rows
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        scale = min(width / image.width, height / image.height)
        small = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
        x = left + column * (width + GAP) + (width - small.width) // 2
        y = top + row * (height + GAP) + (height - small.height) // 2
        sheet.paste(small, (x, y))


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
