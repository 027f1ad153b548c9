"""Consoles and pipes of any encoding: characters that they lack are escaped, and JSON stays valid."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fooocus_stages.serving import cli
from PIL import Image

C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
ENVIRONMENTS = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
    "C": C_LOCALE,
}
COMMANDS = (
    ["prompt", "a \u732b cat, café", "--negative", "\U0001f600"],
    ["nodes"],
    ["workflows"],
    ["assets", "list", "B01"],
    ["assets", "where", "B01"],
)
PROMPT = "a \u732b cat, café \U0001f600"


def answer(folder: Path, words: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "fooocus_stages.serving.cli", *words],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        timeout=120,
    )


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0] if isinstance(words, list) else words)
def test_a_command_prints_in_any_encoding(tmp_path: Path, words: list[str], environment: str) -> None:
    done = answer(tmp_path, words, ENVIRONMENTS[environment])
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_json_is_ascii_and_complete_in_any_encoding(tmp_path: Path, environment: str) -> None:
    done = answer(tmp_path, ["prompt", PROMPT, "--json"], ENVIRONMENTS[environment])
    assert done.returncode == 0
    assert json.loads(done.stdout.decode("ascii"))["prompts"][0]["positive"] == [PROMPT]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_error_is_escaped(tmp_path: Path, environment: str) -> None:
    done = answer(tmp_path, ["run", "\u732b.json", "--json"], ENVIRONMENTS[environment])
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert json.loads(done.stdout)["error"].startswith("workflow '")


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_text_set_on_a_node_is_the_text_that_was_typed(tmp_path: Path, environment: str) -> None:
    Image.new("RGB", (5, 3)).save(tmp_path / "a.png")
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }
    (tmp_path / "w.json").write_text(json.dumps(graph))
    words = ["run", "w.json", "--set", "2.filename_prefix=\u732b", "--json"]
    done = answer(tmp_path, words, ENVIRONMENTS[environment])
    report = json.loads(done.stdout)
    if environment == "C":  # no file can have this name there
        assert done.returncode == 2
        assert "\u732b" in report["error"] or "can't be saved" in report["error"]
    else:
        assert report["outputs"][0]["path"] == str(Path("outputs") / "\u732b_00001_.png")
        assert (tmp_path / "outputs" / "\u732b_00001_.png").is_file()


def test_the_streams_are_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", stream)
    assert cli.main(["prompt", "\u732b"]) == 0
    assert stream.errors == "strict"
    stream.flush()
    assert b"\\u732b" in stream.buffer.getvalue()  # type: ignore[attr-defined]


def test_not_a_number_is_valid_json(capsys: pytest.CaptureFixture[str]) -> None:
    from argparse import Namespace

    from fooocus_stages.serving.commands.common import show

    show(Namespace(json=True), {"value": float("nan"), "other": [float("inf"), 1.5]}, [])
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == {
        "value": "NaN",
        "other": ["Infinity", 1.5],
    }
