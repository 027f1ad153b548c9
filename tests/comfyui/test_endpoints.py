"""The hosted endpoints inside ComfyUI: off until switched on; then below /fal/, through its own queue."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fooocus_stages.serving.gateway.guard.keys import FILE, KeyStore
from PIL import Image

from .server import PACK, Comfy, comfyui, pocket_workflow

APP = "/fal/queue/fal-ai/fooocus"
DRAWING = {"prompt": "a red circle", "performance": "Extreme Speed", "aspect_ratio": "128x128", "styles": []}
CLIENT = PACK / ".clients/python/bin/python"
SETTING = "FooocusStages.Serve.Endpoints"
SECONDS = 300


class Caller:
    """Calls the endpoints of a ComfyUI with a key."""

    def __init__(self, comfy: Comfy, key: str, folder: Path) -> None:
        self.comfy, self.key, self.folder = comfy, key, folder

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Key {self.key}", "Content-Type": "application/json"}
        url = path if path.startswith("http") else self.comfy.url + path
        try:
            with urllib.request.urlopen(
                urllib.request.Request(url, data, headers, method=method), timeout=SECONDS
            ) as answer:
                content = answer.read()
                return answer.status, json.loads(content) if "json" in answer.headers["Content-Type"] else content
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def submit(self, **body: Any) -> str:
        status, reply = self.call("POST", APP, body)
        assert status == 200, reply
        return str(reply["request_id"])

    def wait(self, id: str, wanted: str = "COMPLETED") -> dict[str, Any]:
        end = time.monotonic() + SECONDS
        while (state := self.call("GET", f"{APP}/requests/{id}/status?logs=1")[1])["status"] != wanted:
            assert time.monotonic() < end, state
            time.sleep(0.1)
        return dict(state)

    def result(self, id: str) -> tuple[int, Any]:
        return self.call("GET", f"{APP}/requests/{id}")


@pytest.fixture(scope="module")
def caller(checkout: Path, python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    modules = "import aiohttp, cryptography, prometheus_client, pydantic"
    if subprocess.run([python, "-c", modules], capture_output=True, check=False).returncode:
        pytest.skip("ComfyUI's Python lacks fooocus-stages[serve]")
    folder = tmp_path_factory.mktemp("endpoints") / "base"
    for kind in (PACK / "pocket/models").iterdir():
        (folder / "models").mkdir(parents=True, exist_ok=True)
        (folder / "models" / kind.name).symlink_to(kind)
    state = folder / "user/__fooocus_stages"
    state.mkdir(parents=True)
    store = KeyStore(state / FILE)
    key = store.add("tests")
    store.close()
    with comfyui(checkout, python, folder, settings={SETTING: "on"}) as running:
        yield Caller(running, key, folder)


def test_they_are_off_until_switched_on(comfy: Comfy) -> None:
    assert not comfy.serves("/fal/health")
    assert comfy.ask(f"/settings/{SETTING}") is None


def test_the_page_has_a_switch(caller: Caller, browser: tuple[str, str, str]) -> None:
    node, *at = browser
    command = [node, str(Path(__file__).parent / "endpoints.mjs"), caller.comfy.url, *at]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    report = json.loads(ran.stdout)
    assert (report["before"], report["greeted"], report["stored"]) == ("on", [], "off")
    assert report["said"] == ["Restart ComfyUI: its endpoints are off after that."]
    assert report["errors"] == []


def test_a_request_is_drawn_by_comfyui_and_checked(caller: Caller) -> None:
    id = caller.submit(**DRAWING, seed=7, num_images=2)
    logs = [entry["message"] for entry in caller.wait(id)["logs"]]
    status, output = caller.result(id)
    assert status == 200, output
    assert (output["seed"], output["has_nsfw_concepts"]) == (7, [False, False])
    assert any(text.startswith("step ") for text in logs)
    assert any("protects nobody" in text for text in logs), "the notice of the pocket's safety checker"
    for image in output["images"]:
        content = caller.call("GET", image["url"])[1]
        assert (image["width"], image["height"]) == (128, 128)
        assert content == (caller.folder / "output" / image["file_name"]).read_bytes()
    assert caller.comfy.ask(f"/history/{id}")[id]["status"]["completed"]


def test_cancelling_while_it_runs_and_by_comfyuis_own_queue(caller: Caller) -> None:
    slow = caller.submit(**{**DRAWING, "performance": "Quality", "num_images": 4})
    waiting = caller.submit(**DRAWING)
    caller.wait(slow, "IN_PROGRESS")
    assert caller.call("PUT", f"{APP}/requests/{waiting}/cancel")[0] == 200
    assert caller.call("PUT", f"{APP}/requests/{slow}/cancel")[0] == 202
    for id in (slow, waiting):
        caller.wait(id)
        assert caller.result(id)[0] == 499
    graph = pocket_workflow("text-to-image-quality", seed=3)
    caller.comfy.ask("/prompt", {"prompt": graph})  # as the page does, before the request
    behind = caller.submit(**DRAWING)
    end = time.monotonic() + SECONDS
    while not any(item[1] == behind for item in caller.comfy.ask("/queue")["queue_pending"]):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert caller.call("GET", f"{APP}/requests/{behind}/status")[1]["status"] in ("IN_QUEUE", "IN_PROGRESS")
    post(caller.comfy, "/queue", {"clear": True})
    post(caller.comfy, "/interrupt", {})
    caller.wait(behind)
    assert caller.result(behind)[0] == 499


def post(comfy: Comfy, path: str, body: Any) -> None:
    request = urllib.request.Request(comfy.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        answer.read()


def test_wrong_requests_and_errors_of_nodes(caller: Caller) -> None:
    status, body = caller.call("POST", "/fal/run/fal-ai/fooocus", {"guidance_scale": 99})
    assert (status, body["detail"][0]["loc"][-1]) == (422, "guidance_scale")
    lora = {"path": "nowhere.safetensors", "scale": 1}
    status, body = caller.call("POST", "/fal/run/fal-ai/fooocus", {**DRAWING, "loras": [lora]})
    assert status == 422
    assert "nowhere.safetensors" in body["detail"][0]["msg"]
    caller.key, key = "wrong", caller.key
    assert caller.call("POST", APP, {})[0] == 401
    caller.key = key


def test_the_page_and_the_health_are_there(caller: Caller) -> None:
    for path in ("/fal", "/fal/"):
        assert b"Fooocus Stages" in caller.comfy.read(path)
    assert b"SERVICES" in caller.comfy.read("/fal/page/page.js")
    assert caller.call("GET", "/fal/ready")[1]["workers"][0]["name"] == "comfyui"


@pytest.mark.skipif(not CLIENT.exists(), reason="no .clients/python: make clients")
def test_the_published_client_unchanged(caller: Caller, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "picture.png")
    variables = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    variables |= {"FOOOCUS_GATEWAY": caller.comfy.url, "GATEWAY_KEY": caller.key, "FAL_KEY": caller.key}
    variables |= {"PICTURE": str(tmp_path / "picture.png"), "PYTHONPATH": str(PACK / "docs/clients")}
    script = PACK / "tests/serving/gateway/clients/check.py"
    done = subprocess.run(
        [str(CLIENT), str(script)], env=variables, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert "all checks passed" in done.stdout, done.stdout + done.stderr


def test_without_a_safety_checker_comfyui_starts_without_them(checkout: Path, python: str, tmp_path: Path) -> None:
    with comfyui(checkout, python, tmp_path / "base", variables={"FOOOCUS_STAGES_SERVE": "1"}) as running:
        assert not running.serves("/fal/health")
        assert "--safety-checker off" in running.log.read_text("utf-8")
        assert "IMPORT FAILED" not in running.log.read_text("utf-8")
