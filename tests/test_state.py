"""No module of the pack holds state that changes: what is kept between calls belongs to a host.

Allowed at module level are constants: immutable values, and tables (dicts, lists, sets) that nothing changes. A cached
function may stay when its results are constants too: it takes nothing, or small immutable arguments such as numbers and
devices, and returns the same for them in every process. What users bring (files, models, images) is kept by
`Host.keep`, which is bounded and can be freed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import fooocus_stages
import pytest

ROOT = Path(fooocus_stages.__file__).parent
ROOMS = ("nodes", "pipelines", "preprocessors", "serving", "pocket")
CONSTANT_CACHES = {
    "serving.gateway.guard.policy:_kinds": "the constant list of networks, parsed",
    "nodes.comfy.current:_comfy_host": "the one host of a ComfyUI process, in which kept values live",
    "nodes.comfy.current:_plain_host": "the one host of a process that chooses none, in which kept values live",
    "pipelines.assets.catalogue:catalogue": "the pack's own list of files",
    "pipelines.assets.http:_certificates": "the system's certificates",
    "pipelines.functional.anisotropic:gaussian_taps": "13 numbers",
    "pipelines.functional.anisotropic:taps_on": "13 numbers for each device",
    "pipelines.functional.model_sampling:*": "noise tables of a handful of kinds",
    "pipelines.models.unet:ids_on": "six numbers for each picture size and device, at most 64",
    "pipelines.text.styles:bundled_styles": "the pack's own styles",
    "serving.requests.fields:style_names": "the endpoints' own list of styles",
    "pocket.training.expansion:*": "a program's own word lists",
}
TABLES = (ast.Dict, ast.List, ast.Set, ast.DictComp, ast.ListComp, ast.SetComp)
EMPTY = {"dict", "list", "set", "OrderedDict", "defaultdict", "Counter", "deque", "bytearray"}
WEAK = {"WeakKeyDictionary", "WeakValueDictionary", "WeakSet", "Lock", "RLock", "local", "SimpleQueue", "Queue"}
CHANGES = {
    "add", "append", "appendleft", "clear", "discard", "extend", "insert", "move_to_end", "pop", "popitem", "remove",
    "reverse", "setdefault", "sort", "update",
}  # fmt: skip
CACHES = {"cache", "lru_cache"}


def modules() -> list[Path]:
    return [ROOT / "__init__.py", *(path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py")))]


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def state_of(source: str) -> list[str]:
    """Names that a module holds and that change, or that can only be there to change."""
    tree = ast.parse(source)
    held = dict(_assigned(tree))
    found = {name for name, value in held.items() if _is_storage(value)}
    found |= {name for node in ast.walk(tree) if isinstance(node, ast.Global) for name in node.names}
    return sorted(found | {name for name in _changed(tree) if name in held})


def cached_functions(source: str) -> list[str]:
    """Functions at module level, and methods, with a cache that outlives a call."""
    tree = ast.parse(source)
    outer = [node for owner in (tree, *_classes(tree)) for node in owner.body]
    return [
        node.name
        for node in outer
        if isinstance(node, ast.FunctionDef) and any(_called(line) in CACHES for line in node.decorator_list)
    ]


def _classes(tree: ast.Module) -> list[ast.ClassDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]


def _assigned(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """The names that a module, or a class in it, binds to values."""
    for owner in (tree, *_classes(tree)):
        for node in owner.body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                yield from ((target.id, node.value) for target in targets if isinstance(target, ast.Name))


def _is_storage(value: ast.expr) -> bool:
    """Whether a value is an empty table, a weak one, or a cache."""
    if isinstance(value, TABLES):
        return isinstance(value, ast.Dict | ast.List | ast.Set) and not (
            getattr(value, "elts", getattr(value, "keys", None))
        )
    if not isinstance(value, ast.Call):
        return False
    name = _called(value)
    return name in WEAK | CACHES or (name in EMPTY and not value.args and not value.keywords)


def _called(node: ast.expr) -> str:
    node = node.func if isinstance(node, ast.Call) else node
    node = node.func if isinstance(node, ast.Call) else node  # lru_cache(…)(function)
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _changed(tree: ast.Module) -> Iterator[str]:
    """Names of which an item is set or deleted, or which are changed by a method, where they are no locals."""
    for scope in (tree, *(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))):
        own = _bound(scope) if isinstance(scope, ast.FunctionDef) else set()
        for node in ast.walk(scope):
            name = _change(node)
            if name and name not in own and isinstance(scope, ast.FunctionDef):
                yield name


def _change(node: ast.AST) -> str:
    target: ast.expr | None = None
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
        target = node.value
    elif isinstance(node, ast.AugAssign):
        target = node.target
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGES:
        target = node.func.value
    return target.id if isinstance(target, ast.Name) else ""


def _bound(function: ast.FunctionDef) -> set[str]:
    """The arguments and locals of a function and of those in it."""
    stored = {n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return stored | {n.arg for n in ast.walk(function) if isinstance(n, ast.arg)}


@pytest.mark.parametrize("path", modules(), ids=dotted)
def test_no_module_holds_state(path: Path) -> None:
    assert state_of(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", modules(), ids=dotted)
def test_caches_hold_constants_alone(path: Path) -> None:
    name = dotted(path)
    for function in cached_functions(path.read_text(encoding="utf-8")):
        assert {f"{name}:{function}", f"{name}:*"} & CONSTANT_CACHES.keys(), f"{name}.{function}: use Host.keep"


def test_every_exception_is_used() -> None:
    cached = {dotted(path): cached_functions(path.read_text(encoding="utf-8")) for path in modules()}
    for entry in CONSTANT_CACHES:
        module, function = entry.split(":")
        assert cached[module] if function == "*" else function in cached[module], f"{entry} is no cached function"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("A = {}", ["A"]),
        ("A: dict[str, int] = {}", ["A"]),
        ("A = OrderedDict()", ["A"]),
        ("A = weakref.WeakValueDictionary()", ["A"]),
        ("A = lru_cache(maxsize=8)(read)", ["A"]),
        ("class A:\n    known = []", ["known"]),
        ("A = {1: 2}\ndef f(x):\n    A[x] = 3", ["A"]),
        ("A = [1]\ndef f(x):\n    A.append(x)", ["A"]),
        ("A = 1\ndef f():\n    global A\n    A = 2", ["A"]),
        ("A = {1: 2}\ndef f(A):\n    A[1] = 3", []),
        ("A = {1: 2}\ndef f():\n    return A[1]", []),
        ("A = (1, 2)\nB = frozenset()\nC = {x: 1 for x in A}", []),
    ],
)
def test_state_is_found(source: str, found: list[str]) -> None:
    assert state_of(source) == found


@pytest.mark.parametrize(
    "source",
    [
        "@cache\ndef f(): ...",
        "@functools.lru_cache(maxsize=1)\ndef f(): ...",
        "class A:\n    @cache\n    def f(self): ...",
    ],
)
def test_cached_functions_are_found(source: str) -> None:
    assert cached_functions(source) == ["f"]
