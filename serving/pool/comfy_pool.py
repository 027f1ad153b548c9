"""The ComfyUI that this process runs in, as a pool with one worker: jobs go through its prompt queue."""

from __future__ import annotations

import asyncio
import contextlib
import html
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Protocol

from ...pipelines.errors import UserError
from .job_runner import OUT_OF_MEMORY, is_model, result_file, timed_out
from .queues import EventQueue, check_new
from .types import (
    Cancelled,
    Done,
    Ending,
    Event,
    Failed,
    FailureKind,
    Graph,
    Job,
    JobResult,
    Log,
    Preview,
    Progress,
    ResultFile,
    Started,
    WorkerInfo,
)

WORKER = "comfyui"
FILES = "fooocus-stages"  # folder of the files of jobs, below ComfyUI's input folder and a folder of LoRAs
SHOW = "PreviewAny"  # ComfyUI's node that shows a value, which puts it into the history


class Prompts(Protocol):
    """ComfyUI's prompt queue, see `nodes.comfy.prompt_queue`."""

    async def put(self, id: str, graph: Mapping[str, Mapping[str, Any]]) -> str: ...
    def state(self, id: str) -> Literal["waiting", "running", "finished", "gone"]: ...
    def history(self, id: str) -> Mapping[str, Any] | None: ...
    def cancel(self, id: str) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Surroundings:
    """What a job needs of ComfyUI beside its queue. `folder(kind)`: of "input", "output", "temp" or "loras"."""

    folder: Callable[[str], Path]
    class_of: Callable[[str], type[Any] | None]
    device: str = "cpu"


@dataclass
class _Running:
    """A job that is not finished. `shown`: the node and output whose value each added node shows."""

    job: Job
    state: Literal["checked", "queued", "started"] = "checked"
    stop: str = ""
    began: float = field(default_factory=time.monotonic)
    shown: dict[str, tuple[str, str]] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    timer: asyncio.TimerHandle | None = None


class ComfyPool:
    """One worker, ComfyUI itself, which also runs what its own page queues.

    `prompts(receive)` opens the queue, whose messages `receive(kind, data)` takes in the event loop `loop`.
    """

    def __init__(
        self,
        prompts: Callable[[Callable[[str, Mapping[str, Any]], None]], Prompts],
        around: Surroundings,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._around, self._loop = around, loop
        self._jobs: dict[str, _Running] = {}
        self._lock = threading.Lock()
        self._events = EventQueue()
        self._closed = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._prompts = prompts(self._receive)
        for kind in ("input", "loras"):  # of a process that was killed
            shutil.rmtree(around.folder(kind) / FILES, ignore_errors=True)

    def submit(self, job: Job) -> None:
        with self._lock:
            check_new(job, self._jobs, self._closed)
            running = self._jobs[job.id] = _Running(job)
        self._loop.call_soon_threadsafe(self._begin, running)

    def events(self) -> Iterator[Event]:
        return iter(self._events)

    def cancel(self, id: str) -> bool:
        with self._lock:
            running = self._jobs.get(id)
        if running is None:
            return False
        self._loop.call_soon_threadsafe(self._stop, running, "cancel")
        return True

    def workers(self) -> tuple[WorkerInfo, ...]:
        started = next((one.job.id for one in list(self._jobs.values()) if one.state == "started"), None)
        state: Literal["closed", "busy", "idle"] = "closed" if self._closed else "busy" if started else "idle"
        return (WorkerInfo(WORKER, self._around.device, state, os.getpid(), job=started),)

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            left = list(self._jobs)
        self._prompts.close()
        for id in left:
            self._prompts.cancel(id)
            self._end(id, Cancelled(id))
        self._events.close()

    def _begin(self, running: _Running) -> None:
        task = self._loop.create_task(self._queue(running))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _queue(self, running: _Running) -> None:
        """Bring the files of a job to where ComfyUI looks for them, and put its graph into the queue."""
        job = running.job
        try:
            names = await asyncio.to_thread(self._bring, job)
            graph = _renamed(job.graph, names)
            running.shown = self._show(graph, job.outputs)
            fault = await self._prompts.put(job.id, graph)
        except OSError as error:
            self._end(job.id, Failed(job.id, f"the files of the job can't be written: {error}", "node"))
        except Exception as error:  # of a node of another pack that checks the graph
            self._end(job.id, Failed(job.id, f"ComfyUI can't queue the job: {error}", "node"))
        else:
            if fault:
                self._end(job.id, Failed(job.id, fault, "user"))
                return
            running.state = "queued"
            if running.stop:
                self._prompts.cancel(job.id)
            self._look(running)

    def _bring(self, job: Job) -> dict[str, str]:
        """Copy the files of a job, and return the names by which nodes find them."""
        names = {}
        for name, path in job.files.items():
            folder = self._around.folder("loras" if is_model(name) else "input") / FILES / job.id
            folder.mkdir(parents=True, exist_ok=True)
            target = folder / PurePosixPath(name).name
            try:
                os.link(path, target)
            except OSError:
                shutil.copyfile(path, target)
            names[name] = f"{FILES}/{job.id}/{target.name}"
        return names

    def _show(self, graph: Graph, outputs: tuple[str, ...]) -> dict[str, tuple[str, str]]:
        """Add a node that shows each wanted output of the safety check and the like, whose values are lists."""
        shown = {}
        if self._around.class_of(SHOW) is None:
            return {}
        for node_id, node in list(graph.items()):
            cls = self._around.class_of(node["class_type"])
            for slot, name in enumerate(getattr(cls, "RETURN_NAMES", None) or ()):
                if name in outputs:
                    added = f"{node_id}-{name}"
                    graph[added] = {"class_type": SHOW, "inputs": {"source": [node_id, slot]}}
                    shown[added] = (node_id, name)
        return shown

    def _receive(self, kind: str, data: Mapping[str, Any]) -> None:
        """Take a message of ComfyUI."""
        if kind == "status":
            for running in list(self._jobs.values()):
                if running.state != "checked":
                    self._look(running)
            return
        if kind in ("text", "preview"):  # which name no prompt: ComfyUI runs one at a time
            about = next((one for one in self._jobs.values() if one.state == "started"), None)
        else:
            about = self._jobs.get(str(data.get("prompt_id")))
        if about is not None:
            self._about(about, kind, data)

    def _about(self, running: _Running, kind: str, data: Mapping[str, Any]) -> None:
        id = running.job.id
        if kind == "execution_start":
            self._start(running)
        elif kind == "executing" and data.get("node") is not None and data["node"] not in running.shown:
            node = running.job.graph.get(str(data["node"]), {})
            self._events.put(Log(id, "info", f"node {data['node']} ({node.get('class_type')})", time.time()))
        elif kind == "progress" and data.get("node") not in running.shown:
            self._events.put(Progress(id, int(data["value"]), int(data["max"]), str(data.get("node"))))
        elif kind == "preview" and running.job.previews:
            self._events.put(Preview(id, data["image"], data["media_type"]))
        elif kind == "text" and data["node"] in running.job.graph:
            for line in html.unescape(data["text"]).splitlines():
                if line not in running.notices:
                    running.notices.append(line)
                    self._events.put(Log(id, "warning", line, time.time()))

    def _start(self, running: _Running) -> None:
        if running.state == "started":
            return
        running.state, running.began = "started", time.monotonic()
        self._events.put(Started(running.job.id, WORKER))
        if running.job.seconds is not None:
            running.timer = self._loop.call_later(running.job.seconds, self._stop, running, "timeout")

    def _stop(self, running: _Running, reason: str) -> None:
        if self._jobs.get(running.job.id) is not running:
            return
        running.stop = running.stop or reason
        if running.state != "checked":
            self._prompts.cancel(running.job.id)
            self._look(running)

    def _look(self, running: _Running) -> None:
        """End a job whose prompt has ended, or that somebody has removed from ComfyUI's queue or history."""
        id = running.job.id
        state = self._prompts.state(id)
        if state == "running":
            self._start(running)
        elif state == "finished":
            self._start(running)
            self._end(id, self._ending(running, self._prompts.history(id) or {}))
        elif state == "gone":
            self._end(id, Cancelled(id))

    def _ending(self, running: _Running, entry: Mapping[str, Any]) -> Ending:
        job, status = running.job, entry.get("status") or {}
        if status.get("completed"):
            try:
                return Done(job.id, self._result(running, entry["outputs"]))
            except OSError as error:
                return Failed(job.id, f"a result can't be read: {error}", "node")
        messages = dict(status.get("messages", ()))
        if "execution_error" in messages:
            return self._failed(job, messages["execution_error"])
        return timed_out(job) if running.stop == "timeout" else Cancelled(job.id)

    def _failed(self, job: Job, error: Mapping[str, Any]) -> Failed:
        kind: FailureKind = "node"
        name = str(error.get("exception_type"))
        if name.rpartition(".")[2] in OUT_OF_MEMORY:
            kind = "memory"
        elif name.startswith(f"{UserError.__module__}."):
            kind = "user"
        text = str(error.get("exception_message")).strip()
        return Failed(job.id, f"node {error.get('node_id')} ({error.get('node_type')}): {text}", kind)

    def _result(self, running: _Running, ui: Mapping[str, Mapping[str, list[Any]]]) -> JobResult:
        own = {node: values for node, values in ui.items() if node not in running.shown}
        outputs: dict[str, dict[str, list[Any]]] = {}
        for added, (node, name) in running.shown.items():
            outputs.setdefault(node, {})[name] = [_value(text) for text in ui.get(added, {}).get("text", ())]
        seconds = {"total": time.monotonic() - running.began}
        return JobResult(tuple(self._files(own)), own, outputs, seconds, tuple(running.notices))

    def _files(self, ui: Mapping[str, Mapping[str, list[Any]]]) -> Iterator[ResultFile]:
        for node, values in ui.items():
            for value in (one for several in values.values() for one in several):
                if isinstance(value, Mapping) and {"filename", "subfolder", "type"} <= value.keys():
                    path = self._around.folder(value["type"]) / value["subfolder"] / value["filename"]
                    yield result_file(path, node, value["type"] == "temp")

    def _end(self, id: str, ending: Ending) -> None:
        with self._lock:
            running = self._jobs.pop(id, None)
        if running is None:
            return
        if running.timer is not None:
            running.timer.cancel()
        for kind in ("input", "loras"):
            shutil.rmtree(self._around.folder(kind) / FILES / id, ignore_errors=True)
        self._events.put(ending)


def _renamed(graph: Graph, names: Mapping[str, str]) -> Graph:
    """Return a copy of a graph that names the files of its job where ComfyUI has them."""
    return {
        node_id: {
            **node,
            "inputs": {
                name: names.get(value, value) if isinstance(value, str) else value
                for name, value in node["inputs"].items()
            },
        }
        for node_id, node in graph.items()
    }


def _value(text: str) -> Any:
    """Return the value that a node shows as text."""
    known: dict[str, Any] = {"True": True, "False": False, "None": None}
    if text in known:
        return known[text]
    with contextlib.suppress(ValueError):
        return json.loads(text)
    return text
