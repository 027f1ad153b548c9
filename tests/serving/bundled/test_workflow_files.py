"""Finding and reading workflow files."""

import json
from pathlib import Path
from typing import Any

import pytest
from fooocus_stages.pipelines.errors import UserError
from fooocus_stages.serving.bundled.workflow_files import About, bundled, read_workflow

from ..fakes import node

GRAPH = {"1": node("Show", value=1)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of bundled workflows: one with words, one without."""
    (tmp_path / "api").mkdir()
    about = {"mode": "B01", "title": "One", "description": "The first."}
    canvas = {"nodes": [], "links": [], "extra": {"fooocus_stages": about}}
    (tmp_path / "one.json").write_text(json.dumps(canvas))
    for name in ("one", "two"):
        (tmp_path / "api" / f"{name}.json").write_text(json.dumps(GRAPH))
    return tmp_path


def test_bundled_workflows_are_listed(folder: Path) -> None:
    assert bundled(folder) == [About("one", "One", "The first.", "B01"), About("two", "two", "", "")]


@pytest.mark.parametrize("name", ["one", "one.json"])
def test_bundled_workflows_are_found_by_name(folder: Path, name: str) -> None:
    assert read_workflow(name, folder) == GRAPH


@pytest.mark.parametrize("data", [GRAPH, {"prompt": GRAPH, "client_id": "x"}], ids=["graph", "queue item"])
def test_files_are_read(tmp_path: Path, data: Any) -> None:
    path = tmp_path / "w.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(data).encode())
    assert read_workflow(str(path)) == GRAPH


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not a workflow file: Expecting value"),
        (b"\xff\xfe\x00", "is not a workflow file: 'utf-8'"),
        (b"[" * 100_000, "is not a workflow file: "),
        (b"[]", "is not a workflow in API format"),
        (b"{}", "is not a workflow in API format"),
        (b'{"1": 5}', "is not a workflow in API format"),
        (b'{"1": {"class_type": "Show", "inputs": []}}', "is not a workflow in API format"),
        (b'{"nodes": [], "links": []}', "is in the format of the canvas, which only ComfyUI can run; export it in"),
    ],
)
def test_a_file_that_is_no_workflow_is_reported(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "w.json"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_workflow(str(path))
    assert str(caught.value).startswith(f"{path} {words}")
    assert "Export (API)" in str(caught.value)


def test_a_canvas_file_names_its_twin(folder: Path) -> None:
    with pytest.raises(UserError) as caught:
        read_workflow(str(folder / "one.json"), folder)
    assert str(caught.value).endswith(f"run {folder / 'api' / 'one.json'} instead")


@pytest.mark.parametrize(
    ("name", "near"), [("onne", " (did you mean 'one'?)"), ("t", " (there are 'two')"), ("xyz", "")]
)
def test_an_unknown_name_is_reported(folder: Path, name: str, near: str) -> None:
    with pytest.raises(UserError) as caught:
        read_workflow(name, folder)
    assert str(caught.value) == (
        f"workflow {name!r} is neither a file nor bundled{near}; 'fooocus-stages workflows' lists the bundled ones"
    )
