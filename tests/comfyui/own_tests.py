"""ComfyUI's own execution tests, run by the pack's engine in place of a ComfyUI server.

pytest collects this file in ComfyUI's Python (see test_engine.py). The test classes and the testing pack come from the
checkout that COMFYUI_DIR names; the fixtures that would start a server return a client that runs each graph here.
"""

from __future__ import annotations

import importlib
import os
import sys
import urllib.error
import uuid
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(os.environ["COMFYUI_DIR"])
sys.path.insert(0, str(CHECKOUT))

from comfy.cli_args import args  # noqa: E402

args.cpu = True
args.base_directory = str(Path(__file__).parent)
importlib.import_module("utils.extra_config")  # ComfyUI's `utils`, before another module can take the name

import folder_paths  # noqa: E402
from fooocus_stages.pipelines.errors import BadGraph  # noqa: E402
from fooocus_stages.serving.engine.declarations import Registry  # noqa: E402
from fooocus_stages.serving.engine.node_packs import load_pack  # noqa: E402
from fooocus_stages.serving.engine.results import NodeError  # noqa: E402
from fooocus_stages.serving.engine.runner import Runner  # noqa: E402
from fooocus_stages.serving.engine.validate import validate  # noqa: E402
from PIL import Image  # noqa: E402

import nodes  # noqa: E402

upstream = importlib.import_module("tests.execution.test_execution")
upstream_async = importlib.import_module("tests.execution.test_async_nodes")


def registry() -> dict[str, Any]:
    """Return the nodes that the tests use: the testing pack's and a few of ComfyUI's."""
    testing_pack = load_pack(CHECKOUT / "tests/execution/testing_nodes/testing-pack")
    return {**nodes.NODE_CLASS_MAPPINGS, "RebatchImages": rebatch_images(), **testing_pack.classes}


def rebatch_images() -> type[Any]:
    """Return ComfyUI's Rebatch Images in V1 form, the only one that the engine runs."""
    declared = importlib.import_module("comfy_extras.nodes_rebatch").ImageRebatch
    if not hasattr(declared, "execute"):
        return declared

    class RebatchImages:
        RETURN_TYPES, OUTPUT_IS_LIST, INPUT_IS_LIST, FUNCTION = ("IMAGE",), (True,), True, "rebatch"

        @classmethod
        def INPUT_TYPES(cls) -> Any:
            return declared.INPUT_TYPES()

        def rebatch(self, **inputs: Any) -> Any:
            return declared.execute(**inputs).result

    return RebatchImages


class Client:
    """Runs the graphs of the tests and answers as ComfyUI's client does."""

    def __init__(self) -> None:
        self.runner = Runner(registry())
        self.test_name = ""

    def set_test_name(self, name: str) -> None:
        self.test_name = name

    def run(self, graph: Any, partial_execution_targets: list[str] | None = None) -> Any:
        prompt = graph.finalize()
        for node in prompt.values():
            if node["class_type"] == "SaveImage":
                node["inputs"]["filename_prefix"] = self.test_name
        answer = upstream.RunResult(str(uuid.uuid4()))
        try:
            results = self.runner.run(prompt, self.valid_outputs(prompt, partial_execution_targets))
        except BadGraph as error:
            raise urllib.error.HTTPError("prompt", 400, str(error), Message(), None) from error
        except NodeError as error:
            told = {"prompt_id": answer.prompt_id, "node_id": error.node_id, "exception_message": str(error.__cause__)}
            raise Exception(told) from error
        answer.runs = dict.fromkeys(results.executed, True)
        answer.cached = dict.fromkeys(results.cached, True)
        answer.outputs = {node_id: with_images(ui) for node_id, ui in results.ui.items()}
        return answer

    def valid_outputs(self, prompt: Any, targets: list[str] | None) -> list[str]:
        """Return the outputs that ComfyUI would run: it drops invalid ones, where the engine refuses the workflow."""
        classes = Registry(self.runner.classes)
        if targets is None:
            targets = [at for at, node in prompt.items() if classes[node["class_type"]].is_output]
        valid = [target for target in targets if is_valid(prompt, classes, target)]
        if not valid:
            raise BadGraph("no output is valid")
        return valid


def is_valid(prompt: Any, classes: Registry, target: str) -> bool:
    try:
        validate(prompt, classes, [target])
    except BadGraph:
        return False
    return True


def with_images(ui: dict[str, list[Any]]) -> dict[str, list[Any]]:
    images = [
        Image.open(Path(folder_paths.get_directory_by_type(at["type"]), at["subfolder"], at["filename"]))
        for at in ui.get("images", [])
    ]
    return {**ui, "image_objects": images} if images else ui


class Here:
    """The fixtures of ComfyUI's test classes, without a server."""

    @pytest.fixture(scope="class", autouse=True)
    def server(self) -> dict[str, bool]:
        return {"should_cache_results": True}

    @pytest.fixture(scope="class", autouse=True)
    def _server(self) -> None:
        pass

    @pytest.fixture(scope="class", autouse=True)
    def shared_client(self) -> Client:
        return Client()

    @pytest.fixture
    def skip_timing_checks(self) -> bool:
        return True


class TestExecution(Here, upstream.TestExecution):
    pass


class TestAsyncNodes(Here, upstream_async.TestAsyncNodes):
    pass
