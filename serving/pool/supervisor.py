"""The queue of a pool and the care for its workers, whatever they run on."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ...pipelines.errors import BadValue, UserError
from .frames import Frame, event_of, frame_of_job
from .job_runner import timed_out
from .queues import EventQueue, check_new
from .types import Cancelled, Done, Ending, Event, Failed, Job, Lost, Started, WorkerInfo, WorkerState

log = logging.getLogger("fooocus_stages")

GRACE = 10.0  # seconds from a request to stop until the worker is killed
MOST_BACKOFF = 60.0
FIRST_BACKOFF = 0.5
STARTS_BEFORE_GIVING_UP = 3


class Connection(Protocol):
    """A worker that was started. `frames` and `why` are called by one thread, the others by any."""

    @property
    def pid(self) -> int | None:
        """The process of the worker, as far as it is known."""
        ...

    def frames(self) -> Iterator[Frame]:
        """Yield what the worker sends until it ends: "joined" or "refused" first, then events, perhaps "leaving"."""
        ...

    def send(self, frame: Frame) -> None:
        """Send a frame of the kind "job" or "stop" without waiting."""
        ...

    def kill(self) -> None:
        """End the worker at once, whatever it does."""
        ...

    def why(self) -> str:
        """Return why the worker has ended, wait for its end, and remove what it leaves."""
        ...


@dataclass
class Pending:
    """A job that is not finished, and why and when it is to be stopped or killed (monotonic time)."""

    job: Job
    worker: Place | None = None
    stop: str = ""
    deadline: float | None = None


@dataclass
class Place:
    """A place for a worker, which is filled again when the worker ends."""

    name: str
    device: str
    state: WorkerState = "starting"
    connection: Connection | None = None
    pending: Pending | None = None
    versions: dict[str, str] = field(default_factory=dict)
    reason: str = ""
    failures: int = 0

    @property
    def info(self) -> WorkerInfo:
        """The worker as it is now."""
        lives = self.connection is not None and self.state in ("starting", "idle", "busy")
        pid = self.connection.pid if lives and self.connection is not None else None
        job = self.pending.job.id if self.pending is not None else None
        return WorkerInfo(self.name, self.device, self.state, pid, self.versions, job, self.reason)


class SupervisedPool(ABC):
    """A pool that gives jobs to its workers in order, stops and kills those that must end, and replaces dead workers.

    A job that is cancelled or too slow is stopped within one step of a sampler; if the worker has not stopped it after
    `grace` seconds, the worker is killed. A subclass sets up what `connect` needs before it calls `start`.
    """

    def __init__(self, places: Sequence[Place], grace: float = GRACE) -> None:
        if not places:
            raise BadValue("a pool needs at least one device: name cpu, cuda:0 or another")
        self._grace = grace
        self._changed = threading.Condition()
        self._waiting: list[tuple[int, int, Pending]] = []
        self._count = itertools.count()
        self._jobs: dict[str, Pending] = {}
        self._events = EventQueue()
        self._closed = False
        self._workers = list(places)
        self._threads = [threading.Thread(target=self._keep_alive, args=[one], daemon=True) for one in self._workers]
        self._threads.append(threading.Thread(target=self._watch_deadlines, daemon=True))

    @abstractmethod
    def connect(self, place: Place) -> Connection:
        """Start a worker. Raises OSError and UserError."""

    def start(self) -> None:
        """Start the workers."""
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job) -> None:
        with self._changed:
            check_new(job, self._jobs, self._closed)
            pending = self._jobs[job.id] = Pending(job)
            heapq.heappush(self._waiting, (-job.priority, next(self._count), pending))
            self._dispatch()

    def events(self) -> Iterator[Event]:
        return iter(self._events)

    def cancel(self, id: str) -> bool:
        with self._changed:
            pending = self._jobs.get(id)
            if pending is None:
                return False
            if pending.worker is None:
                self._end(pending, Cancelled(id))
            else:
                self._stop(pending, "cancel")
            return True

    def workers(self) -> tuple[WorkerInfo, ...]:
        with self._changed:
            return tuple(worker.info for worker in self._workers)

    def close(self) -> None:
        with self._changed:
            if self._closed:
                return
            self._closed = True
            for pending in list(self._jobs.values()):
                self._end(pending, Cancelled(pending.job.id))
            for worker in self._workers:
                if worker.connection is not None:
                    worker.connection.kill()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self._events.close()

    def _dispatch(self) -> None:
        """Give waiting jobs to idle workers."""
        for worker in self._workers:
            while worker.state == "idle" and self._waiting:
                pending = heapq.heappop(self._waiting)[2]
                if self._jobs.get(pending.job.id) is pending:  # not cancelled
                    self._begin(worker, pending)

    def _begin(self, worker: Place, pending: Pending) -> None:
        worker.state, worker.pending, pending.worker = "busy", pending, worker
        if pending.job.seconds is not None:
            pending.deadline = time.monotonic() + pending.job.seconds
        self._send(worker, frame_of_job(pending.job))
        self._events.put(Started(pending.job.id, worker.name))
        self._changed.notify_all()

    def _end(self, pending: Pending, ending: Ending) -> None:
        """Report the end of a job; what its worker still sends about it is ignored."""
        del self._jobs[pending.job.id]
        self._events.put(ending)

    def _stop(self, pending: Pending, reason: str) -> None:
        """Ask the worker to stop a job, and kill it unless it does so in time."""
        if pending.stop or pending.worker is None:
            return
        pending.stop, pending.deadline = reason, time.monotonic() + self._grace
        self._send(pending.worker, Frame("stop", {"job": pending.job.id, "reason": reason}))
        self._changed.notify_all()

    def _watch_deadlines(self) -> None:
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                running = [p for p in self._jobs.values() if p.worker is not None and p.deadline is not None]
                for pending in running:
                    if pending.deadline is not None and pending.deadline <= now:
                        self._overdue(pending)
                left = [p.deadline - now for p in running if p.deadline is not None]
                self._changed.wait(max(min(left), 0.01) if left else None)

    def _overdue(self, pending: Pending) -> None:
        if not pending.stop:
            self._stop(pending, "timeout")
        elif pending.worker is not None and pending.worker.connection is not None:
            pending.deadline = None
            pending.worker.connection.kill()

    def _send(self, worker: Place, frame: Frame) -> None:
        if worker.connection is not None:
            worker.connection.send(frame)

    def _keep_alive(self, worker: Place) -> None:
        """Run one worker after another until the pool is closed."""
        while not self._closed:
            joined, refusal = False, ""
            try:
                connection = self.connect(worker)
            except (OSError, UserError) as error:
                reason = f"it can't be started: {error}"
            else:
                with self._changed:
                    worker.connection, worker.state = connection, "starting"
                    if self._closed:
                        connection.kill()
                joined, refusal = self._serve(worker, connection)
                why = connection.why()
                reason = refusal or why
            self._after(worker, joined, bool(refusal), reason)
            with self._changed:
                if worker.failures:
                    delay = min(FIRST_BACKOFF * 2**worker.failures, MOST_BACKOFF)
                    self._changed.wait_for(lambda: self._closed, delay)

    def _serve(self, worker: Place, connection: Connection) -> tuple[bool, str]:
        """Receive what a worker sends until its end; return whether it joined, and why it can't be used."""
        joined, refusal = False, ""
        for frame in connection.frames():
            if frame.kind == "refused":
                refusal = frame.message["reason"]
            elif frame.kind == "leaving":
                with self._changed:
                    worker.state = "starting"
            elif frame.kind == "joined":
                joined = True
                with self._changed:
                    worker.versions, worker.failures, worker.reason = frame.message["versions"], 0, ""
                    self._idle(worker)
            else:
                self._received(worker, event_of(frame))
        return joined, refusal

    def _idle(self, worker: Place) -> None:
        worker.state = "idle"
        self._dispatch()

    def _received(self, worker: Place, event: Event) -> None:
        with self._changed:
            pending = worker.pending
            if pending is None or pending.job.id != event.job or self._jobs.get(event.job) is not pending:
                return
            if isinstance(event, Done | Failed | Lost | Cancelled):
                self._end(pending, event)
                worker.pending = None
                if worker.state == "busy":
                    self._idle(worker)
            else:
                self._events.put(event)

    def _after(self, worker: Place, joined: bool, refused: bool, reason: str) -> None:
        """Report the end of a worker process: to its job, or to all jobs once no worker can be started."""
        with self._changed:
            pending, worker.pending = worker.pending, None
            worker.state = "closed" if self._closed else "starting"
            if self._closed:
                return
            log.warning("%s (%s) has ended: %s", worker.name, worker.device, reason)
            if pending is not None and self._jobs.get(pending.job.id) is pending:
                self._end(pending, _ending_of(pending, worker, reason))
            if not joined:
                worker.failures = STARTS_BEFORE_GIVING_UP if refused else worker.failures + 1
                worker.reason = reason
                if worker.failures >= STARTS_BEFORE_GIVING_UP:
                    worker.state = "broken"
            if all(one.state == "broken" for one in self._workers):
                text = f"no worker can be started: {reason}"
                for waiting in list(self._jobs.values()):
                    self._end(waiting, Failed(waiting.job.id, text, "crash"))


def _ending_of(pending: Pending, worker: Place, reason: str) -> Ending:
    if pending.stop == "cancel":
        return Cancelled(pending.job.id)
    if pending.stop == "timeout":
        return timed_out(pending.job)
    return Lost(pending.job.id, worker.name, reason)
