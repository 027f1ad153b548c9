"""A worker process that draws with the pocket model: results, previews, networks that stay, cancel and kill."""

from __future__ import annotations

import hashlib
import io
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from fooocus_stages.pipelines.host import POCKET
from fooocus_stages.serving.bundled.workflow_files import read_workflow
from fooocus_stages.serving.pool.local import LocalPool
from fooocus_stages.serving.pool.settings import WorkerSettings
from fooocus_stages.serving.pool.types import Cancelled, Done, Failed, Graph, Job, Log, Lost, Preview, Progress
from fooocus_stages.serving.requests.graphs import checked
from PIL import Image

from .watching import Watcher


@pytest.fixture(scope="module")
def watcher() -> Iterator[Watcher]:
    pool = LocalPool(["cpu"], WorkerSettings(models=(POCKET,)), grace=60.0)
    yield Watcher(pool)
    pool.close()


def drawing(seed: int = 7, performance: str = "Extreme Speed") -> Graph:
    graph = read_workflow("text-to-image-extreme-speed")
    for node in graph.values():
        for name, value in (("seed", seed), ("performance", performance)):
            if name in node["inputs"] and not isinstance(node["inputs"][name], list):
                node["inputs"][name] = value
    return graph


def upscaling(name: str) -> Graph:
    graph = read_workflow("upscale-fast-2x")
    loader = next(node for node in graph.values() if node["class_type"] == "LoadImage")
    loader["inputs"]["image"] = name
    return graph


def test_a_drawing_an_upscale_of_a_given_picture_and_the_drawing_again(watcher: Watcher, tmp_path: Path) -> None:
    picture = tmp_path / "content"
    Image.new("RGB", (40, 24), "teal").save(picture, "PNG")
    first = watcher.run("first", drawing(), previews=True)
    enlarged = watcher.run("enlarged", upscaling("mine.png"), files={"mine.png": picture})
    again = watcher.run("again", drawing())
    assert [(file.width, file.height) for file in enlarged.result.files] == [(1280, 768)]  # of the class of 1024
    (file,), (same,) = first.result.files, again.result.files
    assert (file.width, file.height, file.media_type) == (128, 128, "image/jpeg")
    assert Image.open(io.BytesIO(file.data)).size == (128, 128)
    assert hashlib.sha256(file.data).digest() == hashlib.sha256(same.data).digest()
    assert [seed for named in first.result.outputs.values() for seed in named["seed"]] == [7]
    previews = [event for event in watcher.seen if isinstance(event, Preview)]
    assert {event.job for event in previews} == {"first"}
    assert Image.open(io.BytesIO(previews[0].image)).format == "JPEG"
    loader = next(node for node, info in drawing().items() if info["class_type"] == "FooocusLoadCheckpoint")
    assert again.result.seconds[loader] < 0.2 * first.result.seconds[loader]


def test_cancelling_stops_within_one_step_of_the_sampler(watcher: Watcher) -> None:
    watcher.pool.submit(Job("long", drawing(performance="Quality")))
    step = watcher.until(Progress, "long")
    before = watcher.pool.workers()[0].pid
    watcher.pool.cancel("long")
    assert watcher.ending("long") == Cancelled("long")
    last = [event for event in watcher.seen if isinstance(event, Progress) and event.job == "long"][-1]
    assert last.value <= step.value + 2 < step.total
    assert isinstance(watcher.run("next", drawing()), Done)
    assert watcher.pool.workers()[0].pid == before


def test_a_missing_safety_checker_fails_the_request_before_anything_is_drawn(watcher: Watcher) -> None:
    graph = checked(drawing(), "gone.bin")
    failed = watcher.run("unchecked", graph)
    assert isinstance(failed, Failed)
    assert failed.kind == "user"
    assert "'gone.bin'" in failed.reason
    assert not [event for event in watcher.seen if isinstance(event, Progress | Log) and event.job == "unchecked"]


def test_a_kill_while_sampling_loses_that_job_alone(watcher: Watcher) -> None:
    watcher.pool.submit(Job("killed", drawing(performance="Quality")))
    watcher.until(Progress, "killed")
    os.kill(watcher.pool.workers()[0].pid or 0, signal.SIGKILL)
    assert isinstance(watcher.ending("killed"), Lost)
