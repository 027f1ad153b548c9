"""The file of requests: one JSON object a line, checked as a whole before anything runs."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...pipelines.errors import BadFile, BadValue, UserError
from ..bundled.workflow_files import read_workflow
from ..engine.declarations import Registry
from ..engine.overrides import Graph, set_input

ID = re.compile(r"\w[\w.-]{0,119}(?<![.])")
ID_RULE = "an id names the result files: letters, digits, '.', '_' and '-', at most 120, none of '.', '-' at its ends"
KEYS = {"workflow": {"id", "workflow", "set"}, "endpoint": {"id", "endpoint", "input"}}
PICTURE_NODES = ("LoadImage", "LoadImageMask")
MOST_PROBLEMS_SHOWN = 20


@dataclass(frozen=True)
class Request:
    """A line of the file. `digest` identifies its content: equal lines have equal digests."""

    id: str
    line: int
    digest: str
    content: Mapping[str, Any] = field(repr=False)


class BadLines(BadFile):
    """A file of requests with broken lines, all of which the message names."""

    def __init__(self, path: Path, problems: list[str]) -> None:
        self.problems = problems
        shown = problems[:MOST_PROBLEMS_SHOWN]
        more = [f"and {len(problems) - len(shown)} more"] if len(shown) < len(problems) else []
        count = f"{len(problems)} problem" + ("s" if len(problems) > 1 else "")
        super().__init__(f"{path} has {count}; nothing was run:\n" + "\n".join(f"- {one}" for one in [*shown, *more]))


def read_requests(path: Path, check: Callable[[Request], None]) -> list[Request]:
    """Read and check all lines; `check` raises UserError for a request that can't run. Empty lines are skipped.

    Raises BadFile for a file that can't be read, and BadLines.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise BadFile(f"{path} can't be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise BadFile(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8") from error
    found: list[Request] = []
    problems: list[str] = []
    names: dict[str, int] = {}
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            request = _read(number, text)
            first = names.setdefault(request.id.casefold(), number)
            if first != number:
                raise BadValue(
                    f"id {request.id!r} is that of line {first} already; ids differ in more than letter case"
                )
            check(request)
        except UserError as error:
            problems.append(f"line {number}: {error}")
        else:
            found.append(request)
    if not found and not problems:
        problems.append("there is no request in it; write one JSON object a line")
    if problems:
        raise BadLines(path, problems)
    return found


def _read(number: int, text: str) -> Request:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadValue(f"it is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise BadValue(f'it holds a {type(content).__name__}, not an object such as {{"id": …, "workflow": …}}')
    name = content.get("id")
    if not isinstance(name, str) or not ID.fullmatch(name) or name.endswith("-"):
        raise BadValue(f"id {name!r} can't be used: {ID_RULE}" if "id" in content else f"it has no id: {ID_RULE}")
    kinds = [kind for kind in KEYS if kind in content]
    if len(kinds) != 1:
        raise BadValue(f"{name!r} needs either 'workflow' or 'endpoint'; it has {' and '.join(kinds) or 'neither'}")
    if unknown := sorted(content.keys() - KEYS[kinds[0]]):
        raise BadValue(
            f"{name!r} has the unknown keys {', '.join(map(repr, unknown))}; it may have "
            f"{', '.join(sorted(KEYS[kinds[0]]))}"
        )
    canonical = json.dumps(content, sort_keys=True)
    return Request(name, number, hashlib.sha256(canonical.encode()).hexdigest(), content)


def graph_of_workflow(content: Mapping[str, Any], registry: Registry) -> Graph:
    """Return the workflow of a line with its `set` applied. Raises UserError."""
    name, settings = content["workflow"], content.get("set", {})
    if not isinstance(name, str):
        raise BadValue(f"workflow is {name!r}; name a file in API format or a bundled workflow")
    if not isinstance(settings, dict):
        raise BadValue(f'set is {settings!r}; write an object such as {{"FooocusPrompt.seed": 7}}')
    graph: Graph = read_workflow(name)
    for place, value in settings.items():
        if isinstance(value, str):
            set_input(graph, registry, f"{place}={value}")
        else:
            set_input(graph, registry, f"{place}={json.dumps(value)}")
    return graph


@dataclass(frozen=True)
class Inputs:
    """The graph of a request with the names under which a worker finds its pictures, and their local files."""

    graph: Graph
    files: dict[str, Path]


def with_files(graph: Graph, folder: Path) -> Inputs:
    """Find the pictures that a graph loads: below `folder` or at their path. Others are left to the worker.

    A picture outside the folder, or in a folder below it, gets a plain name.
    """
    files: dict[str, Path] = {}
    for node in graph.values():
        name = node.get("inputs", {}).get("image")
        if node.get("class_type") not in PICTURE_NODES or not isinstance(name, str) or not name:
            continue
        path = next((one for one in (folder / name, Path(name)) if one.is_file()), None)
        if path is not None:
            plain = _plain_name(path, files)
            files[plain] = path.absolute()
            node["inputs"]["image"] = plain
    return Inputs(graph, files)


def _plain_name(path: Path, taken: Mapping[str, Path]) -> str:
    """Return the file's name, with a number if another file of the request has it."""
    name, number = path.name, 2
    while taken.get(name, path.absolute()) != path.absolute():
        name = f"{path.stem}-{number}{path.suffix}"
        number += 1
    return name
