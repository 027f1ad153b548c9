"""A ComfyUI started for the tests in a folder of its own, and a client for its HTTP routes and websocket."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import fooocus_stages
from PIL import Image

PACK = Path(fooocus_stages.__file__).resolve().parent
NAME = "fooocus-stages"
FOLDERS = ("custom_nodes", "input", "output", "temp", "models", "user/default")
START_SECONDS, RUN_SECONDS, STOP_SECONDS = 300, 300, 30

# Without them, the page opens its tutorial over the canvas and complains about its own missing settings.
PAGE_SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Notification.ShowVersionUpdates": False,
    "Comfy.Canvas.NavigationMode": "legacy",
    "Comfy.Canvas.LeftMouseClickBehavior": "panning",
    "Comfy.Canvas.MouseWheelScroll": "zoom",
}

FILE_INPUTS = (
    "ckpt_name", "refiner_name", "upscaler_name", "control_name", "adapter_name", "clip_vision_name", "negative_name",
    "checker_name",
)  # fmt: skip


@dataclass
class Run:
    """A queued workflow as its websocket messages and its entry in the history tell it."""

    status: str = ""
    executed: list[str] = field(default_factory=list)
    cached: list[str] = field(default_factory=list)
    progress: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    previews: int = 0
    texts: dict[str, str] = field(default_factory=dict)  # shown on a node, by its id
    error: str = ""
    outputs: dict[str, Any] = field(default_factory=dict)

    def steps(self, node_id: str) -> list[int]:
        return [value for value, _ in self.progress.get(node_id, [])]


class Comfy:
    """A running ComfyUI."""

    def __init__(self, url: str, log: Path) -> None:
        self.url, self.log = url, log

    def read(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return bytes(answer.read())

    def ask(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data), timeout=60) as answer:
            return json.loads(answer.read() or b"null")

    def serves(self, path: str) -> bool:
        try:
            self.read(path)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return False
            raise
        return True

    def run(self, graph: Any, on_progress: Callable[[Run], None] = lambda run: None) -> Run:
        """Queue a workflow and follow it to its end. `on_progress` is called after each step of a node."""
        return asyncio.run(asyncio.wait_for(self._follow(graph, on_progress), RUN_SECONDS))

    async def _follow(self, graph: Any, on_progress: Callable[[Run], None]) -> Run:
        run, prompt_id, client_id = Run(), str(uuid.uuid4()), uuid.uuid4().hex
        address = f"{self.url}/ws?clientId={client_id}"
        async with aiohttp.ClientSession() as http, http.ws_connect(address, max_msg_size=0) as messages:
            body = {"prompt": graph, "prompt_id": prompt_id, "client_id": client_id}
            try:
                accepted = await asyncio.to_thread(self.ask, "/prompt", body)
            except urllib.error.HTTPError as refused:
                raise AssertionError(refused.read().decode("utf-8")) from refused
            assert not accepted["node_errors"]  # such outputs would be left out of the run
            async for message in messages:
                if message.type is aiohttp.WSMsgType.BINARY:
                    _record_frame(run, message.data)
                    continue
                event = json.loads(message.data)
                if event["data"].get("prompt_id") != prompt_id:
                    continue
                _record(run, event["type"], event["data"])
                if event["type"] == "progress":
                    await asyncio.to_thread(on_progress, run)
                if run.status:
                    break
        run.outputs = (await asyncio.to_thread(self._history, prompt_id))["outputs"]
        return run

    def _history(self, prompt_id: str) -> Any:
        for _ in range(100):
            if entry := self.ask(f"/history/{prompt_id}").get(prompt_id):
                return entry
            time.sleep(0.1)
        raise AssertionError(f"the history has no entry for {prompt_id}; {self.log_end()}")

    def images(self, run: Run) -> list[Image.Image]:
        """Download and decode the images of a run."""
        return self.saved([image for ui in run.outputs.values() for image in ui.get("images", [])])

    def saved(self, files: list[Any]) -> list[Image.Image]:
        """Download and decode images that ComfyUI names by their folder and file."""
        images = [Image.open(BytesIO(self.read(f"/view?{urlencode(file)}"))) for file in files]
        for image in images:
            image.load()
        return images

    def log_end(self) -> str:
        return self.log.read_text("utf-8", errors="replace")[-2000:]


def _record_frame(run: Run, data: bytes) -> None:
    """A preview, or a text: kind 3, length of the node's id, the id and the text."""
    if data[:4] != (3).to_bytes(4, "big"):
        run.previews += 1
        return
    end = 8 + int.from_bytes(data[4:8], "big")
    run.texts[data[8:end].decode()] = data[end:].decode()


def _record(run: Run, kind: str, data: Any) -> None:
    if kind == "executing" and data["node"] is not None:
        run.executed.append(data["node"])
    elif kind == "execution_cached":
        run.cached += data["nodes"]
    elif kind == "progress":
        run.progress.setdefault(data["node"], []).append((data["value"], data["max"]))
    elif kind in ("execution_success", "execution_error", "execution_interrupted"):
        run.status = kind.removeprefix("execution_")
        run.error = data.get("exception_message", "")


@contextmanager
def comfyui(
    checkout: Path,
    python: str,
    folder: Path,
    *flags: str,
    variables: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Iterator[Comfy]:
    """Start the ComfyUI of a checkout with the pack alone and all data in `folder`, and stop it at the end.

    `settings`: of its page, as a user may have set them.
    The networks of the pocket are so small that one thread is the fastest: on shared cores, several threads wait for
    each other at every operation and take many times as long.
    """
    _fill(folder, settings or {})
    port = _free_port()
    command = [python, "main.py", "--cpu", "--port", str(port), "--base-directory", str(folder)]
    command += ["--disable-auto-launch", "--disable-api-nodes", "--preview-method", "auto"]
    command += ["--database-url", f"sqlite:///{folder}/user/comfyui.db", *flags]
    log = folder / "log.txt"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", **(variables or {})}
    environment.pop("PYTHONPATH", None)
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=checkout, stdout=out, stderr=out, env=environment)
    try:
        running = Comfy(f"http://127.0.0.1:{port}", log)
        _wait_until_ready(running, process)
        yield running
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


def _fill(folder: Path, settings: Mapping[str, Any]) -> None:
    for name in FOLDERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "custom_nodes" / NAME).symlink_to(PACK)
    (folder / "user/default/comfy.settings.json").write_text(json.dumps({**PAGE_SETTINGS, **settings}), "utf-8")
    for picture in (PACK / "pocket/pictures").iterdir():
        shutil.copy(picture, folder / "input")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(running: Comfy, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        try:
            running.ask("/system_stats")
            return
        except OSError:
            assert process.poll() is None, f"ComfyUI ended while it started; {running.log_end()}"
            time.sleep(0.2)
    raise AssertionError(f"ComfyUI did not answer within {START_SECONDS} s; {running.log_end()}")


def pocket_workflow(name: str, seed: int | None = None) -> Any:
    """Return a bundled workflow in API form with the pocket's files chosen everywhere, and every seed replaced."""
    graph = json.loads((PACK / "workflows/api" / f"{name}.json").read_text("utf-8"))
    for node in graph.values():
        inputs = node["inputs"]
        inputs |= {key: f"pocket/{inputs[key]}" for key in FILE_INPUTS if isinstance(inputs.get(key), str)}
        if "detector_name" in inputs:
            inputs["detector_name"] = "pocket"
        if isinstance(inputs.get("ckpt_name"), list):  # linked to a preset, which names a checkpoint of its own
            inputs["ckpt_name"] = "pocket"
        if seed is not None and isinstance(inputs.get("seed"), int):
            inputs["seed"] = seed
    return graph
