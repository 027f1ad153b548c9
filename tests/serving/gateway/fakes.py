"""A pool and endpoints that do as the prompt says, and a gateway served on a free port of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import io
import queue
import threading
import time
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from fooocus_stages.serving.gateway.app import application
from fooocus_stages.serving.gateway.gateway import GATEWAY, Gateway
from fooocus_stages.serving.gateway.ports import InputUrl, InvalidBody, Keys, Unfetchable
from fooocus_stages.serving.gateway.records import StoredFile
from fooocus_stages.serving.gateway.settings import Settings
from fooocus_stages.serving.gateway.store import Store
from fooocus_stages.serving.pool.queues import EventQueue, check_new
from fooocus_stages.serving.pool.types import (
    Cancelled,
    Done,
    Event,
    Failed,
    Job,
    JobResult,
    Lost,
    Preview,
    Progress,
    ResultFile,
    Started,
    WorkerInfo,
)
from PIL import Image

APP = "/fal-ai/fooocus"
STEP = 0.02


def picture() -> bytes:
    """A small PNG."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, "PNG")
    return file.getvalue()


class FakePool:
    """Runs jobs in threads. The prompt names what happens: "steps 5", "fail", "user", "crash", "memory", "timeout"."""

    def __init__(self, workers: int = 1) -> None:
        self._jobs: queue.PriorityQueue[tuple[int, int, Job | None]] = queue.PriorityQueue()
        self._events = EventQueue()
        self._stops: dict[str, threading.Event] = {}
        self.ran: list[str] = []
        self.count, self.reason = workers, ""
        self.open = threading.Event()
        self.open.set()
        self._threads = [threading.Thread(target=self._work, args=(f"fake:{n}",), daemon=True) for n in range(workers)]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job) -> None:
        check_new(job, self._stops, closed=False)
        self._stops[job.id] = threading.Event()
        self._jobs.put((-job.priority, time.monotonic_ns(), job))

    def events(self) -> Iterator[Event]:
        return iter(self._events)

    def cancel(self, id: str) -> bool:
        stop = self._stops.get(id)
        if stop is not None:
            stop.set()
        return stop is not None

    def workers(self) -> tuple[WorkerInfo, ...]:
        return tuple(WorkerInfo(f"fake:{number}", "cpu", "idle", reason=self.reason) for number in range(self.count))

    def close(self) -> None:
        self.open.set()
        for stop in list(self._stops.values()):
            stop.set()
        for number in range(self.count):
            self._jobs.put((1 << 30, number, None))
        for thread in self._threads:
            thread.join()
        self._events.close()

    def _work(self, name: str) -> None:
        while (job := self._jobs.get()[2]) is not None:
            self.open.wait()
            self._events.put(Started(job.id, name))
            self.ran.append(job.graph["1"]["inputs"]["prompt"])
            ending = self._run(job)
            del self._stops[job.id]
            self._events.put(ending)

    def _run(self, job: Job) -> Event:
        word, _, number = job.graph["1"]["inputs"]["prompt"].partition(" ")
        if word == "crash":
            return Lost(job.id, "fake:0", "signal 9")
        if word in ("user", "node", "memory", "timeout"):
            return Failed(job.id, f"no: {word} {number}", word)  # type: ignore[arg-type]
        total = int(number) if word == "steps" else 0
        for step in range(1, total + 1):
            if self._stops[job.id].wait(STEP):
                return Cancelled(job.id)
            self._events.put(Progress(job.id, step, total, "1"))
            self._events.put(Preview(job.id, b"preview"))
        files = (ResultFile("image_00001_.png", "image/png", picture(), 8, 8, "1"),)
        return Done(job.id, JobResult(files, seconds={"total": total * STEP}, notices=("a notice",)))


class FakeEndpoints:
    """Two endpoints that take any body whose guidance_scale is at most 30."""

    def ids(self) -> Collection[str]:
        return ("fal-ai/fooocus", "fal-ai/fooocus/image-prompt")

    def parse(self, endpoint: str, body: Mapping[str, Any], seed: int) -> dict[str, Any]:
        if body.get("guidance_scale", 4) > 30:
            detail = {"loc": ["body", "guidance_scale"], "msg": "at most 30", "type": "less_than_equal", "input": 99}
            raise InvalidBody([detail])
        return {"prompt": "", **body}

    def urls(self, request: Any) -> Sequence[InputUrl]:
        return [InputUrl(request["image_url"], "image", ("image_url",))] if "image_url" in request else []

    def notices(self, request: Any) -> Sequence[str]:
        return ()

    def graph(self, request: Any, files: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
        return {"1": {"class_type": "Fake", "inputs": dict(request)}}

    def output(self, request: Any, result: JobResult, files: Sequence[StoredFile]) -> dict[str, Any]:
        images = [{"url": f.url, "content_type": f.media_type, "file_name": f.name} for f in files]
        return {"images": images, "timings": {}, "has_nsfw_concepts": [False], "seed": 1}

    def workflow(self, endpoint: str, body: Mapping[str, Any], id: str) -> Mapping[str, Any]:
        return {"nodes": [], "endpoint": endpoint, **body}

    def sync_mode(self, request: Any) -> bool:
        return bool(request.get("sync_mode"))

    def openapi(self) -> Mapping[str, Any]:
        return {"openapi": "3.1.0", "paths": {}}


class FakeInputs:
    """Writes the URL itself into the file; "slow" takes a while and "bad" is refused."""

    async def fetch(self, url: InputUrl, folder: Path) -> Path:
        if "slow" in url.value:
            await asyncio.sleep(0.5)
        if "bad" in url.value:
            raise Unfetchable("not an image")
        path = folder / "input.png"
        path.write_text(url.value)
        return path

    async def close(self) -> None:
        pass


class DirectPoster:
    """Posts to any address."""

    def refusal(self, url: str) -> str:
        return "" if url.startswith("http://") else "only http here"

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> int:
        timeout = aiohttp.ClientTimeout(total=2)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(url, data=body, headers=headers) as r,
        ):
            return r.status


@dataclass
class Served:
    """A served gateway and a client session; `url` is its address."""

    url: str
    session: aiohttp.ClientSession
    gateway: Gateway
    pool: Any

    async def call(self, method: str, path: str, **options: Any) -> tuple[int, Any, Mapping[str, str]]:
        """Make a call; return status, JSON body (or bytes) and headers."""
        url = path if path.startswith("http") else self.url + path
        async with self.session.request(method, url, **options) as reply:
            is_json = reply.content_type == "application/json"
            return reply.status, await (reply.json() if is_json else reply.read()), reply.headers

    async def submit(self, body: Mapping[str, Any], path: str = APP, **options: Any) -> str:
        status, reply, _ = await self.call("POST", f"/fal/queue{path}", json=body, **options)
        assert status == 200, reply
        return str(reply["request_id"])

    async def status(self, id: str, logs: str = "1") -> dict[str, Any]:
        reply = (await self.call("GET", f"/fal/queue{APP}/requests/{id}/status?logs={logs}"))[1]
        assert isinstance(reply, dict)
        return reply

    async def wait(self, id: str, wanted: str = "COMPLETED") -> dict[str, Any]:
        async with asyncio.timeout(10) if hasattr(asyncio, "timeout") else contextlib.AsyncExitStack():
            while (state := await self.status(id))["status"] != wanted:
                await asyncio.sleep(0.01)
        return state

    async def result(self, id: str) -> tuple[int, Any, Mapping[str, str]]:
        return await self.call("GET", f"/fal/queue{APP}/requests/{id}")


@contextlib.asynccontextmanager
async def serving(
    state: Path,
    pool: Any = None,
    keys: Keys | None = None,
    store: Store | None = None,
    endpoints: Any = None,
    inputs: Any = None,
    pauses: tuple[float, ...] = (0.05, 0.05),
    prefix: str = "",
    **settings: Any,
) -> AsyncIterator[Served]:
    """Serve a gateway whose state lies in that folder; `prefix`: below this path of another application."""
    state.mkdir(exist_ok=True)
    pool = pool or FakePool()
    app = application(
        replace(Settings(state), **settings),
        pool,
        store or Store(state / "gateway.sqlite"),
        endpoints or FakeEndpoints(),
        lambda uploads: inputs or FakeInputs(),
        DirectPoster(),
        keys,
        pauses,
    )
    outer = web.Application()
    if prefix:
        outer.add_subapp(prefix, app)
    runner = web.AppRunner(outer if prefix else app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        async with aiohttp.ClientSession() as session:
            yield Served(f"http://{host}:{port}", session, app[GATEWAY], pool)
    finally:
        await runner.cleanup()
        await asyncio.to_thread(pool.close)
