"""Networks that a host keeps for later graphs: how often files are read, the bound, and what ends with them."""

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from shutil import copy, copytree
from typing import Any

import pytest
from fooocus_stages.nodes.comfy import use_host
from fooocus_stages.pipelines.host import POCKET, LocalHost
from fooocus_stages.pipelines.models import checkpoint, upscaler
from fooocus_stages.pipelines.settings import DEFAULT_CHECKPOINT
from fooocus_stages.pipelines.stages import load, upscale
from fooocus_stages.serving.bundled.workflow_files import read_workflow
from fooocus_stages.serving.commands.common import REGISTRY
from fooocus_stages.serving.engine.runner import Runner
from torch.nn import Linear, Module

GIGABYTE = 2**30
NEED_BYTES = 100  # of a layer of 5 x 5 floats


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the networks' files in the order in which they are read."""
    read: list[str] = []

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def reading(path: Path, *arguments: Any, **settings: Any) -> Any:
            read.append(path.name)
            return original(path, *arguments, **settings)

        return reading

    monkeypatch.setattr(load.checkpoints, "load_checkpoint", counted(checkpoint.load_checkpoint))
    monkeypatch.setattr(upscale, "load_upscaler", counted(upscaler.load_upscaler))
    return read


def host_of(folder: Path, network_bytes: int) -> LocalHost:
    return LocalHost([POCKET], folder / "out", folder, "cpu", on_notice=lambda _: None, network_bytes=network_bytes)


def run(host: LocalHost, workflow: str) -> None:
    """Run the nodes of a workflow that load networks."""
    graph = read_workflow(workflow)
    loaders = [
        node_id for node_id, node in graph.items() if "Load" in node["class_type"] and "Fooocus" in node["class_type"]
    ]
    with use_host(host):
        Runner(REGISTRY).run(graph, loaders)


def test_an_upscale_between_two_text_requests_costs_no_second_read(tmp_path: Path, reads: list[str]) -> None:
    host = host_of(tmp_path, GIGABYTE)
    for workflow in ("text-to-image-extreme-speed", "upscale-fast-2x", "text-to-image-extreme-speed"):
        run(host, workflow)
    assert len(reads) == len(set(reads)) == 2


def test_without_memory_for_networks_they_end_with_their_graph(tmp_path: Path, reads: list[str]) -> None:
    host = host_of(tmp_path, 0)
    for workflow in ("text-to-image-extreme-speed", "upscale-fast-2x", "text-to-image-extreme-speed"):
        run(host, workflow)
    assert len(reads) == 3


def layer() -> Module:
    return Linear(5, 5, bias=False)


def test_the_least_recently_used_network_goes_first(tmp_path: Path) -> None:
    host = host_of(tmp_path, 2 * NEED_BYTES)
    made: list[str] = []

    def get(name: str) -> Module:
        return host.keep_networks(name, lambda: made.append(name) or layer())  # type: ignore[func-returns-value]

    for name in "abacab":
        get(name)
    assert made == ["a", "b", "c", "b"]


def test_a_dropped_network_leaves_the_memory(tmp_path: Path) -> None:
    host = host_of(tmp_path, NEED_BYTES)
    first = host.keep_networks("first", layer)
    host.load("unet", first)
    seen = weakref.ref(first)
    del first
    gc.collect()
    assert seen() is not None
    host.keep_networks("second", layer)
    gc.collect()
    assert seen() is None


def test_freeing_drops_every_network(tmp_path: Path) -> None:
    host = host_of(tmp_path, GIGABYTE)
    big = host.keep_networks("big", lambda: Linear(200, 200))
    seen = weakref.ref(big)
    del big
    host.free()
    gc.collect()
    assert seen() is None


def test_a_replaced_file_is_read_again(tmp_path: Path, reads: list[str]) -> None:
    folder = tmp_path / "models" / "checkpoints"
    folder.mkdir(parents=True)
    file = folder / "mine.safetensors"
    of_pocket = POCKET / "checkpoints" / DEFAULT_CHECKPOINT
    copy(of_pocket, file)
    copytree(of_pocket.with_suffix(".tokenizer"), file.with_suffix(".tokenizer"))
    host = LocalHost([tmp_path / "models", POCKET], device="cpu", on_notice=lambda _: None, network_bytes=GIGABYTE)
    load.checkpoint(host, file.name)
    load.checkpoint(host, file.name)
    copy(file, folder / "new")
    (folder / "new").replace(file)
    load.checkpoint(host, file.name)
    assert len(reads) == 2


def test_settings_of_a_load_are_not_confused(tmp_path: Path) -> None:
    host = host_of(tmp_path, GIGABYTE)
    plain = load.read_checkpoint(host, POCKET / "checkpoints" / DEFAULT_CHECKPOINT)
    v = load.read_checkpoint(host, POCKET / "checkpoints" / DEFAULT_CHECKPOINT, prediction="v")
    assert (plain.model.prediction, v.model.prediction) == ("eps", "v")
    model, clip, _ = load.checkpoint(host, DEFAULT_CHECKPOINT, clip_skip=1)
    again, other, _ = load.checkpoint(host, DEFAULT_CHECKPOINT, clip_skip=2)
    assert (clip.skip, other.skip) == (1, 2)
    assert model.network is again.network
