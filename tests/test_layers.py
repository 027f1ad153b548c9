"""Imports point one way: each room may import only the rooms below it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BASE = {"pipelines.types", "pipelines.errors", "pipelines.settings", "pipelines.model_paths"}
MAY_IMPORT = {
    "pipelines.types": {"pipelines.models"},  # annotations only: held by test_import
    "pipelines.errors": set(),
    "pipelines.settings": set(),
    "pipelines.model_paths": {"pipelines.errors"},
    "pipelines.host": BASE,
    "pipelines.functional": set(),
    "preprocessors": set(),
    "pipelines.models": {*BASE, "pipelines.functional"},
    "pipelines.stages": {*BASE, "pipelines.host", "pipelines.functional", "pipelines.models", "preprocessors"},
    "nodes": {*BASE, "pipelines.host", "pipelines.stages"},
    "serving": BASE,
    "serving.commands": {*BASE, "pipelines.host", "pipelines.stages", "nodes", "serving"},
    "serving.cli": {*BASE, "serving", "serving.commands"},
    "": {"nodes", "serving.gateway"},
}


def modules() -> list[Path]:
    rooms = ("nodes", "pipelines", "preprocessors", "serving")
    return [ROOT / "__init__.py", *(p for room in rooms for p in sorted((ROOT / room).rglob("*.py")))]


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__").removesuffix("__init__")


def room_of(name: str) -> str:
    """The longest key of MAY_IMPORT that the module lies in; 'pipelines' itself counts as a base."""
    rooms = [key for key in MAY_IMPORT if key and (name == key or name.startswith(key + "."))]
    return max(rooms, key=len, default="")


def imported(path: Path) -> set[str]:
    """Dotted names below the package that a module imports relatively."""
    package = [*path.relative_to(ROOT).parent.parts]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            inside = [*base, *(node.module or "").split(".")] if node.module else base
            found |= {".".join([*inside, alias.name]) for alias in node.names}
    return found


@pytest.mark.parametrize("path", modules(), ids=dotted)
def test_imports_point_one_way(path: Path) -> None:
    here = room_of(dotted(path))
    for name in imported(path):
        there = room_of(name)
        if there and there != here:
            assert there in MAY_IMPORT[here], f"{dotted(path)} ({here or 'root'}) must not import {name} ({there})"


@pytest.mark.parametrize("path", modules(), ids=dotted)
def test_imports_inside_the_pack_are_relative(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names.append(node.module or "")
        assert not any(n.split(".")[0] == "fooocus_stages" for n in names), path


def test_only_one_module_names_comfyui() -> None:
    hosts = ("comfy", "folder_paths", "server", "comfy_execution", "comfy_api", "latent_preview")
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names.append(node.module or "")
            if any(n.split(".")[0] in hosts for n in names):
                assert dotted(path) == "nodes.comfy", f"{dotted(path)} imports {names}"
