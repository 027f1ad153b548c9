"""The two ends of every pool: events going out, and jobs that it does not take."""

from __future__ import annotations

import queue
from collections.abc import Container, Iterator

from ...pipelines.errors import BadValue
from .types import Event, Job


class EventQueue:
    """Events on their way from the threads of a pool to those that read them; each is read once."""

    def __init__(self) -> None:
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()

    def put(self, event: Event) -> None:
        """Add an event."""
        self._events.put(event)

    def close(self) -> None:
        """End the reading after the events that are there."""
        self._events.put(None)

    def __iter__(self) -> Iterator[Event]:
        """Yield the events as they come, until `close`."""
        while (event := self._events.get()) is not None:
            yield event
        self._events.put(None)  # for the other threads that read


def check_new(job: Job, unfinished: Container[str], closed: bool) -> None:
    """Raise BadValue for a job that has the id of an unfinished one, and for any job if the pool is closed."""
    if closed:
        raise BadValue(f"job {job.id!r} can't be submitted: the pool is closed")
    if job.id in unfinished:
        raise BadValue(f"job {job.id!r} is submitted already; choose another id or wait until it has ended")
