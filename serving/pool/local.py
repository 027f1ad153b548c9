"""A pool of worker processes on this machine, one for each device."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from ...pipelines.errors import BadValue
from .frames import Frame, event_of, frame_of_job, read_frame, write_frame
from .job_runner import timed_out
from .settings import WorkerSettings
from .types import Cancelled, Done, Ending, Event, Failed, Job, Lost, Started, WorkerInfo, WorkerState

log = logging.getLogger("fooocus_stages")

GRACE = 10.0  # seconds from a request to stop until the worker is killed
MOST_BACKOFF = 60.0
FIRST_BACKOFF = 0.5
STARTS_BEFORE_GIVING_UP = 3
LAST_LINES = 20


@dataclass
class _Pending:
    """A job that is not finished, and why and when it is to be stopped or killed (monotonic time)."""

    job: Job
    worker: _Worker | None = None
    stop: str = ""
    deadline: float | None = None


@dataclass
class _Worker:
    """A place for a worker process. `outbox` holds the frames to write; None ends the writer."""

    name: str
    device: str
    state: WorkerState = "starting"
    process: subprocess.Popen[bytes] | None = None
    pending: _Pending | None = None
    versions: dict[str, str] = field(default_factory=dict)
    reason: str = ""
    failures: int = 0
    outbox: queue.SimpleQueue[Frame | None] = field(default_factory=queue.SimpleQueue)

    @property
    def info(self) -> WorkerInfo:
        pid = self.process.pid if self.process is not None and self.state in ("starting", "idle", "busy") else None
        job = self.pending.job.id if self.pending is not None else None
        return WorkerInfo(self.name, self.device, self.state, pid, self.versions, job, self.reason)


class LocalPool:
    """Worker processes on this machine, one for each device, which are replaced when they end.

    `devices`: such as ("cuda:0", "cuda:1") or ("cpu",). A job that is cancelled or too slow is stopped within one step
    of a sampler; if the worker has not stopped it after `grace` seconds, the worker is killed and replaced.
    """

    def __init__(self, devices: Sequence[str], settings: WorkerSettings | None = None, grace: float = GRACE) -> None:
        if not devices:
            raise BadValue("a pool needs at least one device: name cpu, cuda:0 or another")
        self._settings, self._grace = settings or WorkerSettings(), grace
        self._folder = Path(tempfile.mkdtemp(prefix="fooocus-stages-"))
        self._changed = threading.Condition()
        self._waiting: list[tuple[int, int, _Pending]] = []
        self._count = itertools.count()
        self._jobs: dict[str, _Pending] = {}
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._closed = False
        self._workers = [_Worker(f"worker-{number}", device) for number, device in enumerate(devices)]
        self._threads = [threading.Thread(target=self._keep_alive, args=[one], daemon=True) for one in self._workers]
        self._threads.append(threading.Thread(target=self._watch_deadlines, daemon=True))
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job) -> None:
        with self._changed:
            if self._closed:
                raise BadValue(f"job {job.id!r} can't be submitted: the pool is closed")
            if job.id in self._jobs:
                raise BadValue(f"job {job.id!r} is submitted already; choose another id or wait until it has ended")
            pending = self._jobs[job.id] = _Pending(job)
            heapq.heappush(self._waiting, (-job.priority, next(self._count), pending))
            self._dispatch()

    def events(self) -> Iterator[Event]:
        while (event := self._events.get()) is not None:
            yield event
        self._events.put(None)  # for the other threads that wait

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
                if worker.process is not None:
                    worker.process.kill()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._events.put(None)

    def _dispatch(self) -> None:
        """Give waiting jobs to idle workers."""
        for worker in self._workers:
            while worker.state == "idle" and self._waiting:
                pending = heapq.heappop(self._waiting)[2]
                if self._jobs.get(pending.job.id) is pending:  # not cancelled
                    self._begin(worker, pending)

    def _begin(self, worker: _Worker, pending: _Pending) -> None:
        worker.state, worker.pending, pending.worker = "busy", pending, worker
        if pending.job.seconds is not None:
            pending.deadline = time.monotonic() + pending.job.seconds
        worker.outbox.put(frame_of_job(pending.job))
        self._events.put(Started(pending.job.id, worker.name))
        self._changed.notify_all()

    def _end(self, pending: _Pending, ending: Ending) -> None:
        """Report the end of a job; what its worker still sends about it is ignored."""
        del self._jobs[pending.job.id]
        self._events.put(ending)

    def _stop(self, pending: _Pending, reason: str) -> None:
        """Ask the worker to stop a job, and kill it unless it does so in time."""
        if pending.stop or pending.worker is None:
            return
        pending.stop, pending.deadline = reason, time.monotonic() + self._grace
        pending.worker.outbox.put(Frame("stop", {"job": pending.job.id, "reason": reason}))
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

    def _overdue(self, pending: _Pending) -> None:
        if not pending.stop:
            self._stop(pending, "timeout")
        elif pending.worker is not None and pending.worker.process is not None:
            pending.deadline = None
            pending.worker.process.kill()

    def _keep_alive(self, worker: _Worker) -> None:
        """Run one worker process after another until the pool is closed."""
        while not self._closed:
            folder = Path(tempfile.mkdtemp(prefix=f"{worker.name}-", dir=self._folder))
            last_lines: deque[str] = deque(maxlen=LAST_LINES)
            joined, refusal, code = False, "", 0
            try:
                process = self._spawn(worker, folder, last_lines)
            except OSError as error:
                refusal = f"the process can't be started: {error}"
            else:
                joined, refusal = self._serve(worker, process)
                code = process.wait()
            if refusal:
                worker.failures = STARTS_BEFORE_GIVING_UP
            self._after(worker, joined, refusal or _why(code, last_lines))
            shutil.rmtree(folder, ignore_errors=True)
            with self._changed:
                if worker.failures:
                    delay = min(FIRST_BACKOFF * 2**worker.failures, MOST_BACKOFF)
                    self._changed.wait_for(lambda: self._closed, delay)

    def _spawn(self, worker: _Worker, folder: Path, last_lines: deque[str]) -> subprocess.Popen[bytes]:
        module = __name__.rpartition(".")[0] + ".worker"
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=_environment(worker.device, len(self._workers)),
        )
        with self._changed:
            worker.process, worker.state, worker.outbox = process, "starting", queue.SimpleQueue()
            if self._closed:
                process.kill()
        settings = {"settings": self._settings.as_json(), "device": worker.device, "folder": str(folder)}
        worker.outbox.put(Frame("settings", {**settings, "workers": len(self._workers)}))
        assert process.stdin is not None
        assert process.stderr is not None
        threading.Thread(target=_write, args=[process.stdin, worker.outbox], daemon=True).start()
        threading.Thread(target=_keep_lines, args=[process.stderr, last_lines, worker.name], daemon=True).start()
        return process

    def _serve(self, worker: _Worker, process: subprocess.Popen[bytes]) -> tuple[bool, str]:
        """Receive what a worker sends until its end; return whether it joined, and why it refused to."""
        joined, refusal = False, ""
        assert process.stdout is not None
        while (frame := read_frame(process.stdout)) is not None:
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
        process.stdout.close()
        return joined, refusal

    def _idle(self, worker: _Worker) -> None:
        worker.state = "idle"
        self._dispatch()

    def _received(self, worker: _Worker, event: Event) -> None:
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

    def _after(self, worker: _Worker, joined: bool, reason: str) -> None:
        """Report the end of a worker process: to its job, or to all jobs once no worker can be started."""
        worker.outbox.put(None)
        with self._changed:
            pending, worker.pending = worker.pending, None
            worker.state = "closed" if self._closed else "starting"
            if self._closed:
                return
            log.warning("%s (%s) has ended: %s", worker.name, worker.device, reason)
            if pending is not None and self._jobs.get(pending.job.id) is pending:
                self._end(pending, _ending_of(pending, worker, reason))
            if not joined:
                worker.failures += 1
                worker.reason = reason
                if worker.failures >= STARTS_BEFORE_GIVING_UP:
                    worker.state = "broken"
            if all(one.state == "broken" for one in self._workers):
                text = f"no worker can be started: {reason}"
                for waiting in list(self._jobs.values()):
                    self._end(waiting, Failed(waiting.job.id, text, "crash"))


def _ending_of(pending: _Pending, worker: _Worker, reason: str) -> Ending:
    if pending.stop == "cancel":
        return Cancelled(pending.job.id)
    if pending.stop == "timeout":
        return timed_out(pending.job)
    return Lost(pending.job.id, worker.name, reason)


def _why(code: int, last_lines: deque[str]) -> str:
    """Return why a process has ended, from its exit code and the last lines of its stderr."""
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = str(-code)
        why = f"the worker was killed by the signal {name}"
        if name == "SIGKILL":
            why += " (the system sends it when memory runs out)"
    else:
        why = f"the worker ended with exit code {code}"
    last = next((line for line in reversed(last_lines) if line.strip()), "")
    return f"{why}; its last message: {last.strip()}" if last else why


def _environment(device: str, workers: int) -> dict[str, str]:
    """Return the environment of a worker: this process's import path, and its share of the cores."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONSAFEPATH": "1"}
    if device == "cpu":
        environment.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // workers, 1)))
    return environment


def _write(stream: IO[bytes], outbox: queue.SimpleQueue[Frame | None]) -> None:
    """Write frames until the process ends; a process that does not read them holds up nobody else."""
    with contextlib.suppress(OSError, ValueError):
        while (frame := outbox.get()) is not None:
            write_frame(stream, frame)
    with contextlib.suppress(OSError):
        stream.close()


def _keep_lines(stream: IO[bytes], last_lines: deque[str], name: str) -> None:
    with stream:
        for line in stream:
            text = line.decode("utf-8", "replace").rstrip()
            last_lines.append(text)
            log.debug("%s: %s", name, text)


def local_devices() -> list[str]:
    """Return the devices of this machine on which workers should run: all GPUs, else the CPU."""
    import torch

    if torch.cuda.is_available():
        return [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return ["mps"] if torch.backends.mps.is_available() else ["cpu"]
