"""ComfyUI as a pool, over a stand-in for its prompt queue: endings, values, files, and what others do to the queue."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fooocus_stages.pipelines.errors import BadValue, MissingFile
from fooocus_stages.serving.pool.comfy_pool import FILES, SHOW, ComfyPool, Surroundings
from fooocus_stages.serving.pool.types import Cancelled, Done, Event, Failed, Job, Log, Preview, Progress, Started

from .fake import picture

GRAPH = {
    "1": {"class_type": "Check", "inputs": {"image": "mine.png", "lora": "style.safetensors", "steps": 3}},
    "2": {"class_type": "Save", "inputs": {"images": ["1", 0]}},
}


class Check:
    RETURN_NAMES = ("image", "nsfw")


class Show: ...


CLASSES: dict[str, type[Any]] = {"Check": Check, SHOW: Show}


@dataclass
class Queue:
    """Prompts in the states that a test gives them."""

    receive: Callable[[str, Mapping[str, Any]], None]
    fault: str = ""
    prompts: dict[str, Any] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    entries: dict[str, Any] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)

    async def put(self, id: str, graph: Any) -> str:
        if not self.fault:
            self.prompts[id], self.states[id] = graph, "waiting"
        return self.fault

    def state(self, id: str) -> Any:
        return self.states.get(id, "gone")

    def history(self, id: str) -> Any:
        return self.entries.get(id)

    def cancel(self, id: str) -> None:
        self.cancelled.append(id)
        if self.states.get(id) == "waiting":
            del self.states[id]

    def close(self) -> None: ...

    def start(self, id: str) -> None:
        self.states[id] = "running"
        self.receive("execution_start", {"prompt_id": id})

    def finish(self, id: str, outputs: Any = None, **messages: Any) -> None:
        """End a prompt, with an error or an interruption if one is given as a message."""
        status = {"completed": not messages, "messages": [*messages.items()]}
        self.states[id] = "finished"
        self.entries[id] = {"outputs": outputs or {}, "status": status}
        self.receive("status", {})


@dataclass
class Scene:
    pool: ComfyPool
    queue: Queue
    folder: Path
    events: list[Event]

    async def until(self, kind: type[Any]) -> Any:
        for _ in range(500):
            if found := [event for event in self.events if isinstance(event, kind)]:
                return found[-1]
            await asyncio.sleep(0.01)
        raise AssertionError(f"there is no {kind.__name__} in {self.events}")

    async def queued(self, job: Job) -> None:
        self.pool.submit(job)
        for _ in range(500):
            if job.id in self.queue.prompts:
                await asyncio.sleep(0)
                return
            await asyncio.sleep(0.01)
        raise AssertionError("the job was not queued")


@contextlib.asynccontextmanager
async def scene(folder: Path, fault: str = "") -> AsyncIterator[Scene]:
    queues: list[Queue] = []

    def prompts(receive: Callable[[str, Mapping[str, Any]], None]) -> Queue:
        queues.append(Queue(receive, fault))
        return queues[-1]

    for kind in ("input", "loras", "output", "temp"):
        (folder / kind / FILES / "of a killed process").mkdir(parents=True)
    around = Surroundings(lambda kind: folder / kind, CLASSES.get)
    pool = ComfyPool(prompts, around, asyncio.get_running_loop())
    found = Scene(pool, queues[0], folder, [])
    reading = asyncio.get_running_loop().run_in_executor(None, lambda: found.events.extend(_each(pool, found.events)))
    try:
        yield found
    finally:
        pool.close()
        await reading


def _each(pool: ComfyPool, events: list[Event]) -> list[Event]:
    for event in pool.events():
        events.append(event)
    return []


def test_a_job_with_its_files_values_and_messages(tmp_path: Path) -> None:
    async def act() -> None:
        async with scene(tmp_path) as s:
            for name in ("mine.png", "style.safetensors"):
                (tmp_path / name).write_bytes(name.encode())
            job = Job("a", GRAPH, {name: tmp_path / name for name in ("mine.png", "style.safetensors")},
                      outputs=("nsfw",), previews=True)  # fmt: skip
            await s.queued(job)
            inputs = s.queue.prompts["a"]["1"]["inputs"]
            assert (tmp_path / "input" / inputs["image"]).read_bytes() == b"mine.png"
            assert (tmp_path / "loras" / inputs["lora"]).read_bytes() == b"style.safetensors"
            assert not (tmp_path / "input" / FILES / "of a killed process").exists()
            s.queue.start("a")
            assert s.pool.workers()[0].job == "a"
            s.queue.receive("progress", {"prompt_id": "a", "node": "1", "value": 2, "max": 3})
            s.queue.receive("progress", {"prompt_id": "of the page", "node": "1", "value": 1, "max": 3})
            s.queue.receive("preview", {"media_type": "image/png", "image": b"seen"})
            s.queue.receive("text", {"node": "1", "text": "a &lt;notice&gt;\nanother"})
            s.queue.receive("text", {"node": "1", "text": "another"})
            (tmp_path / "output" / "b.png").write_bytes(picture().data)
            image = {"filename": "b.png", "subfolder": "", "type": "output"}
            s.queue.finish("a", {"2": {"images": [image]}, "1-nsfw": {"text": ["True", "False"]}})
            done = await s.until(Done)
            assert [(file.name, file.width, file.node) for file in done.result.files] == [("b.png", 12, "2")]
            assert done.result.outputs == {"1": {"nsfw": [True, False]}}
            assert done.result.notices == ("a <notice>", "another")
            assert (await s.until(Progress)).value == 2
            assert (await s.until(Preview)).image == b"seen"
            assert len([event for event in s.events if isinstance(event, Log)]) == 2
            assert not (tmp_path / "input" / FILES / "a").exists()
            assert not (tmp_path / "loras" / FILES / "a").exists()

    asyncio.run(act())


def test_cancelling_while_it_waits_and_while_it_runs(tmp_path: Path) -> None:
    async def act() -> None:
        async with scene(tmp_path) as s:
            await s.queued(Job("waits", GRAPH))
            assert s.pool.cancel("waits")
            assert await s.until(Cancelled) == Cancelled("waits")
            await s.queued(Job("runs", GRAPH))
            s.queue.start("runs")
            assert s.pool.cancel("runs")
            await asyncio.sleep(0.05)
            assert s.queue.cancelled == ["waits", "runs"]
            s.queue.finish("runs", execution_interrupted={})
            await asyncio.sleep(0.05)
            assert await s.until(Cancelled) == Cancelled("runs")
            assert not s.pool.cancel("runs")

    asyncio.run(act())


def test_a_prompt_that_somebody_removes_is_cancelled(tmp_path: Path) -> None:
    async def act() -> None:
        async with scene(tmp_path) as s:
            await s.queued(Job("a", GRAPH))
            s.queue.states.clear()
            s.queue.receive("status", {})
            assert await s.until(Cancelled) == Cancelled("a")

    asyncio.run(act())


@pytest.mark.parametrize(
    ("exception", "kind"),
    [("fooocus_stages.MissingFile", "user"), ("ValueError", "node"), ("torch.cuda.OutOfMemoryError", "memory")],
)
def test_failures(tmp_path: Path, exception: str, kind: str) -> None:
    assert f"{MissingFile.__module__}.{MissingFile.__name__}" == "fooocus_stages.MissingFile"
    error = {"node_id": "1", "node_type": "Check", "exception_type": exception, "exception_message": "it is gone\n"}

    async def act() -> None:
        async with scene(tmp_path) as s:
            await s.queued(Job("a", GRAPH))
            s.queue.start("a")
            s.queue.finish("a", execution_error=error)
            assert await s.until(Failed) == Failed("a", "node 1 (Check): it is gone", kind)  # type: ignore[arg-type]

    asyncio.run(act())


def test_a_graph_that_comfyui_refuses(tmp_path: Path) -> None:
    async def act() -> None:
        async with scene(tmp_path, fault="node 1 (Check): there is no such file") as s:
            s.pool.submit(Job("a", GRAPH))
            assert await s.until(Failed) == Failed("a", s.queue.fault, "user")
            with pytest.raises(BadValue, match="submitted already"):
                [s.pool.submit(Job("twice", GRAPH)) for _ in range(2)]

    asyncio.run(act())


def test_a_job_over_its_time_is_stopped_and_the_limit_counts_from_its_start(tmp_path: Path) -> None:
    async def act() -> None:
        async with scene(tmp_path) as s:
            await s.queued(Job("slow", GRAPH, seconds=0.05))
            await asyncio.sleep(0.1)
            assert s.queue.cancelled == []
            s.queue.start("slow")
            await s.until(Started)
            await asyncio.sleep(0.1)
            assert s.queue.cancelled == ["slow"]
            s.queue.finish("slow", execution_interrupted={})
            assert (await s.until(Failed)).kind == "timeout"

    asyncio.run(act())


def test_closing_cancels_what_is_left(tmp_path: Path) -> None:
    async def act() -> None:
        async with scene(tmp_path) as s:
            await s.queued(Job("a", GRAPH))
            s.pool.close()
            assert await s.until(Cancelled) == Cancelled("a")
            assert s.pool.workers()[0].state == "closed"
            with pytest.raises(BadValue, match="closed"):
                s.pool.submit(Job("b", GRAPH))

    asyncio.run(act())
