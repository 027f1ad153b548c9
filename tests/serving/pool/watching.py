"""Reads the events of a pool in the tests, with an end to the waiting."""

from __future__ import annotations

import queue
import threading
from typing import Any

from fooocus_stages.serving.pool.protocol import Pool
from fooocus_stages.serving.pool.types import Cancelled, Done, Event, Failed, Graph, Job, Lost

PATIENCE = 900  # seconds; a test that waits longer has failed


class Watcher:
    """The events of a pool, in their order."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.seen: list[Event] = []
        self._arriving: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for event in self.pool.events():
            self._arriving.put(event)
        self._arriving.put(None)

    def next(self) -> Event | None:
        event = self._arriving.get(timeout=PATIENCE)
        if event is not None:
            self.seen.append(event)
        return event

    def until(self, kind: type[Any], job: str) -> Any:
        """Read on until an event of that kind of that job."""
        while True:
            event = self.next()
            assert event is not None, "the events have ended"
            if isinstance(event, kind) and event.job == job:
                return event

    def ending(self, job: str) -> Any:
        """Return the end of a job, read on if necessary."""
        for event in self.seen:
            if isinstance(event, Done | Failed | Lost | Cancelled) and event.job == job:
                return event
        while True:
            event = self.next()
            assert event is not None, "the events have ended"
            if isinstance(event, Done | Failed | Lost | Cancelled) and event.job == job:
                return event

    def run(self, job: str, graph: Graph, **settings: Any) -> Any:
        self.pool.submit(Job(job, graph, **settings))
        return self.ending(job)


def one(class_type: str, **inputs: Any) -> Graph:
    """A graph of one node."""
    return {"1": {"class_type": class_type, "inputs": inputs}}


def pid_of(ending: Any) -> int:
    """The process that ran a node of the test's pack."""
    assert isinstance(ending, Done), ending
    pid: int = ending.result.ui["1"]["pid"][0]
    return pid
