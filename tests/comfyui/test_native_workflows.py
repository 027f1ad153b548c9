"""The bundled workflows on ComfyUI's own models, queued in a real ComfyUI with a small model in the loader's place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fooocus_stages.pipelines.host import POCKET
from fooocus_stages.pipelines.settings import DEFAULT_VAE
from fooocus_stages.serving.bundled.native_models import NATIVE_WORKFLOWS

from .server import Comfy, comfyui, pocket_workflow

PACK = Path(__file__).parent / "native_pack"
FILES = ("loras", "inpaint")  # kinds that ComfyUI's own nodes, or ours without the pocket's model, look for

SMALLER = {
    "CheckpointLoaderSimple": ("TestNativeCheckpoint", {}),
    "FooocusAspectRatio": ("FooocusAspectRatio", {"aspect_ratio": "custom", "width": 128, "height": 128}),
    "FooocusPerformance": ("FooocusPerformance", {"overwrite_step": 3}),
    "KSampler": ("KSampler", {"steps": 3}),
}
"""What takes the place of a node, or which of its inputs change."""
LOADED = {"ckpt_name": "pocket", "vae_name": DEFAULT_VAE, "clip_skip": 2}


@pytest.fixture(scope="module")
def native(checkout: Path, python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Comfy]:
    """A ComfyUI with the tests' node pack and some of the pocket's files in its own folders."""
    folder = tmp_path_factory.mktemp("native")
    for link, target in {
        "custom_nodes/native-pack": PACK,
        **{f"models/{kind}": POCKET / kind for kind in FILES},
    }.items():
        (folder / link).parent.mkdir(parents=True, exist_ok=True)
        (folder / link).symlink_to(target)
    with comfyui(checkout, python, folder) as running:
        yield running


def smaller(name: str) -> Any:
    """Return a bundled workflow with the tests' own checkpoint, at a size and with steps for a CPU."""
    graph = pocket_workflow(name)
    for node in list(graph.values()):
        kind, inputs = SMALLER.get(node["class_type"], (node["class_type"], {}))
        node["inputs"] |= inputs
        if kind != node["class_type"]:
            node |= {"class_type": kind, "inputs": inputs}
        if node["class_type"] == "FooocusInpaintCrop":  # in the size of a smaller model
            node["inputs"]["model"] = ["pocket", 0]
            graph["pocket"] = {"class_type": "FooocusLoadCheckpoint", "inputs": LOADED}
    return graph


@pytest.mark.parametrize("name", [workflow.name for workflow in NATIVE_WORKFLOWS])
def test_a_workflow_on_a_native_model_draws(native: Comfy, name: str) -> None:
    graph = smaller(name)
    run = native.run(graph)
    assert run.status == "success", run.error
    assert set(graph) <= {*run.executed, *run.cached}
    spread = [np.asarray(image.convert("L")).std() for image in native.images(run)]
    assert max(spread) > 1, spread  # a filled hole may have one colour
