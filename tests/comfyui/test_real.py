"""In a real ComfyUI: the pack loads, its workflows run over HTTP, run again from the cache, and stop when asked.

Runs when COMFYUI_DIR names a checkout; COMFYUI_PYTHON the Python that it runs with (default: this one).
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fooocus_stages
import pytest

COMFYUI = os.environ.get("COMFYUI_DIR", "")
PYTHON = os.environ.get("COMFYUI_PYTHON", sys.executable)
PACK = Path(fooocus_stages.__file__).parent
NAMES = sorted(path.stem for path in (PACK / "workflows" / "api").glob("*.json"))

FILES = (
    "ckpt_name", "refiner_name", "upscaler_name", "control_name", "adapter_name", "clip_vision_name", "negative_name",
)  # fmt: skip

pytestmark = pytest.mark.skipif(not COMFYUI, reason="COMFYUI_DIR names no ComfyUI checkout")


class Comfy:
    """A running ComfyUI, spoken to over HTTP."""

    def __init__(self, url: str, log: Path) -> None:
        self.url, self.log = url, log

    def ask(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data), timeout=60) as answer:
            return json.loads(answer.read() or b"null")

    def queue(self, graph: Any) -> str:
        prompt_id = str(uuid.uuid4())
        self.ask("/prompt", {"prompt": graph, "prompt_id": prompt_id})
        return prompt_id

    def finished(self, prompt_id: str, seconds: float = 300) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if entry := self.ask(f"/history/{prompt_id}").get(prompt_id):
                return entry
            time.sleep(0.1)
        raise AssertionError(f"no end after {seconds} s; {self.log.read_text(encoding='utf-8')[-2000:]}")


@pytest.fixture(scope="module")
def comfy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Comfy]:
    folder = tmp_path_factory.mktemp("comfyui")
    for name in ("custom_nodes", "input", "output", "temp", "models", "user"):
        (folder / name).mkdir()
    (folder / "custom_nodes" / "fooocus-stages").symlink_to(PACK)
    shutil.copytree(PACK / "pocket" / "models" / "face_detection", folder / "models" / "face_detection")
    for picture in (PACK / "pocket" / "pictures").iterdir():
        shutil.copy(picture, folder / "input")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder / "log.txt"
    command = [PYTHON, "main.py", "--cpu", "--port", str(port), "--base-directory", str(folder)]
    command += ["--disable-auto-launch", "--disable-api-nodes", "--database-url", f"sqlite:///{folder}/user/db"]
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=COMFYUI, stdout=out, stderr=out)
    running = Comfy(f"http://127.0.0.1:{port}", log)
    try:
        for _ in range(600):
            try:
                running.ask("/system_stats")
                break
            except OSError:
                assert process.poll() is None, log.read_text(encoding="utf-8")
                time.sleep(0.2)
        yield running
    finally:
        process.terminate()
        process.wait(30)


def pocket(name: str) -> Any:
    """A bundled workflow as a person has it who chose the pocket's files everywhere."""
    graph = json.loads((PACK / "workflows" / "api" / f"{name}.json").read_text(encoding="utf-8"))
    for node in graph.values():
        for name in FILES:
            if name in node["inputs"]:
                node["inputs"][name] = f"pocket/{node['inputs'][name]}"
    return graph


def events(entry: Any, kind: str) -> list[Any]:
    return [data for event, data in entry["status"]["messages"] if event == kind]


def test_it_loads_without_a_complaint(comfy: Comfy) -> None:
    log = comfy.log.read_text(encoding="utf-8")
    assert "IMPORT FAILED" not in log
    assert "Traceback" not in log
    declared = comfy.ask("/object_info")
    assert set(fooocus_stages.NODE_CLASS_MAPPINGS) <= set(declared)
    assert "pocket" in declared["FooocusLoadCheckpoint"]["input"]["required"]["ckpt_name"][0]


def test_the_templates_are_listed(comfy: Comfy) -> None:
    listed = comfy.ask("/workflow_templates")["fooocus-stages"]
    assert sorted(listed) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_workflow_runs_and_then_comes_from_the_cache(comfy: Comfy, name: str) -> None:
    graph = pocket(name)
    first = comfy.finished(comfy.queue(graph))
    assert first["status"]["status_str"] == "success", first["status"]
    again = comfy.finished(comfy.queue(graph))
    (cached,) = events(again, "execution_cached")
    assert sorted(cached["nodes"]) == sorted(graph)


def test_an_interrupt_stops_the_sampler(comfy: Comfy) -> None:
    graph = pocket("text-to-image-quality")
    for node in graph.values():
        if node["class_type"] == "FooocusPerformance":
            node["inputs"]["overwrite_step"] = 200
        if node["class_type"] == "FooocusAspectRatio":  # large enough that no machine is done before it is asked
            node["inputs"] |= {"aspect_ratio": "custom", "width": 768, "height": 768}
    prompt_id = comfy.queue(graph)
    time.sleep(3)
    comfy.ask("/interrupt", {})
    entry = comfy.finished(prompt_id, seconds=30)
    assert events(entry, "execution_interrupted")
    after = comfy.finished(comfy.queue(pocket("text-to-image-lightning")))
    assert after["status"]["status_str"] == "success"


def test_a_wrong_name_is_refused_with_a_way_out(comfy: Comfy) -> None:
    graph = pocket("text-to-image-lightning")
    for node in graph.values():
        if node["class_type"] == "FooocusLoadCheckpoint":
            node["inputs"]["ckpt_name"] = "nowhere.safetensors"
    with pytest.raises(urllib.error.HTTPError) as refused:
        comfy.queue(graph)
    answer = json.loads(refused.value.read())
    details = [error["details"] for node in answer["node_errors"].values() for error in node["errors"]]
    assert any("'nowhere.safetensors' is not there" in text and "looked in" in text for text in details)


def test_the_command_line_runs_a_workflow_there(comfy: Comfy, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fooocus_stages.serving.cli", "run", "text-to-image-lightning", "--json"]
    command += ["--comfyui", comfy.url, "--set", "Checkpoint.ckpt_name=pocket", "--seed", "11", "-n", "2"]
    first, again = (
        json.loads(subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout)
        for _ in range(2)
    )
    assert (first["seeds"], first["blocked"]) == ([11, 12], {})
    nodes = sorted(pocket("text-to-image-lightning"))
    assert sorted(first["executed"] + first["cached"]) == nodes
    assert (sorted(again["cached"]), again["executed"]) == (nodes, [])
    pictures = [tmp_path / output["path"] for output in first["outputs"] + again["outputs"]]
    assert len(set(pictures)) == 4
    contents = [picture.read_bytes() for picture in pictures]
    assert contents[:2] == contents[2:]
    assert contents[0] != contents[1]
