"""Over HTTP and the websocket: the pack loads, its workflows run, run again from the cache, and stop when asked."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.error
from itertools import pairwise
from pathlib import Path
from typing import Any

import fooocus_stages
import pytest

from .server import NAME, PACK, Comfy, Run, pocket_workflow

ALL = sorted(path.stem for path in (PACK / "workflows/api").glob("*.json"))
NAMES = [name for name in ALL if not name.startswith("native-")]  # those need a checkpoint of ComfyUI's own
BLUEPRINTS = sorted(path.stem for path in (PACK / "subgraphs").glob("*.json"))
LANGUAGES = sorted(path.parent.name for path in (PACK / "locales").glob("*/nodeDefs.json"))
FEWEST_COLORS = 50


def nodes_of(graph: Any, class_type: str) -> list[str]:
    return [node_id for node_id, node in graph.items() if node["class_type"] == class_type]


def test_it_loads_without_a_complaint(comfy: Comfy) -> None:
    log = comfy.log.read_text("utf-8")
    assert "IMPORT FAILED" not in log
    assert "Traceback" not in log
    declared = comfy.ask("/object_info")
    assert set(fooocus_stages.NODE_CLASS_MAPPINGS) <= set(declared)
    assert "pocket" in declared["FooocusLoadCheckpoint"]["input"]["required"]["ckpt_name"][0]


def test_the_templates_are_listed(comfy: Comfy) -> None:
    listed = comfy.ask("/workflow_templates")[NAME]
    assert sorted(listed) == sorted(path.stem for path in (PACK / "workflows").glob("*.json"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_texts_of_a_language_are_served(comfy: Comfy, language: str) -> None:
    served = comfy.ask("/i18n")[language]
    assert set(fooocus_stages.NODE_CLASS_MAPPINGS) <= set(served["nodeDefs"])
    assert "Fooocus" in served["nodeCategories"]


@pytest.mark.parametrize("node", fooocus_stages.NODE_CLASS_MAPPINGS)
def test_a_node_has_a_help_page_whose_images_are_served(comfy: Comfy, node: str) -> None:
    folder = f"/extensions/{NAME}/docs"
    page = comfy.read(f"{folder}/{node}.md").decode("utf-8")
    assert page.strip()
    for image in re.findall(r"!\[[^]]*\]\(([^):]+)\)", page):
        assert comfy.read(f"{folder}/{image}")


@pytest.mark.parametrize("name", BLUEPRINTS)
def test_a_blueprint_is_listed(comfy: Comfy, name: str) -> None:
    if not comfy.serves("/global_subgraphs"):
        pytest.skip("this ComfyUI serves no blueprints")
    listed = comfy.ask("/global_subgraphs")
    assert any(NAME in json.dumps(about) and about["name"] == name for about in listed.values())


def test_a_notice_is_shown_on_its_node(comfy: Comfy) -> None:
    graph = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0}},
        "2": {"class_type": "FooocusFaceCrop", "inputs": {"image": ["1", 0], "detector_name": "pocket"}},
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
    }
    run = comfy.run(graph)
    assert run.status == "success", run.error
    assert list(run.texts) == ["2"]
    assert "no face" in run.texts["2"]
    assert run.previews == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_workflow_draws_and_then_comes_from_the_cache(comfy: Comfy, name: str) -> None:
    graph = pocket_workflow(name, seed=1000 + NAMES.index(name))
    first = comfy.run(graph)
    assert first.status == "success", first.error
    assert set(graph) <= {*first.executed, *first.cached}
    _assert_drawn(comfy, first)
    for sampler in nodes_of(graph, "FooocusSampler"):
        _assert_followed(first, sampler)
    again = comfy.run(graph)
    assert (again.status, again.executed, sorted(again.cached)) == ("success", [], sorted(graph))
    assert again.outputs == first.outputs


def _assert_drawn(comfy: Comfy, run: Run) -> None:
    """The images open, and one is more than an even area; a preview of a fill or a crop may be one."""
    colors = [image.convert("RGB").getcolors(image.width * image.height) or [] for image in comfy.images(run)]
    assert max(map(len, colors), default=0) >= FEWEST_COLORS


def _assert_followed(run: Run, sampler: str) -> None:
    """The sampler counted its steps up to the last one, and showed the image on the way."""
    progress = run.progress[sampler]
    for (step, total), (following, _) in pairwise(progress):
        assert following >= step or step == total, f"step {following} after step {step} of {total}"
    last, total = progress[-1]
    assert last == total > 0
    assert run.previews > 0


def test_an_interrupt_stops_the_sampler_within_a_step(comfy: Comfy) -> None:
    graph = pocket_workflow("text-to-image-quality", seed=7)
    (performance,), (sampler,) = nodes_of(graph, "FooocusPerformance"), nodes_of(graph, "FooocusSampler")
    graph[performance]["inputs"]["overwrite_step"] = 200
    interrupted_at: list[int] = []

    def interrupt(run: Run) -> None:
        if (steps := run.steps(sampler)) and steps[-1] >= 3 and not interrupted_at:
            comfy.ask("/interrupt", {})
            interrupted_at.append(steps[-1])

    run = comfy.run(graph, interrupt)
    assert run.status == "interrupted"
    assert sampler not in run.outputs
    assert run.steps(sampler)[-1] < 200
    after = comfy.run(pocket_workflow("text-to-image-lightning", seed=8))
    assert after.status == "success", after.error


def test_a_wrong_name_is_refused_with_a_way_out(comfy: Comfy) -> None:
    graph = pocket_workflow("text-to-image-lightning")
    (checkpoint,) = nodes_of(graph, "FooocusLoadCheckpoint")
    graph[checkpoint]["inputs"]["ckpt_name"] = "nowhere.safetensors"
    with pytest.raises(urllib.error.HTTPError) as refused:
        comfy.ask("/prompt", {"prompt": graph})
    answer = json.loads(refused.value.read())
    details = [error["details"] for node in answer["node_errors"].values() for error in node["errors"]]
    assert any("'nowhere.safetensors'" in text and "looked in" in text for text in details)


def test_the_command_line_runs_a_workflow_there(comfy: Comfy, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fooocus_stages.serving.cli", "run", "text-to-image-lightning", "--json"]
    command += ["--comfyui", comfy.url, "--set", "Checkpoint.ckpt_name=pocket", "--seed", "11", "-n", "2"]
    first, again = (
        json.loads(subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout)
        for _ in range(2)
    )
    assert (first["seeds"], first["blocked"]) == ([11, 12], {})
    nodes = sorted(pocket_workflow("text-to-image-lightning"))
    assert sorted(first["executed"] + first["cached"]) == nodes
    assert (sorted(again["cached"]), again["executed"]) == (nodes, [])
    pictures = [tmp_path / output["path"] for output in first["outputs"] + again["outputs"]]
    assert len(set(pictures)) == 4
    contents = [picture.read_bytes() for picture in pictures]
    assert contents[:2] == contents[2:]
    assert contents[0] != contents[1]
