"""From a workflow back to a request."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fooocus_stages.pipelines.errors import BadFile, BadGraph
from fooocus_stages.pipelines.host import LocalHost
from fooocus_stages.pipelines.stages.save import save_pictures
from fooocus_stages.serving.bundled.building_blocks import BUILDING_BLOCKS
from fooocus_stages.serving.bundled.catalogue import TEMPLATES
from fooocus_stages.serving.requests.back import graph_in, request_of
from fooocus_stages.serving.requests.endpoints import (
    IMAGE_PROMPT,
    INPAINT,
    TEXT_TO_IMAGE,
    UPSCALE_OR_VARY,
    InvalidRequest,
)
from fooocus_stages.serving.requests.graphs import graph_of

from .examples import MODES, request_to

GRAPHS = {template.mode: template.graph for template in TEMPLATES}
BLOCKS = {block.name.removeprefix("building-block-"): block.graph for block in BUILDING_BLOCKS}


@pytest.mark.parametrize("mode", MODES)
def test_the_request_of_a_workflow_gives_it_again(mode: str) -> None:
    back = request_of(GRAPHS[mode])
    assert back.lost == ()
    assert back.notice == ""
    assert graph_of(back.request, {}) == GRAPHS[mode]
    assert back.request.endpoint in (INPAINT, IMAGE_PROMPT, TEXT_TO_IMAGE, UPSCALE_OR_VARY)


@pytest.mark.parametrize("checker", ["None", "pocket"])
def test_the_safety_check_comes_back(checker: str) -> None:
    graph = graph_of(request_to(TEXT_TO_IMAGE, seed=1), {}, checker)
    back = request_of(graph)
    assert back.lost == ()
    assert back.request.input.enable_safety_checker is (checker != "None")
    assert graph_of(back.request, {}, checker) == graph


def test_what_a_request_does_not_name_is_left_out() -> None:
    assert request_of(graph_of(request_to(TEXT_TO_IMAGE, prompt="a", seed=3), {}, "pocket")).request.body() == {
        "prompt": "a",
        "seed": 3,
    }


@pytest.mark.parametrize(
    ("name", "lost"),
    [("freeu", "FooocusFreeU.b1 = 1.01"), ("schedule", "FooocusScheduler"), ("control-image", "PreviewImage")],
)
def test_what_no_request_can_have_is_named(name: str, lost: str) -> None:
    back = request_of(BLOCKS[name])
    assert lost in back.lost
    assert back.notice.startswith("a request has no field for these parts of the workflow: ")


def test_a_changed_setting_is_named() -> None:
    graph = changed("B03", "FooocusSamplingSettings", sampler="euler")
    assert request_of(graph).lost == ("FooocusSamplingSettings.sampler = 'euler'",)


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (BLOCKS["mask-tools"], "the workflow has no Fooocus Save Image"),
        (BLOCKS["expansion"], r"FooocusPrompt\.text is linked to another node"),
        (BLOCKS["image-to-image"], "uses a picture in a way that no request has: LoadImage"),
        (BLOCKS["inpaint-step-by-step"], "uses a picture in a way that no request has: LoadImage"),
        ({"1": {"class_type": "FooocusSaveImage", "inputs": {}}}, "the workflow has no Fooocus Prompt"),
        (
            {"1": {"class_type": "FooocusPrompt", "inputs": {}}}
            | {"2": {"class_type": "FooocusSaveImage", "inputs": {}}},
            "no input 'text'",
        ),
        ({str(i): {"class_type": "FooocusSaveImage", "inputs": {}} for i in range(2)}, "has 2 nodes FooocusSaveImage"),
    ],
)
def test_a_workflow_that_is_none_of_the_endpoints(graph: dict[str, Any], message: str) -> None:
    with pytest.raises(BadGraph, match=message):
        request_of(graph)


def test_a_value_that_a_request_refuses() -> None:
    with pytest.raises(InvalidRequest, match="num_images: Input should be less than or equal to 4"):
        request_of(changed("B09", "FooocusPrompt", num_images=9))


@pytest.mark.parametrize("format", ["png", "webp"])
def test_the_workflow_in_a_picture(format: str, tmp_path: Path) -> None:
    host = LocalHost(output=tmp_path)
    (saved,) = save_pictures(host, np.zeros((1, 8, 8, 3)), format=format, prompt=GRAPHS["I16"])
    found = graph_in(tmp_path / saved["filename"])
    assert found == json.loads(json.dumps(GRAPHS["I16"]))
    assert request_of(found).request.input.inpaint_erode_or_dilate == 4  # type: ignore[attr-defined,arg-type]


def test_a_picture_without_a_workflow_and_a_file_that_is_none(tmp_path: Path) -> None:
    host = LocalHost(output=tmp_path)
    for format in ("png", "jpeg"):
        (saved,) = save_pictures(host, np.zeros((1, 8, 8, 3)), format=format)
        assert graph_in(tmp_path / saved["filename"]) is None
    (saved,) = save_pictures(host, np.zeros((1, 8, 8, 3)), extra_pnginfo={"prompt": [1]})
    assert graph_in(tmp_path / saved["filename"]) is None
    (tmp_path / "a.png").write_bytes(b"none")
    with pytest.raises(BadFile):
        graph_in(tmp_path / "a.png")


def changed(mode: str, class_type: str, **inputs: Any) -> dict[str, Any]:
    graph = copy.deepcopy(GRAPHS[mode])
    for node in graph.values():
        if node["class_type"] == class_type:
            node["inputs"] |= inputs
    return graph
