"""The bundled workflows with a user's own checkpoint: extras of the templates that are missing never stop a run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import fooocus_stages
import pytest
from fooocus_stages.nodes import NODE_CLASS_MAPPINGS
from fooocus_stages.nodes.comfy import use_host
from fooocus_stages.nodes.headless import HEADLESS_NODES
from fooocus_stages.pipelines.assets.needs import how_to_get
from fooocus_stages.pipelines.errors import UserError
from fooocus_stages.pipelines.host import POCKET, LocalHost
from fooocus_stages.pipelines.settings import PERFORMANCES
from fooocus_stages.serving.bundled import catalogue
from fooocus_stages.serving.engine.runner import Runner
from PIL import Image

API = Path(fooocus_stages.__file__).parent / "workflows" / "api"
REGISTRY = {**NODE_CLASS_MAPPINGS, **HEADLESS_NODES}
NAMES = [template.name for template in catalogue.TEMPLATES]
OWN = "my_mix.safetensors"
OFFSET = "sd_xl_offset_example-lora_1.0"
EXTRAS = (OFFSET, "SDXL_FILM_PHOTOGRAPHY_STYLE_V1", "realisticVisionV60B1_v51VAE")
UPSCALER = "fooocus_upscaler_s409985e5.bin"
KINDS = ("controlnet", "clip_vision", "inpaint", "face_detection")
REQUIRED = (
    *(mode.lora for mode in PERFORMANCES.values() if mode.lora),
    *(path.name for kind in KINDS for path in (POCKET / kind).iterdir()),
)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A models folder with one checkpoint and its vocabulary."""
    checkpoints = tmp_path / "models" / "checkpoints"
    checkpoints.mkdir(parents=True)
    shutil.copy(POCKET / "checkpoints" / "juggernautXL_v8Rundiffusion.safetensors", checkpoints / OWN)
    shutil.copytree(POCKET / "checkpoints" / "juggernautXL_v8Rundiffusion.tokenizer", checkpoints / "my_mix.tokenizer")
    return tmp_path / "models"


@pytest.fixture
def notices() -> list[str]:
    return []


@pytest.fixture
def host(tmp_path: Path, models: Path, notices: list[str]) -> LocalHost:
    return LocalHost([models], output=tmp_path, input=tmp_path, device="cpu", on_notice=notices.append, hint=how_to_get)


def graph(name: str, **changes: Any) -> Any:
    """A bundled workflow with the user's checkpoint, in a small size and a few steps."""
    nodes = json.loads((API / f"{name}.json").read_text(encoding="utf-8"))
    for node in nodes.values():
        inputs = node["inputs"]
        if "ckpt_name" in inputs:
            inputs["ckpt_name"] = OWN
        if node["class_type"] == "FooocusPerformance":
            inputs["overwrite_step"] = 2
        inputs |= {key: value for key, value in changes.items() if key in inputs}
    return nodes


@pytest.mark.parametrize("name", NAMES)
def test_it_draws_or_names_a_file_that_the_mode_needs(name: str, host: LocalHost) -> None:
    with use_host(host):
        try:
            Runner(REGISTRY).run(graph(name))
        except UserError as error:
            message = str(error)
            needed = (*REQUIRED, UPSCALER) if name.startswith("upscale") or "-upscale-" in name else REQUIRED
            assert any(file in message for file in needed), message
            assert "run `fooocus-stages assets fetch" in message
            assert not any(extra in message for extra in EXTRAS), message


def test_an_extra_that_is_missing_is_left_out_with_a_notice(
    host: LocalHost, notices: list[str], tmp_path: Path
) -> None:
    with use_host(host):
        results = Runner(REGISTRY).run(graph("text-to-image-refiner", performance="Speed", format="png"))
    ((saved,),) = (shown["images"] for shown in results.ui.values())
    with Image.open(tmp_path / saved["subfolder"] / saved["filename"]) as picture:
        parameters = picture.text["parameters"]
    assert OFFSET not in parameters
    assert "realisticVision" not in parameters
    assert json.loads(parameters)["loras"] == []
    for extra in (OFFSET, "realisticVision"):
        (notice,) = [text for text in notices if extra in text]
        assert "run `fooocus-stages assets fetch" in notice


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"skip_missing": False}, OFFSET),
        ({"lora_name": "chosen.safetensors"}, "chosen.safetensors"),
        ({"text": "a circle <lora:chosen:1>", "skip_missing": False}, OFFSET),
    ],
)
def test_a_missing_lora_that_the_user_chose_is_an_error(host: LocalHost, changes: dict[str, Any], message: str) -> None:
    with use_host(host), pytest.raises(UserError, match=message):
        Runner(REGISTRY).run(graph("text-to-image-speed", **changes))
