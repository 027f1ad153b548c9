"""`nodes`: lists the nodes of the pack and the ComfyUI nodes that the command line provides."""

from __future__ import annotations

import argparse

from ...nodes import NODE_DISPLAY_NAME_MAPPINGS
from ..console import Console
from .common import OK, REGISTRY, Commands, add_command, show


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    add_command(commands, "nodes", list_nodes, "list the nodes")


def list_nodes(options: argparse.Namespace, console: Console) -> int:
    """Print the id, title, category and description of each node."""
    rows = [
        {
            "id": name,
            "title": NODE_DISPLAY_NAME_MAPPINGS.get(name, name),
            "category": node.CATEGORY,
            "description": node.DESCRIPTION,
        }
        for name, node in REGISTRY.items()
    ]
    columns = ("id", "title", "category")
    widths = [max(len(row[column]) for row in rows) for column in columns]
    lines = [
        "  ".join([*(f"{row[c]:{w}}" for c, w in zip(columns, widths, strict=True)), row["description"]])
        for row in rows
    ]
    show(options, rows, lines)
    return OK
