"""The commands `request` and `convert`."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import fooocus_stages
import pytest
import torch
from fooocus_stages.serving import cli
from fooocus_stages.serving.bundled.catalogue import TEMPLATES
from PIL import Image
from safetensors.torch import save_file

from .requests.examples import FOLDER, MODES

WORKFLOWS = Path(fooocus_stages.__file__).parent / "workflows"
NAMES = {template.mode: template.name for template in TEMPLATES}
FAST = {"uov_method": "Upscale (Fast 2x)", "enable_safety_checker": False, "output_format": "png", "seed": 5}


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (24, 16), "red").save("small.png")


def run(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str, str]:
    """The exit code of a command, and what it printed on stdout and stderr."""
    code = cli.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[str]:
    """The address of a server of the test's folder."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def write(name: str, body: Any) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(body), encoding="utf-8")
    return path


def picture_uri() -> str:
    file = io.BytesIO()
    Image.new("RGB", (24, 16), "red").save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


@pytest.mark.parametrize("source", ["beside the request", "here", "data", "example"])
def test_a_request_is_run(source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = "elsewhere" if source == "here" else "."
    picture = {"data": picture_uri(), "example": "example.png"}.get(source, "small.png")
    path = write(f"{folder}/request.json", {"uov_image_url": picture, **FAST})
    code, out, err = run(capsys, "request", path, "--models", "pocket", "-o", "made", "--device", "cpu")
    assert code == 0, err
    output = json.loads(out)
    (image,) = output["images"]
    file = tmp_path / "made" / image["file_name"]
    assert image == {
        "url": file.as_uri(),
        "content_type": "image/png",
        "file_name": "Fooocus_00001_.png",
        "file_size": file.stat().st_size,
        "width": image["width"],
        "height": image["height"],
    }
    with Image.open(file) as saved:
        assert saved.size == (image["width"], image["height"])
    assert output["has_nsfw_concepts"] == [False]
    assert output["seed"] == 5
    assert output["timings"]["inference"] > 0
    assert set(output) == {"images", "timings", "has_nsfw_concepts", "seed"}


def test_with_sync_mode_the_image_is_in_the_output(capsys: pytest.CaptureFixture[str]) -> None:
    path = write("request.json", {"uov_image_url": "small.png", **FAST, "sync_mode": True})
    code, out, err = run(capsys, "request", path, "--models", "pocket", "--device", "cpu", "--json")
    assert code == 0, err
    (image,) = json.loads(out)["images"]
    assert base64.b64decode(image["url"].removeprefix("data:image/png;base64,"))[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("body", "options", "message"),
    [
        ({"sharpness": 99}, [], "sharpness: Input should be less than or equal to 30"),
        ({}, ["--endpoint", "fal-ai/fooocus/outpaint"], "unknown endpoint 'fal-ai/fooocus/outpaint'"),
        ({}, ["--endpoint", "fal-ai/fooocus/inpaint"], "inpaint_image_url: Field required"),
        ({}, ["--safety-checker", "nothing.bin"], "safety_checker file 'nothing.bin' is missing"),
        ({"uov_image_url": "http://127.0.0.1/b.png"}, ["--safety-checker", "off"], "uov_image_url: "),
        ({"uov_image_url": "data:a/b;base64,@"}, ["--safety-checker", "off"], "uov_image_url: the data URI"),
        ([], [], "the request: Input should be a valid dictionary"),
    ],
)  # fmt: skip
def test_what_a_user_can_mend(body: Any, options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "request", write("request.json", body), "--models", "pocket", *options)
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith(f"error: {message}")


def test_pictures_and_loras_are_fetched(serving: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A LoRA that fits nothing is refused when it is merged, so that it was found shows it was fetched."""
    fields = {**FAST, "uov_image_url": f"{serving}/small.png", "sync_mode": True}
    allowed = ["--models", "pocket", "--device", "cpu", "--allow-network", "127.0.0.0/8"]
    code, out, err = run(capsys, "request", write("request.json", fields), *allowed)
    assert code == 0, err
    save_file({"lora_unet_nothing.alpha": torch.ones(1)}, "a.safetensors")
    body = {"loras": [{"path": f"{serving}/a.safetensors"}], "enable_safety_checker": False}
    code, out, err = run(capsys, "request", write("request.json", body), *allowed)
    assert (code, out) == (2, "")
    assert hashlib.sha256(Path("a.safetensors").read_bytes()).hexdigest() in err
    code, out, err = run(capsys, "request", write("request.json", fields), "--models", "pocket")
    assert (code, out) == (2, "")
    assert "loopback" in err


def test_images_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    fields = {**FAST, "uov_image_url": "small.png", "enable_safety_checker": True}
    options = ["--models", "pocket", "--device", "cpu", "--safety-checker", "pocket"]
    code, out, err = run(capsys, "request", write("request.json", fields), *options)
    assert code == 0, err
    assert json.loads(out)["has_nsfw_concepts"] == [False]
    assert "protects nobody" in err
    options[-1] = "off"
    code, out, err = run(capsys, "request", write("request.json", fields), *options)
    assert code == 0, err
    assert json.loads(out)["has_nsfw_concepts"] == []
    assert "its images are not checked" in err


@pytest.mark.parametrize("command", ["request", "convert"])
def test_a_missing_package_is_named(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pydantic", None)
    code, out, err = run(capsys, command, write("request.json", {}))
    assert (code, out) == (2, "")
    assert err == "error: package pydantic is not installed; run: pip install 'fooocus-stages[serve]'\n"


def test_files_that_are_no_requests(capsys: pytest.CaptureFixture[str]) -> None:
    Path("broken.json").write_text("{")
    assert "request 'nothing.json' is not there" in run(capsys, "request", "nothing.json")[2]
    assert "broken.json is not JSON" in run(capsys, "request", "broken.json")[2]
    assert "file 'nothing.png' is not there" in run(capsys, "convert", "nothing.png")[2]


@pytest.mark.parametrize("mode", MODES)
def test_a_request_becomes_the_workflow_of_its_mode(mode: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "convert", FOLDER / f"{mode}.json")
    assert code == 0, err
    assert json.loads(out) == json.loads((WORKFLOWS / "api" / f"{NAMES[mode]}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("mode", ["B01", "I16", "P05"])
def test_a_request_becomes_a_canvas(mode: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "convert", FOLDER / f"{mode}.json", "--form", "canvas", "-o", "made/a.json")[0] == 0
    ours = json.loads(Path("made/a.json").read_text(encoding="utf-8"))
    theirs = json.loads((WORKFLOWS / f"{NAMES[mode]}.json").read_text(encoding="utf-8"))
    assert ours["links"] == theirs["links"]
    shown = [node for node in theirs["nodes"] if node["type"] != "MarkdownNote"]
    assert [node for node in ours["nodes"] if node["type"] != "MarkdownNote"] == shown


def test_a_workflow_becomes_its_request_again(capsys: pytest.CaptureFixture[str]) -> None:
    path = WORKFLOWS / "api" / f"{NAMES['I16']}.json"
    call = json.loads(run(capsys, "convert", path)[1])
    assert call["endpoint"] == "fal-ai/fooocus/inpaint"
    assert call["input"]["inpaint_erode_or_dilate"] == 4
    again = run(capsys, "convert", write("call.json", call))[1]
    assert json.loads(again) == json.loads(path.read_text(encoding="utf-8"))


def test_a_random_seed_where_there_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    path = write("request.json", {"prompt": "a cat"})
    seeds = {
        node["inputs"]["seed"]
        for _ in range(3)
        for node in json.loads(run(capsys, "convert", path)[1]).values()
        if node["class_type"] == "FooocusPrompt"
    }
    assert len(seeds) == 3


def test_addresses_become_names_of_files(capsys: pytest.CaptureFixture[str]) -> None:
    body = {
        "inpaint_image_url": "https://a.example/b/my%20cat.png?x=1",
        "mask_image_url": picture_uri(),
        "loras": [{"path": "https://a.example/style.safetensors"}],
    }
    code, out, err = run(capsys, "convert", write("request.json", body))
    assert code == 0
    inputs = [node["inputs"] for node in json.loads(out).values()]
    names = [node["image"] for node in inputs if isinstance(node.get("image"), str)]
    assert names[0] == "my cat.png"
    assert Path(names[1]).is_file()
    assert "style.safetensors" in [node.get("lora_name") for node in inputs]
    assert "note: the workflow loads 'my cat.png': download it from https://a.example/b/my%20cat.png?x=1" in err
    assert "the workflow does not check its images" in err


def test_a_safety_check_in_the_workflow(capsys: pytest.CaptureFixture[str]) -> None:
    path = write("request.json", {"prompt": "a cat", "seed": 1})
    assert "the workflow does not check its images" in run(capsys, "convert", path)[2]
    assert "does not check" not in run(capsys, "convert", write("off.json", {"enable_safety_checker": False}))[2]


def test_a_saved_image_becomes_its_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write("request.json", {"uov_image_url": "example.png", **FAST})
    assert run(capsys, "request", path, "--models", "pocket", "-o", "made", "--device", "cpu")[0] == 0
    code, out, err = run(capsys, "convert", "made/Fooocus_00001_.png")
    assert code == 0, err
    assert json.loads(out) == {
        "endpoint": "fal-ai/fooocus/upscale-or-vary",
        "input": {"seed": 5, "output_format": "png", "enable_safety_checker": False, "uov_image_url": "example.png"}
        | {"uov_method": "Upscale (Fast 2x)"},
    }


def test_an_image_without_a_workflow_tells_its_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    example = Path(fooocus_stages.__file__).parent / "pocket" / "pictures" / "example_metadata.png"
    with Image.open(example) as image:
        exif = Image.Exif()
        exif[0x9286] = image.info["parameters"]
        exif[0x927C] = image.info["fooocus_scheme"]
        image.convert("RGB").save("parameters.jpeg", exif=exif)
    code, out, err = run(capsys, "convert", "parameters.jpeg", "--models", "pocket")
    assert code == 0, err
    call = json.loads(out)
    assert call["endpoint"] == "fal-ai/fooocus"
    assert call["input"]["prompt"]
    assert "tell of no picture that the image was made from" in err
    Image.new("RGB", (8, 8)).save("plain.png")
    code, out, err = run(capsys, "convert", "plain.png")
    assert (code, out) == (2, "")
