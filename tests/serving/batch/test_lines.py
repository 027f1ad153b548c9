"""Files of requests: what a line may hold, and that all broken lines are named at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fooocus_stages.pipelines.errors import BadFile, BadValue
from fooocus_stages.serving.batch.lines import BadLines, Request, graph_of_workflow, read_requests, with_files
from fooocus_stages.serving.commands.common import REGISTRY
from fooocus_stages.serving.engine.declarations import Registry

WORKFLOW = "text-to-image-extreme-speed"


def write(folder: Path, *lines: Any) -> Path:
    path = folder / "requests.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts) + "\n", "utf-8")
    return path


def anything(request: Request) -> None:
    """Accept every request."""


def test_lines_are_read_in_order_and_empty_ones_skipped(tmp_path: Path) -> None:
    path = write(tmp_path, {"id": "b", "workflow": WORKFLOW}, "", "  ", {"id": "a", "endpoint": "x", "input": {}})
    found = read_requests(path, anything)
    assert [(request.id, request.line) for request in found] == [("b", 1), ("a", 4)]


def test_the_digest_does_not_depend_on_spelling(tmp_path: Path) -> None:
    first = read_requests(write(tmp_path, '{"id": "a", "workflow": "w"}'), anything)
    second = read_requests(write(tmp_path, '{"workflow":"w",  "id":"a"}'), anything)
    third = read_requests(write(tmp_path, '{"workflow":"w2", "id":"a"}'), anything)
    assert first[0].digest == second[0].digest != third[0].digest


BROKEN = {
    "not JSON": "it is not JSON",
    "[1]": "it holds a list",
    '{"workflow": "w"}': "it has no id",
    '{"id": "../x", "workflow": "w"}': "id '../x' can't be used",
    '{"id": "a~2", "workflow": "w"}': "id 'a~2' can't be used",
    '{"id": "a.", "workflow": "w"}': "id 'a.' can't be used",
    '{"id": 7, "workflow": "w"}': "id 7 can't be used",
    '{"id": "b"}': "it has neither",
    '{"id": "c", "workflow": "w", "endpoint": "e"}': "it has workflow and endpoint",
    '{"id": "d", "workflow": "w", "input": {}}': "unknown keys 'input'",
}


@pytest.mark.parametrize(("line", "part"), BROKEN.items())
def test_a_broken_line_is_named(tmp_path: Path, line: str, part: str) -> None:
    with pytest.raises(BadLines) as caught:
        read_requests(write(tmp_path, {"id": "fine", "workflow": "w"}, line), anything)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith("line 2: ")
    assert part in caught.value.problems[0]


def test_all_broken_lines_are_named_at_once(tmp_path: Path) -> None:
    def refuse_odd(request: Request) -> None:
        if request.id == "odd":
            raise BadValue("odd is refused")

    lines = [
        *BROKEN,
        {"id": "odd", "workflow": "w"},
        {"id": "twice", "workflow": "w"},
        {"id": "Twice", "workflow": "w"},
    ]
    with pytest.raises(BadLines) as caught:
        read_requests(write(tmp_path, *lines), refuse_odd)
    assert len(caught.value.problems) == len(BROKEN) + 2
    assert "line 11: odd is refused" in str(caught.value)
    assert "line 13: id 'Twice' is that of line 12 already" in str(caught.value)
    assert "nothing was run" in str(caught.value)


def test_long_lists_of_problems_are_cut(tmp_path: Path) -> None:
    with pytest.raises(BadLines, match="and 80 more"):
        read_requests(write(tmp_path, *["broken"] * 100), anything)


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_a_file_without_requests(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "empty.jsonl"
    path.write_bytes(content)
    with pytest.raises(BadLines, match="no request"):
        read_requests(path, anything)


def test_files_that_can_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="can't be read"):
        read_requests(tmp_path / "missing.jsonl", anything)
    (tmp_path / "latin.jsonl").write_bytes(b'{"id": "\xe9"}')
    with pytest.raises(BadFile, match="not UTF-8"):
        read_requests(tmp_path / "latin.jsonl", anything)


def test_set_takes_values_of_any_kind() -> None:
    settings = {"FooocusPrompt.seed": 9, "FooocusPrompt.text": "a 7", "FooocusPrompt.increment_seed": False}
    graph = graph_of_workflow({"workflow": WORKFLOW, "set": settings}, Registry(REGISTRY))
    inputs = next(node["inputs"] for node in graph.values() if node["class_type"] == "FooocusPrompt")
    assert (inputs["seed"], inputs["text"], inputs["increment_seed"]) == (9, "a 7", False)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ({"workflow": 7}, "workflow is 7"),
        ({"workflow": "text-to-imag"}, "neither a file nor bundled"),
        ({"workflow": WORKFLOW, "set": [1]}, "set is"),
        ({"workflow": WORKFLOW, "set": {"FooocusPrompt.sed": 1}}, "did you mean 'seed'"),
        ({"workflow": WORKFLOW, "set": {"seed": 1}}, "sets nothing"),
    ],
)
def test_a_wrong_workflow_line(content: dict[str, Any], part: str) -> None:
    with pytest.raises(Exception, match=part):
        graph_of_workflow(content, Registry(REGISTRY))


def loading(*names: str) -> dict[str, Any]:
    return {f"{i}": {"class_type": "LoadImage", "inputs": {"image": name}} for i, name in enumerate(names)}


def test_pictures_travel_under_plain_names(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for name in ("a.png", "below/a.png"):
        (tmp_path / name).write_bytes(b"picture")
    absolute = str(tmp_path / "below" / "a.png")
    inputs = with_files(loading("a.png", "below/a.png", absolute, "example.png", "x [output]"), tmp_path)
    names = [node["inputs"]["image"] for node in inputs.graph.values()]
    assert names == ["a.png", "a-2.png", "a-2.png", "example.png", "x [output]"]
    assert inputs.files == {"a.png": tmp_path / "a.png", "a-2.png": tmp_path / "below" / "a.png"}
