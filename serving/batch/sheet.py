"""Contact sheets: small pictures of a batch's results with their ids."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

from ...pipelines.files import new_file

FOLDER = "sheets"
COLUMNS, ROWS = 8, 10
SIDE, CAPTION, GAP = 160, 16, 8
BACKGROUND, INK = "white", "black"
LONGEST_CAPTION = 26


def write_sheets(
    folder: Path, results: Sequence[tuple[str, Sequence[str]]], on_notice: Callable[[str], None]
) -> list[Path]:
    """Write the result pictures below `folder` onto sheets, and return their paths. Earlier sheets are replaced.

    `results`: id and file names of each request. A file that is no picture is left out with a notice. Raises UserError
    for the disk.
    """
    named = [(id, folder / name) for id, names in results for name in names]
    for path in (folder / FOLDER).glob("sheet-*.jpg"):
        path.unlink()
    pages = range(0, len(named), COLUMNS * ROWS)
    return [
        _save(_sheet(named[start : start + COLUMNS * ROWS], on_notice), folder / FOLDER, f"sheet-{number:03}.jpg")
        for number, start in enumerate(pages, start=1)
    ]


def _sheet(named: Sequence[tuple[str, Path]], on_notice: Callable[[str], None]) -> Image.Image:
    columns = min(COLUMNS, len(named))
    rows = -(-len(named) // columns)
    width, height = SIDE + GAP, SIDE + CAPTION + GAP
    sheet = Image.new("RGB", (columns * width + GAP, rows * height + GAP), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for number, (id, path) in enumerate(named):
        x, y = GAP + number % columns * width, GAP + number // columns * height
        try:
            with Image.open(path) as picture:
                small = ImageOps.contain(picture.convert("RGB"), (SIDE, SIDE))
        except (OSError, Image.DecompressionBombError) as error:
            on_notice(f"{path.name} is not on the contact sheet: {error}")
            continue
        sheet.paste(small, (x + (SIDE - small.width) // 2, y + (SIDE - small.height) // 2))
        caption = id if len(id) <= LONGEST_CAPTION else f"{id[: LONGEST_CAPTION - 3]}..."
        draw.text((x, y + SIDE), caption.encode("latin-1", "replace").decode("latin-1"), INK)
    return sheet


def _save(sheet: Image.Image, folder: Path, name: str) -> Path:
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=90)
    with new_file(folder, "a contact sheet") as file:
        file.write(buffer.getbuffer())
        return file.keep([name])
