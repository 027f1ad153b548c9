"""Loads further node packs in ComfyUI's V1 form, without ComfyUI."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from ...pipelines.errors import BadFile, BadValue, MissingFile, UserError
from .values import comfyui_module

MAPPINGS = "NODE_CLASS_MAPPINGS"
V3_ENTRY = "comfy_entrypoint"
SKIPPED = ("__pycache__", "example_node.py.example")


@dataclass(frozen=True)
class Pack:
    """A node pack: the folder or file that it was loaded from, and its node classes by id."""

    path: Path
    classes: Mapping[str, type[Any]]


def registry_with_packs(
    own: Mapping[str, type[Any]], folders: Sequence[Path], notice: Callable[[str], None]
) -> dict[str, type[Any]]:
    """Return `own` together with the node classes of the packs in `folders`.

    A folder is a pack (it holds ``__init__.py``), a single Python file, or a folder of packs such as ComfyUI's
    ``custom_nodes``. A pack of such a folder that can't be loaded is left out with a notice; a pack that was named
    itself must load. Raises BadValue for a node id that two packs, or a pack and `own`, define, MissingFile for a
    folder that holds no pack, and BadFile for a pack that can't be loaded.
    """
    origins: dict[str, str] = dict.fromkeys(own, "this pack")
    classes = dict(own)
    for pack in _packs_in(folders, notice):
        for node_id, cls in pack.classes.items():
            if node_id in classes:
                raise BadValue(
                    f"node id {node_id!r} is defined by both {origins[node_id]} and {pack.path}; "
                    "leave one of the two out"
                )
            classes[node_id], origins[node_id] = cls, str(pack.path)
    return classes


def load_pack(path: Path) -> Pack:
    """Import the pack at `path`, a folder with ``__init__.py`` or a Python file. Raises BadFile."""
    module = _imported(path)
    classes = getattr(module, MAPPINGS, None)
    if not isinstance(classes, Mapping):
        raise BadFile(f"{_named(path)} {_why_no_mapping(module)}")
    for node_id, cls in classes.items():
        if problem := _problem_of(node_id, cls):
            raise BadFile(f"{_named(path)} has a node {node_id!r} {problem}")
    return Pack(path, dict(classes))


def _packs_in(folders: Sequence[Path], notice: Callable[[str], None]) -> Iterator[Pack]:
    for folder in dict.fromkeys(Path(folder).absolute() for folder in folders):
        if _is_pack(folder):
            yield load_pack(folder)
            continue
        inside = sorted(path for path in folder.iterdir() if _is_pack(path)) if folder.is_dir() else []
        if not inside:
            reason = "holds no node pack" if folder.is_dir() else "does not exist"
            raise MissingFile(f"--nodes {folder} {reason}; name a folder with an __init__.py that defines {MAPPINGS}")
        for path in inside:
            try:
                pack = load_pack(path)
            except UserError as error:
                notice(f"{error} (left out)")
                continue
            yield pack


def _is_pack(path: Path) -> bool:
    if path.name in SKIPPED or path.name.startswith(".") or path.suffix == ".disabled":
        return False
    return (path / "__init__.py").is_file() or (path.suffix == ".py" and path.is_file())


def _imported(path: Path) -> ModuleType:
    """Import the pack under a unique module name, so that its relative imports work and packs don't collide."""
    digest = hashlib.sha256(str(path.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:12]
    name = f"node_pack_{digest}_{re.sub(r'[^0-9A-Za-z_]', '_', path.stem)}"
    file, inside = (path / "__init__.py", [str(path)]) if path.is_dir() else (path, None)
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=inside)
    if spec is None or spec.loader is None:
        raise BadFile(f"{_named(path)} can't be imported")
    _forget(name)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        _forget(name)
        raise BadFile(f"{_named(path)} can't be loaded: {_why_not_imported(error, path)}") from error
    return module


def _forget(name: str) -> None:
    for module in [known for known in sys.modules if known == name or known.startswith(name + ".")]:
        del sys.modules[module]


def _why_not_imported(error: BaseException, path: Path) -> str:
    if module := comfyui_module(error):
        return f"it imports {module!r}, which is part of ComfyUI; run the workflow on a ComfyUI with --comfyui"
    if isinstance(error, ModuleNotFoundError):
        return f"the Python module {error.name!r} is not installed; install what the pack requires"
    where = f" (line {error.lineno} of {error.filename})" if isinstance(error, SyntaxError) else ""
    return f"{type(error).__name__}: {error.msg if isinstance(error, SyntaxError) else error}{where}"


def _why_no_mapping(module: ModuleType) -> str:
    if hasattr(module, V3_ENTRY):
        return f"defines its nodes in ComfyUI's V3 form ({V3_ENTRY}), which needs ComfyUI; use a pack with {MAPPINGS}"
    if hasattr(module, MAPPINGS):
        return f"has a {MAPPINGS} that is not a mapping of node ids to classes"
    return f"has no {MAPPINGS}; its __init__.py must map node ids to classes"


def _problem_of(node_id: object, cls: object) -> str:
    """Why a class is not a V1 node; '' if it is one."""
    if not isinstance(node_id, str) or not isinstance(cls, type):
        return "that is not a class under a text id"
    if not callable(getattr(cls, "INPUT_TYPES", None)):
        return "without INPUT_TYPES, so it is not a V1 node"
    function = getattr(cls, "FUNCTION", None)
    if not isinstance(function, str) or not callable(getattr(cls, function, None)):
        return f"whose FUNCTION {function!r} is not one of its methods"
    return ""


def _named(path: Path) -> str:
    return f"node pack {path.name!r} ({path})"
