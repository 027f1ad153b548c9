"""A pool without processes, whose jobs do what their ids say: same protocol, for tests of what drives a pool."""

from __future__ import annotations

import io
import itertools
import queue
import threading
from collections import Counter
from collections.abc import Iterator

from fooocus_stages.pipelines.settings import DEFAULT_SAFETY_CHECKER, NO_FILE
from fooocus_stages.serving.pool.queues import EventQueue, check_new
from fooocus_stages.serving.pool.types import (
    Cancelled,
    Done,
    Event,
    Failed,
    Job,
    JobResult,
    Log,
    Lost,
    Progress,
    ResultFile,
    Started,
    WorkerInfo,
)
from PIL import Image

CHECKER = "FooocusSafetyCheck"


def picture(color: str = "teal", name: str = "Fooocus_00001_.png", node: str = "1") -> ResultFile:
    """A small picture as a worker sends it."""
    buffer = io.BytesIO()
    Image.new("RGB", (12, 8), color).save(buffer, "PNG")
    return ResultFile(name, "image/png", buffer.getvalue(), 12, 8, node)


class FakePool:
    """Jobs whose ids begin with a word behave by it; all others are done at once with one picture.

    "poison": the worker is lost, always. "once": lost the first time. "bad": fails. "slow": fails at its limit. "two":
    done with two pictures. "hang": runs until it is cancelled. "crash": no worker can be started. "notice": a notice
    before the end. "flagged": the safety checker flags the picture. `seconds`: time that each job takes. `checker`: the
    file that the workers must have; they have the published one alone, and no worker starts without another.
    """

    def __init__(self, workers: int = 2, seconds: float = 0.0, checker: str = NO_FILE) -> None:
        self.checker = checker
        self.submitted: list[Job] = []
        self.runs: Counter[str] = Counter()
        self.is_closed = False
        self._names = [f"fake-{number}" for number in range(workers)]
        self._seconds = seconds
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._events = EventQueue()
        self._unfinished: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._turn = itertools.count()
        self._threads = [threading.Thread(target=self._work, args=[name], daemon=True) for name in self._names]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job) -> None:
        with self._lock:
            check_new(job, self._unfinished, self.is_closed)
            self.submitted.append(job)
            if self.checker not in (NO_FILE, DEFAULT_SAFETY_CHECKER):
                self._events.put(Failed(job.id, f"no worker can be started: {self.checker} is missing", "crash"))
                return
            self._unfinished[job.id] = job
        self._jobs.put(job)

    def events(self) -> Iterator[Event]:
        return iter(self._events)

    def cancel(self, id: str) -> bool:
        with self._lock:
            if self._unfinished.pop(id, None) is None:
                return False
        self._events.put(Cancelled(id))
        return True

    def workers(self) -> tuple[WorkerInfo, ...]:
        state = "closed" if self.is_closed else "idle"
        return tuple(WorkerInfo(name, "cpu", state) for name in self._names)  # type: ignore[arg-type]

    def close(self) -> None:
        with self._lock:
            if self.is_closed:
                return
            self.is_closed = True
            left = list(self._unfinished)
            self._unfinished.clear()
        self._closing.set()
        for id in left:
            self._events.put(Cancelled(id))
        for _ in self._threads:
            self._jobs.put(None)
        self._events.close()

    def _work(self, name: str) -> None:
        while (job := self._jobs.get()) is not None:
            if job.id not in self._unfinished:
                continue
            self._events.put(Started(job.id, name))
            self._closing.wait(self._seconds)
            self._events.put(Progress(job.id, 1, 1, "1"))
            self.runs[job.id] += 1
            ending = self._ending(job, name)
            with self._lock:
                if ending is not None and self._unfinished.pop(job.id, None) is not None:
                    self._events.put(ending)

    def _ending(self, job: Job, name: str) -> Event | None:
        word = job.id.partition("-")[0]
        if word == "hang":
            return None
        if word == "notice":
            self._events.put(Log(job.id, "warning", "a notice", 0.0))
        if word == "poison" or (word == "once" and self.runs[job.id] == 1):
            return Lost(job.id, name, "the worker was killed by the signal SIGSEGV")
        if word == "bad":
            return Failed(job.id, "node 1 (Fail): choose something else", "user")
        if word == "slow":
            return Failed(job.id, "the job was stopped after its limit", "timeout")
        if word == "crash":
            return Failed(job.id, "no worker can be started: there is no GPU", "crash")
        files = (picture(), picture("plum", "Fooocus_00002_.png")) if word == "two" else (picture(),)
        checks = {id for id, node in job.graph.items() if node["class_type"] == CHECKER}
        outputs = {"1": {"seed": [7]}} | {id: {"nsfw": [word == "flagged"] * len(files)} for id in checks}
        return Done(job.id, JobResult(files, outputs=outputs, seconds={"total": self._seconds}))
