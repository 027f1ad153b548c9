"""Takes requests in, runs them on the pool in their order, and commits each outcome once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import shutil
import sqlite3
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ...pipelines.errors import UserError
from ...pipelines.files import write_file
from ..pool.protocol import Pool
from ..pool.types import Cancelled, Done, Event, Failed, Job, JobResult, Log, Lost, Preview, Progress, Started
from . import outcomes, records
from .clock import SteadyClock
from .live import Live
from .metrics import Metrics
from .outcomes import Problem
from .ports import Endpoints, Inputs, InvalidBody, Unfetchable
from .queue import Queue
from .records import Accepted, Finished, Options, Outcome, StoredFile
from .results import store_files
from .seeds import seed_of
from .settings import Settings
from .store import Store, StoreError

WANTED = ("seed", "nsfw")
QUOTING = ("user", "node")
"""Kinds of failures whose reason may quote the request, and with it the prompt."""
PREPARED_AHEAD = 4
MOST_ATTEMPTS = 3
LARGE_BODY = 1 << 20
MOST_FINISHED_IN_MEMORY = 200
WAIT_FOR_DISK = (1.0, 2.0, 5.0, 10.0, 30.0)
logger = logging.getLogger("fooocus_stages.gateway")


class Dispatcher:
    """The requests of the gateway. `start` before use; all methods belong to the event loop."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        pool: Pool,
        endpoints: Endpoints,
        inputs: Inputs,
        clock: SteadyClock,
        metrics: Metrics,
    ) -> None:
        self.settings, self.store, self.pool, self.endpoints = settings, store, pool, endpoints
        self._inputs, self.clock, self._metrics = inputs, clock, metrics
        self.queue = Queue()
        self.live: dict[str, Live] = {}
        self._recent: dict[str, Finished] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._running: set[str] = set()
        self._orphans: dict[str, Live] = {}
        self._closing = False
        self.on_finished: list[Any] = []

    async def start(self) -> None:
        """Take up the unfinished requests of an earlier process, and listen to the pool."""
        self._loop = asyncio.get_running_loop()
        shutil.rmtree(self.settings.inputs, ignore_errors=True)
        for accepted in await self.store.read(records.unfinished):
            live = self._enter(accepted)
            if accepted.cancelled:
                self._end(live, outcomes.cancelled())
            elif accepted.attempts >= MOST_ATTEMPTS:
                sentence = f"the server ended {accepted.attempts} times while this request ran; send it again to retry"
                self._end(live, outcomes.error(500, sentence, "runner_disconnected"))
            elif accepted.options.fingerprint:
                self._orphans[accepted.options.fingerprint] = live
        threading.Thread(target=self._listen, name="pool-events", daemon=True).start()
        self.advance()

    async def close(self) -> None:
        """Stop starting requests, and let those whose outcome is decided be stored; the others stay accepted."""
        self._closing = True
        for live in self.live.values():
            if live.preparing is not None:
                live.preparing.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=10.0)
        await self._inputs.close()

    async def accept(self, accepted: Accepted, value: Mapping[str, Any], body: bytes, limit: int | None = None) -> Live:
        """Store a request, which has no id yet, and queue it. `value`: what its body, JSON, stands for.

        `limit`: refuse if more wait already. Raises Problem or StoreError.
        """
        waiting = len(self.queue)
        if waiting >= self.settings.max_queue or (limit is not None and waiting > limit):
            raise Problem(429, f"{waiting} requests are waiting, more than allowed; try again later", "queue_full")
        accepted = await self._insert(accepted, body)
        self._metrics.accepted.labels(accepted.endpoint).inc()
        live = self._enter(accepted)
        try:
            request = self.endpoints.parse(accepted.endpoint, value, seed_of(accepted.id))
        except InvalidBody as error:
            self._end(live, outcomes.error(422, error.detail))
            await live.result
        else:
            if len(self.queue) <= PREPARED_AHEAD:  # its turn is next: it need not be read again
                live.request = request
        self.advance()
        return live

    async def _insert(self, accepted: Accepted, body: bytes) -> Accepted:
        """Store a request under a new id."""
        for _ in range(3):
            named = replace(accepted, id=str(uuid.uuid4()))
            kept = body
            if len(body) > LARGE_BODY:
                kept = b""
                await asyncio.to_thread(write_file, self.settings.bodies / named.id, body)
            with contextlib.suppress(sqlite3.IntegrityError):
                return await self.store.write(records.insert(named, kept))
        raise Problem(500, "no free request id was found; try again", "internal_error")

    def _enter(self, accepted: Accepted) -> Live:
        live = self.live[accepted.id] = Live(accepted)
        self.queue.add(accepted.id, accepted.priority)
        if accepted.options.start_by is not None:
            seconds = accepted.options.start_by - accepted.accepted
            remaining = max(0.0, accepted.options.start_by - self.clock.now())
            live.deadline = self._loop.call_later(remaining, self._late, live, seconds)
        return live

    def _late(self, live: Live, seconds: float) -> None:
        if live.state == "waiting":
            self._end(live, outcomes.not_started(seconds))

    def advance(self) -> None:
        """Prepare the requests at the head of the queue and start those for which a worker is free."""
        if self._closing:
            return
        workers = sum(worker.state not in ("broken", "closed") for worker in self.pool.workers())
        free = max(1, workers) - len(self._running)
        for id in _first(self.queue, max(free, 0) + PREPARED_AHEAD):
            live = self.live[id]
            if live.prepared and free > 0:
                free -= 1
                self._start(live)
            elif not live.prepared and live.preparing is None:
                live.preparing = self._spawn(self._prepare(live))

    async def _prepare(self, live: Live) -> None:
        """Fetch the inputs of a request and build its graph."""
        id = live.accepted.id
        folder = self.settings.inputs / id
        try:
            if live.request is None:
                live.request = self.endpoints.parse(live.accepted.endpoint, await self._body(id), seed_of(id))
            for notice in self.endpoints.notices(live.request):
                live.log(notice, time.time(), "WARN")
            files: dict[str, Path] = {}
            for url in self.endpoints.urls(live.request):
                if url.value not in files:
                    files[url.value] = await self._fetch(url, folder)
            live.files.update((path.name, path) for path in files.values())
            live.graph = await asyncio.to_thread(self.endpoints.graph, live.request, files)
        except InvalidBody as error:
            self._end(live, outcomes.error(422, error.detail))
        except UserError as error:
            self._fail(live, "user", str(error), outcomes.failed("user", str(error)))
        except (OSError, StoreError) as error:
            reason = f"the request could not be prepared: {error}"
            self._fail(live, "disk", reason, outcomes.error(500, outcomes.public(reason), "internal_error"))
        else:
            live.prepared = True
        self.advance()

    async def _fetch(self, url: Any, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            return await self._inputs.fetch(url, folder)
        except Unfetchable as error:
            detail = [{"loc": ["body", *url.loc], "msg": str(error), "type": f"{url.kind}_load_error"}]
            raise InvalidBody(detail) from error

    async def _body(self, id: str) -> Any:
        body = await self.store.read(records.body_of(id))
        return json.loads(body or await asyncio.to_thread((self.settings.bodies / id).read_bytes))

    def _start(self, live: Live) -> None:
        id = live.accepted.id
        self.queue.take(id)
        if live.deadline is not None:
            live.deadline.cancel()
        live.state = "running"
        live.changed.send()
        self._running.add(id)
        self._metrics.waited.observe(max(0.0, self.clock.now() - live.accepted.accepted))
        self._spawn(self._count_start(id))
        job = Job(id, live.graph, live.files, self.settings.request_seconds, outputs=WANTED, previews=True)
        try:
            self.pool.submit(job)
        except UserError as error:
            self._fail(live, "crash", str(error), outcomes.failed("crash", str(error)))

    async def _count_start(self, id: str) -> None:
        with contextlib.suppress(StoreError):
            await self.store.write(records.begin(id))

    async def cancel(self, live: Live) -> bool:
        """Cancel a request; True if it was waiting and is finished now, False if a worker was asked to stop."""
        id = live.accepted.id
        if live.state == "waiting":
            self._end(live, outcomes.cancelled())
            await live.result
            return True
        await self.store.write(records.request_cancel(id))
        await asyncio.to_thread(self.pool.cancel, id)
        return False

    def orphan(self, live: Live) -> None:
        """Cancel a request whose caller has gone, unless a call with the same fingerprint adopts it soon."""
        self._orphans[live.accepted.options.fingerprint] = live
        self._loop.call_later(self.settings.quick_disconnect, self._forget, live)

    def adopt(self, fingerprint: str) -> Live | None:
        """Return the request whose caller has gone and that made the same call, if there is one."""
        return self._orphans.pop(fingerprint, None)

    def _forget(self, live: Live) -> None:
        if self._orphans.get(live.accepted.options.fingerprint) is live:
            del self._orphans[live.accepted.options.fingerprint]
            if not live.ending:
                self._spawn(self._cancel(live))

    async def _cancel(self, live: Live) -> None:
        await self.cancel(live)

    async def finished(self, id: str) -> Finished | None:
        """Return a finished request."""
        return self._recent.get(id) or await self.store.read(records.finished(id))

    def forget_finished(self) -> None:
        """Drop the finished requests that are kept in memory; the database has them until they expire."""
        self._recent.clear()

    def _listen(self) -> None:
        for event in self.pool.events():
            with contextlib.suppress(RuntimeError):  # the loop has closed
                self._loop.call_soon_threadsafe(self._on_event, event)

    def _on_event(self, event: Event) -> None:
        live = self.live.get(event.job)
        if live is None or live.ending or self._closing:
            return
        if isinstance(event, Started):
            live.log(f"running on {event.worker}", time.time())
        elif isinstance(event, Progress):
            live.progress = (event.value, event.total)
            live.log(f"step {event.value}/{event.total}", time.time())
        elif isinstance(event, Preview):
            live.preview = (event.media_type, event.image)
            live.changed.send()
        elif isinstance(event, Log):
            live.log(outcomes.public(event.message), event.time, "WARN" if event.level == "warning" else "INFO")
        else:
            self._on_ending(live, event)

    def _on_ending(self, live: Live, event: Done | Failed | Lost | Cancelled) -> None:
        if isinstance(event, Done):
            live.ending = True
            notices = tuple(map(outcomes.public, event.result.notices))
            self._spawn(self._keep(live, replace(event.result, notices=notices)))
        elif isinstance(event, Failed):
            self._fail(live, event.kind, event.reason, outcomes.failed(event.kind, event.reason))
        elif isinstance(event, Lost):
            self._fail(live, "lost", event.reason, outcomes.lost(event.reason))
        else:
            self._end(live, outcomes.cancelled())

    async def _keep(self, live: Live, result: JobResult) -> None:
        """Store the files of a result, then its output."""
        store = partial(
            store_files,
            self.settings.results,
            live.accepted.id,
            result,
            self.clock.now() + self._lifetime(live.accepted.options),
            inline=self.endpoints.sync_mode(live.request),
        )
        files: list[StoredFile] = await self._patiently(live, lambda: asyncio.to_thread(store))
        output = self.endpoints.output(live.request, result, files)
        for notice in result.notices:
            if all(entry["message"] != notice for entry in live.logs):
                live.log(notice, time.time(), "WARN")
        logged = [entry["message"] for entry in live.logs if entry["level"] == "WARN"]
        if notices := list(dict.fromkeys([*logged, *result.notices])):
            output = {**output, "notices": notices}
        await self._commit(live, Outcome(200, output, seconds=result.seconds.get("total")), files)

    def _fail(self, live: Live, kind: str, reason: str, outcome: Outcome) -> None:
        """Commit a failure, and log where the files lie of which its caller is told the names alone."""
        whole = self.settings.log_reasons or kind not in QUOTING
        said = {"error": reason} if whole else {"paths": outcomes.local_paths(reason)}
        logger.warning("failed", extra={"request": live.accepted.id, "error_type": kind, **said})
        self._end(live, outcome)

    def _end(self, live: Live, outcome: Outcome) -> None:
        """Commit an outcome without files."""
        if not live.ending:
            live.ending = True
            self.queue.remove(live.accepted.id)
            self._spawn(self._commit(live, outcome, []))

    async def _commit(self, live: Live, outcome: Outcome, files: list[StoredFile]) -> None:
        id = live.accepted.id
        self.queue.remove(id)
        if live.deadline is not None:
            live.deadline.cancel()
        if live.preparing is not None and live.preparing is not asyncio.current_task():
            live.preparing.cancel()
        self._running.discard(id)
        self.advance()
        now = self.clock.now()
        act = records.finish(live.accepted, outcome, live.logs, files, now, now + self._lifetime(live.accepted.options))
        await self._patiently(live, lambda: self.store.write(act))
        finished = Finished(live.accepted, outcome, live.logs)
        self._recent[id] = finished
        while len(self._recent) > MOST_FINISHED_IN_MEMORY:
            del self._recent[next(iter(self._recent))]
        del self.live[id]
        self._orphans = {key: other for key, other in self._orphans.items() if other is not live}
        live.state = "finished"
        live.result.set_result(finished)
        live.changed.send()
        self._metrics.finished.labels(live.accepted.endpoint, str(outcome.status)).inc()
        if outcome.seconds is not None:
            self._metrics.seconds.observe(outcome.seconds)
        logger.info("finished", extra={"request": id, "status": outcome.status, "error_type": outcome.error_type})
        for call in self.on_finished:
            call(finished)
        await asyncio.to_thread(self._discard_inputs, id)

    async def _patiently(self, live: Live, act: Any) -> Any:
        """Call `act` until the disk takes it; what is finished is not lost while the disk is full."""
        for number in range(1 << 30):
            try:
                return await act()
            except (OSError, StoreError) as error:
                wait = WAIT_FOR_DISK[min(number, len(WAIT_FOR_DISK) - 1)]
                logger.error(
                    "cannot store a result; trying again", extra={"request": live.accepted.id, "error": str(error)}
                )
                await asyncio.sleep(wait)
        raise AssertionError

    def _discard_inputs(self, id: str) -> None:
        shutil.rmtree(self.settings.inputs / id, ignore_errors=True)
        (self.settings.bodies / id).unlink(missing_ok=True)

    def _lifetime(self, options: Options) -> float:
        most = self.settings.result_seconds
        return most if options.lifetime is None else min(most, options.lifetime)

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a task of the gateway failed", exc_info=error)


def _first(queue: Queue, count: int) -> list[str]:
    return [id for id, _ in zip(queue, range(count), strict=False)]


def overview(dispatcher: Dispatcher) -> Mapping[str, Any]:
    """Return the numbers of waiting and running requests, and the workers."""
    workers = [
        {
            "name": worker.name,
            "device": worker.device,
            "state": worker.state,
            "reason": outcomes.public(worker.reason),
        }
        for worker in dispatcher.pool.workers()
    ]
    running = sum(live.state == "running" for live in dispatcher.live.values())
    return {"waiting": len(dispatcher.queue), "running": running, "workers": workers}
