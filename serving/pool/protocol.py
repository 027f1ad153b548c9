"""The protocol of a pool of workers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from .types import Event, Job, WorkerInfo


class Pool(Protocol):
    """Workers that run jobs. All methods may be called from any thread.

    A pool never runs a job twice by itself: whoever submits it decides what follows a `Lost`.
    """

    def submit(self, job: Job) -> None:
        """Queue a job. Raises BadValue if an unfinished job has its id, or if the pool is closed."""
        ...

    def events(self) -> Iterator[Event]:
        """Yield the events of all jobs as they happen, and end after `close`. Each event is yielded once."""
        ...

    def cancel(self, id: str) -> bool:
        """Cancel a job, and return whether it was unfinished; `Cancelled` follows, or the end that came before it."""
        ...

    def workers(self) -> tuple[WorkerInfo, ...]:
        """Return the workers as they are now."""
        ...

    def close(self) -> None:
        """Cancel all jobs, end the workers and end `events`; a second call does nothing."""
        ...
