"""Further node packs: found, loaded and run without ComfyUI, or refused with their names."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from fooocus_stages.pipelines.errors import BadFile, MissingFile
from fooocus_stages.serving import cli
from fooocus_stages.serving.engine.node_packs import load_pack, registry_with_packs

NUMBERS = """
    import asyncio

    print("loading")  # as many packs do

    from .helpers.text import joined


    class ExecutionBlocker:
        def __init__(self, message):
            self.message = message


    class Count:
        RETURN_TYPES, OUTPUT_IS_LIST, FUNCTION, CATEGORY = ("INT",), (True,), "count", "test"

        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {"upto": ("INT", {"default": 3, "min": 1})}}

        def count(self, upto):
            return (list(range(1, upto + 1)),)


    class Double:
        RETURN_TYPES, FUNCTION, CATEGORY = ("INT",), "double", "test"

        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {"value": ("INT", {"forceInput": True})}}

        async def double(self, value):
            await asyncio.sleep(0)
            return (2 * value,)


    class Total:
        INPUT_IS_LIST = True
        RETURN_TYPES, FUNCTION, CATEGORY = ("INT",), "total", "test"

        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {"values": ("INT", {"forceInput": True})}}

        def total(self, values):
            return (sum(values),)


    class Quadruple:
        RETURN_TYPES, FUNCTION, CATEGORY = ("INT",), "expand", "test"

        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {"value": ("INT", {"default": 1})}, "hidden": {"unique_id": "UNIQUE_ID"}}

        def expand(self, value, unique_id):
            one, two = f"{unique_id}.one", f"{unique_id}.two"
            graph = {
                one: {"class_type": "Double", "inputs": {"value": value}},
                two: {"class_type": "Double", "inputs": {"value": [one, 0]}},
            }
            return {"result": ([two, 0],), "expand": graph}


    class StopAbove:
        RETURN_TYPES, FUNCTION, CATEGORY = ("INT",), "stop", "test"

        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {"value": ("INT", {"forceInput": True}), "limit": ("INT", {"default": 10})}}

        def stop(self, value, limit):
            return (value if value <= limit else ExecutionBlocker(f"{value} is above {limit}"),)


    class Show:
        RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "show", "test", True

        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {"value": ("INT", {"forceInput": True})}}

        def show(self, value):
            print("showing", value)
            return {"ui": {"text": [joined("value", value)]}}


    NODE_CLASS_MAPPINGS = {c.__name__: c for c in (Count, Double, Total, Quadruple, StopAbove, Show)}
"""
ONE_NODE = """
    class Node:
        RETURN_TYPES, FUNCTION = ("INT",), "run"

        @classmethod
        def INPUT_TYPES(cls):
            return {{"required": {{}}}}

        def run(self):
            return (1,)


    NODE_CLASS_MAPPINGS = {{"{}": Node}}
"""
LATE_IMPORT = """
    class Late:
        RETURN_TYPES, FUNCTION, OUTPUT_NODE = ("INT",), "run", True

        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {}}

        def run(self):
            import comfy.model_management

            return (1,)


    NODE_CLASS_MAPPINGS = {"Late": Late}
"""


def write_pack(folder: Path, source: str, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "__init__.py").write_text(dedent(source), encoding="utf-8")
    for name, text in files.items():
        path = folder / (name.replace("_DOT_", "/") + ".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(dedent(text), encoding="utf-8")
    return folder


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    helper = "from .more import colon\n\n\ndef joined(name, value):\n    return f'{name}{colon} {value}'\n"
    return write_pack(
        tmp_path / "my-numbers.v1", NUMBERS, helpers_DOT___init__="", helpers_DOT_text=helper,
        helpers_DOT_more="colon = ':'\n",
    )  # fmt: skip


def run(
    capsys: pytest.CaptureFixture[str], folder: Path, graph: dict[str, Any], *words: str
) -> tuple[int, dict[str, Any], str]:
    (folder / "w.json").write_text(json.dumps(graph))
    code = cli.main(["run", str(folder / "w.json"), "--json", "-o", str(folder / "out"), *words])
    out, err = capsys.readouterr()
    return code, json.loads(out), err


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def texts(report: dict[str, Any]) -> list[str]:
    return [output["text"] for output in report["outputs"]]


def test_lists_and_async_methods(capsys: pytest.CaptureFixture[str], tmp_path: Path, numbers: Path) -> None:
    graph = {
        "1": node("Count", upto=4),
        "2": node("Double", value=["1", 0]),
        "3": node("Total", values=["2", 0]),
        "4": node("Show", value=["3", 0]),
        "5": node("Show", value=["1", 0]),
    }
    code, report, err = run(capsys, tmp_path, graph, "--nodes", str(numbers), "--set", "Count.upto=3")
    assert code == 0
    assert sorted(texts(report)) == ["value: 1", "value: 12", "value: 2", "value: 3"]
    assert "loading" in err  # what a pack prints does not get into the report
    assert "showing 12" in err


def test_expansion_and_blockers(capsys: pytest.CaptureFixture[str], tmp_path: Path, numbers: Path) -> None:
    graph = {
        "1": node("Quadruple", value=3),
        "2": node("Show", value=["1", 0]),
        "3": node("StopAbove", value=["1", 0], limit=11),
        "4": node("Show", value=["3", 0]),
    }
    code, report, err = run(capsys, tmp_path, graph, "--nodes", str(numbers))
    assert (code, texts(report)) == (0, ["value: 12"])
    assert list(report["blocked"].values()) == ["12 is above 11"]
    assert "is blocked: 12 is above 11" in err


def test_a_folder_of_packs_leaves_out_what_can_not_be_loaded(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, numbers: Path
) -> None:
    packs = tmp_path / "custom_nodes"
    packs.mkdir()
    numbers.rename(packs / "numbers")
    write_pack(packs / "needs-comfy", "import folder_paths\nNODE_CLASS_MAPPINGS = {}\n")
    (packs / "single.py").write_text(dedent(ONE_NODE).format("Single"), encoding="utf-8")
    write_pack(packs / "off.disabled", "raise SystemExit(3)")
    (packs / "__pycache__").mkdir()
    graph = {"1": node("Single"), "2": node("Show", value=["1", 0])}
    code, report, err = run(capsys, tmp_path, graph, "--nodes", str(packs))
    assert (code, texts(report)) == (0, ["value: 1"])
    assert [("needs-comfy" in n, "folder_paths" in n) for n in report["notices"]] == [(True, True)]
    assert "needs-comfy" in err


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import comfy.utils\n", ["'comfy'", "ComfyUI", "--comfyui"]),
        ("from comfy.samplers import KSampler\n", ["'comfy'", "ComfyUI"]),
        ("import folder_paths\n", ["'folder_paths'", "ComfyUI"]),
        ("from server import PromptServer\n", ["'server'", "ComfyUI"]),
        ("import no_such_library_of_anybody\n", ["'no_such_library_of_anybody'", "not installed"]),
        ("from . import missing\n", ["missing"]),
        ("def broken(:\n", ["SyntaxError", "line 1"]),
        ("1 / 0\n", ["ZeroDivisionError"]),
        ("import sys; sys.exit(7)\n", ["SystemExit"]),
        ("x = 1\n", ["NODE_CLASS_MAPPINGS"]),
        ("NODE_CLASS_MAPPINGS = [1]\n", ["NODE_CLASS_MAPPINGS", "mapping"]),
        ("async def comfy_entrypoint(): ...\n", ["V3", "comfy_entrypoint"]),
        ("NODE_CLASS_MAPPINGS = {'A': 1}\n", ["'A'"]),
        ("class A: FUNCTION = 'run'\nNODE_CLASS_MAPPINGS = {'A': A}\n", ["'A'", "INPUT_TYPES"]),
        ("class A:\n  FUNCTION = 'run'\n  INPUT_TYPES = dict\nNODE_CLASS_MAPPINGS = {'A': A}\n", ["'A'", "'run'"]),
    ],
)
def test_a_pack_that_can_not_be_loaded_is_named_with_the_reason(tmp_path: Path, source: str, names: list[str]) -> None:
    pack = write_pack(tmp_path / "broken-pack", source)
    with pytest.raises(BadFile) as refused:
        load_pack(pack)
    assert [word for word in ["broken-pack", *names] if word not in str(refused.value)] == []


def test_a_named_pack_must_load(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pack = write_pack(tmp_path / "needy", "import comfy.sd\n")
    code, report, err = run(capsys, tmp_path, {"1": node("Any")}, "--nodes", str(pack))
    assert code == 2
    assert all(word in report["error"] for word in ("needy", "comfy", "ComfyUI"))
    assert "Traceback" not in err


def test_a_node_that_needs_comfyui_when_it_runs_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pack = write_pack(tmp_path / "late", LATE_IMPORT)
    code, report, _ = run(capsys, tmp_path, {"7": node("Late")}, "--nodes", str(pack))
    assert code == 2
    assert all(word in report["error"] for word in ("node 7 (Late)", "'comfy'", "ComfyUI"))


@pytest.mark.parametrize("taken", ["FooocusPrompt", "LoadImage", "Mine"])
def test_an_id_that_is_taken_is_an_error(capsys: pytest.CaptureFixture[str], tmp_path: Path, taken: str) -> None:
    first = write_pack(tmp_path / "one" / "pack", ONE_NODE.format("Mine"))
    second = write_pack(tmp_path / "two" / "pack", ONE_NODE.format(taken))
    code, report, _ = run(capsys, tmp_path, {"1": node("Mine")}, "--nodes", str(first), "--nodes", str(second))
    assert code == 2
    assert repr(taken) in report["error"]
    assert str(second) in report["error"]


def test_packs_of_one_name_do_not_share_their_modules(tmp_path: Path) -> None:
    source = "from .names import NAME\n" + dedent(ONE_NODE).format("X").replace('"X"', "NAME")
    first = write_pack(tmp_path / "one" / "pack", source, names="NAME = 'First'\n")
    second = write_pack(tmp_path / "two" / "pack", source, names="NAME = 'Second'\n")
    assert set(registry_with_packs({}, [first, second, first], pytest.fail)) == {"First", "Second"}


def test_a_pack_is_read_anew_each_time(tmp_path: Path) -> None:
    source = "from .names import NAME\n" + dedent(ONE_NODE).format("X").replace('"X"', "NAME")
    pack = write_pack(tmp_path / "pack", source, names="NAME = 'Before'\n")
    assert set(load_pack(pack).classes) == {"Before"}
    (pack / "names.py").write_text("NAME = 'Afterwards'\n")
    assert set(load_pack(pack).classes) == {"Afterwards"}


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_a_folder_without_packs_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingFile, match=name):
        registry_with_packs({}, [tmp_path / name], pytest.fail)


def test_nodes_are_of_no_use_on_a_server(capsys: pytest.CaptureFixture[str], tmp_path: Path, numbers: Path) -> None:
    words = ["--nodes", str(numbers), "--comfyui", "http://127.0.0.1:1"]
    code, report, _ = run(capsys, tmp_path, {"1": node("Show")}, *words)
    assert (code, "--nodes" in report["error"]) == (2, True)
