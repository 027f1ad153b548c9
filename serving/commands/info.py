"""`info`: the generation parameters in an image file."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...pipelines import stages
from ...pipelines.errors import MissingFile
from ..console import Console
from .common import OK, Commands, add_command, add_host_options, host_of, show

EMPTY: tuple[Any, ...] = (None, "", (), [])
DEFAULTS = {"overwrite_switch": -1, "refiner_swap_method": "joint"}  # not shown


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    info = add_command(commands, "info", show_info, "show the generation parameters in an image file")
    info.add_argument("picture", type=Path, metavar="PICTURE", help="a png, jpeg or webp file")
    add_host_options(info)


def show_info(options: argparse.Namespace, console: Console) -> int:
    """Print the parameters that were read, and with --json also the text and the parts that could not be read."""
    if not options.picture.is_file():
        fault = "is a folder" if options.picture.is_dir() else "does not exist"
        raise MissingFile(f"picture {str(options.picture)!r} {fault}; name an image file")
    reading = stages.from_picture.reading_of(host_of(options, console), options.picture)
    values = {key: value for key, value in asdict(reading.info).items() if _is_informative(key, value)}
    lines = [f"scheme: {reading.scheme}", *(f"{key}: {_shown(value)}" for key, value in values.items())]
    data = {"scheme": reading.scheme, "info": values, "left_out": list(reading.left_out), "text": reading.text}
    data["notices"] = console.notices
    show(options, data, lines)
    return OK


def _is_informative(key: str, value: object) -> bool:
    """Return whether a value is neither unknown nor the default."""
    return value not in EMPTY and value != DEFAULTS.get(key, EMPTY)


def _shown(value: object) -> str:
    """Format a value on one line; the further lines of a text are indented."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {part}" for key, part in value.items())
    if isinstance(value, tuple) and value and isinstance(value[0], dict):
        return ", ".join(f"{lora['name']} {lora['weight']:g}" for lora in value)
    text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return text.replace("\n", "\n  ")
