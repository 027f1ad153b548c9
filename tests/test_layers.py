"""Imports point one way: each room may import only the rooms that stand behind it here, none of which imports it."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BASE = {"pipelines.types", "pipelines.names", "pipelines.errors", "pipelines.settings"}
HOST = {*BASE, "pipelines.host", "pipelines.files", "pipelines.picture_files"}
MODELS = {
    "pipelines.models.handles",
    "pipelines.models.protocols",
    "pipelines.models.weights",
    "pipelines.models.lora",
    "pipelines.models.hints",
    "pipelines.models",
}
GATEWAY = {f"serving.gateway.{name}" for name in ("store", "records", "ports", "guard")}
MAY_IMPORT: dict[str, set[str]] = {
    "pipelines.types": set(),
    "pipelines.names": set(),
    "pipelines.errors": {"pipelines.names"},
    "pipelines.settings": set(),
    "pipelines.functional": set(),
    "pipelines.opencv": {"pipelines.errors"},
    "preprocessors": {"pipelines.opencv"},
    "pipelines.files": {"pipelines.errors"},
    "pipelines.picture_files": {"pipelines.errors"},
    "pipelines.host": {"pipelines.errors", "pipelines.names", "pipelines.settings", "pipelines.types"},
    "pipelines.text": {"pipelines.errors", "pipelines.names"},
    "pipelines.models.weights": BASE,
    "pipelines.models.protocols": {"pipelines.types", "pipelines.functional", "pipelines.models.weights"},
    "pipelines.models.handles": {
        "pipelines.types",
        "pipelines.text",
        "pipelines.models.weights",
        "pipelines.models.protocols",
    },
    "pipelines.models.lora": {*BASE, "pipelines.models.weights", "pipelines.models.handles"},
    "pipelines.models.hints": {
        *BASE,
        "pipelines.opencv",
        "pipelines.functional",
        *MODELS - {"pipelines.models.hints", "pipelines.models"},
    },
    "pipelines.models": {*BASE, "pipelines.functional", "pipelines.text", *MODELS - {"pipelines.models"}},
    "pipelines.stages.load": {*HOST, *MODELS},
    "pipelines.stages.prompts": {*HOST, *MODELS, "pipelines.text"},
    "pipelines.stages.recipes": {
        *HOST,
        "pipelines.models.handles",
        "pipelines.text",
        "pipelines.stages.load",
        "pipelines.stages.prompts",
    },
    "pipelines.stages.sampling": {*HOST, *MODELS, "pipelines.functional", "pipelines.stages.load"},
    "pipelines.stages": {
        *HOST,
        *MODELS,
        "pipelines.functional",
        "preprocessors",
        "pipelines.stages.load",
        "pipelines.stages.prompts",
        "pipelines.stages.recipes",
        "pipelines.stages.sampling",
    },
    "pipelines.assets": {*HOST, "pipelines.text", "pipelines.stages.recipes"},
    "nodes.comfy.native": {*HOST, *MODELS, "pipelines.functional", "pipelines.stages.sampling", "pipelines.text"},
    "nodes": {*HOST, "pipelines.models.handles", "pipelines.stages", "pipelines.assets", "nodes.comfy.native"},
    "serving.engine": {"pipelines.errors", "pipelines.names"},
    "serving.console": {"serving.engine"},
    "serving.pool": {*HOST, "nodes", "pipelines.assets", "pipelines.stages", "serving.engine"},
    "serving.bundled": {*BASE, "pipelines.files", "serving.engine"},
    "serving.requests": {*HOST, "pipelines.assets", "serving.bundled", "serving.engine"},
    "serving.batch": {
        *HOST,
        "serving.engine",
        "serving.bundled",
        "serving.requests",
        "serving.pool",
        "serving.gateway",
        *GATEWAY,
    },
    "serving.comfyui": {"pipelines.errors", "pipelines.files", "serving.engine", "serving.console"},
    "serving.gateway.store": {"pipelines.errors"},
    "serving.gateway.records": {"serving.gateway.store"},
    "serving.gateway.ports": {"serving.pool", "serving.gateway.records"},
    "serving.gateway.guard": {
        "pipelines.errors",
        "pipelines.files",
        "pipelines.picture_files",
        "serving.gateway.records",
        "serving.gateway.ports",
    },
    "serving.gateway": {*HOST, *GATEWAY, "serving.engine", "serving.bundled", "serving.requests", "serving.pool"},
    "serving.commands": {
        *HOST,
        "pipelines.stages",
        "pipelines.assets",
        "nodes",
        "serving.engine",
        "serving.console",
        "serving.bundled",
        "serving.requests",
        "serving.comfyui",
        "serving.pool",
        "serving.batch",
        "serving.gateway",
        *GATEWAY,
    },
    "serving.cli": {"pipelines.errors", "serving.engine", "serving.console", "serving.commands"},
    "pocket.training": {
        *HOST,
        "pipelines.opencv",
        *MODELS,
        "pipelines.functional",
        "preprocessors",
        "pipelines.text",
        "pipelines.stages",
        "pipelines.stages.load",
        "pipelines.stages.prompts",
        "pipelines.stages.sampling",
    },
    "": {"nodes", "serving.commands"},
}


def modules() -> list[Path]:
    rooms = ("nodes", "pipelines", "preprocessors", "serving", "pocket")
    return [ROOT / "__init__.py", *(p for room in rooms for p in sorted((ROOT / room).rglob("*.py")))]


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__").removesuffix("__init__")


NAMES = {dotted(path) for path in modules()}


def room_of(name: str) -> str:
    """The longest key of MAY_IMPORT that the module lies in; '' for the pack's own root."""
    rooms = [key for key in MAY_IMPORT if key and (name == key or name.startswith(key + "."))]
    return max(rooms, key=len, default="")


def imported(path: Path) -> set[str]:
    """The modules of the pack that a module imports."""
    package = [*path.relative_to(ROOT).parent.parts]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            inside = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
            base = ".".join(part for part in inside if part)
            named = {f"{base}.{alias.name}".removeprefix(".") for alias in node.names}
            found |= {name if name in NAMES else base for name in named}
    return found


def outside(path: Path) -> set[str]:
    """The first names of all that a module imports from elsewhere."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_no_two_rooms_may_import_each_other() -> None:
    TopologicalSorter(MAY_IMPORT).prepare()


@pytest.mark.parametrize("path", modules(), ids=dotted)
def test_imports_point_one_way(path: Path) -> None:
    here = room_of(dotted(path))
    for name in imported(path):
        there = room_of(name)
        if there != here and name:  # the root itself holds the version alone
            assert there in MAY_IMPORT[here], f"{dotted(path)} ({here or 'root'}) must not import {name} ({there})"


def test_no_modules_import_each_other() -> None:
    TopologicalSorter({dotted(path): imported(path) - {dotted(path), ""} for path in modules()}).prepare()


@pytest.mark.parametrize("path", modules(), ids=dotted)
def test_imports_inside_the_pack_are_relative(path: Path) -> None:
    assert "fooocus_stages" not in outside(path)


@pytest.mark.parametrize("path", modules(), ids=dotted)
def test_only_the_package_for_comfyui_names_it(path: Path) -> None:
    hosts = {"comfy", "folder_paths", "server", "comfy_execution", "comfy_api", "latent_preview"}
    assert dotted(path).startswith("nodes.comfy.") or not outside(path) & hosts
