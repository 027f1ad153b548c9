"""The nodes' help pages and the table of nodes, written from their declarations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .canvas import declared_inputs

TABLE_START, TABLE_END = "<!-- nodes -->\n", "<!-- /nodes -->"


def files(registry: Mapping[str, Any], titles: Mapping[str, str]) -> dict[str, str]:
    """Every help page by its path below web/: docs/NODE.md, which ComfyUI shows behind a node's (i) button."""
    return {f"docs/{node_id}.md": page(titles[node_id], node) for node_id, node in registry.items()}


def page(title: str, node: Any) -> str:
    """The help page of one node class."""
    optional = node.INPUT_TYPES().get("optional", {})
    inputs = [
        f"| {name} | {kind_of(declared)}{', optional' if name in optional else ''} | {declared[1]['tooltip']} |"
        for name, declared in declared_inputs(node)
    ]
    outputs = [
        f"| {name} | {kind} | {tooltip} |"
        for name, kind, tooltip in zip(node.RETURN_NAMES, node.RETURN_TYPES, node.OUTPUT_TOOLTIPS, strict=True)
    ]
    parts = [f"# {title}", "", node.DESCRIPTION, ""]
    for heading, rows in (("Input", inputs), ("Output", outputs)):
        if rows:
            parts += [f"| {heading} | Type | What it is |", "|---|---|---|", *rows, ""]
    return "\n".join(parts)


def kind_of(declared: tuple[Any, dict[str, Any]]) -> str:
    """The type of an input with its range, in words."""
    kind, options = declared
    if isinstance(kind, list):
        return "choice"
    return f"{kind} {options['min']} … {options['max']}" if "min" in options else str(kind)


def table(registry: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    """The table of nodes, for the README."""
    rows = [f"| {titles[i]} | {n.CATEGORY.removeprefix('Fooocus/')} | {n.DESCRIPTION} |" for i, n in registry.items()]
    return "\n".join(["| node | menu | what it does |", "|---|---|---|", *rows, ""])


def with_table(readme: str, registry: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    """A README with the table between its two marks made anew."""
    before, rest = readme.split(TABLE_START, 1)
    return before + TABLE_START + table(registry, titles) + TABLE_END + rest.split(TABLE_END, 1)[1]


def write(root: Path, registry: Mapping[str, Any], titles: Mapping[str, str]) -> list[Path]:
    """Write the help pages below `root`/web and the table into `root`/README.md; returns the paths."""
    readme = root / "README.md"
    texts = {root / "web" / name: text for name, text in files(registry, titles).items()}
    texts[readme] = with_table(readme.read_text(encoding="utf-8"), registry, titles)
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(texts)
