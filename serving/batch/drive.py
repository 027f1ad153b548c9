"""Drives a batch: gives requests to a pool, commits results, and decides what is tried again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence

from ...pipelines.errors import UserError
from ..engine.results import RunError
from ..pool.protocol import Pool
from ..pool.types import Cancelled, Done, Event, Failed, Job, Log, Lost
from .lines import Inputs, Request
from .manifest import FLAGS, Manifest

WAITING_PER_WORKER = 2
WANTED = ("seed", FLAGS)


class NoWorkers(RunError):
    """No worker can be started, so that the batch can't go on."""


class Drive:
    """The run of a batch over a pool, which the caller closes.

    `inputs_of` makes the graph of a request. A request whose worker is lost is run again, up to `retries` times, also
    over several runs of the batch; one that fails by itself is not. `seconds`: limit for each request.
    `on_notice(id, text)` receives notices, `on_end(id)` is called after each commit.
    """

    def __init__(
        self,
        pool: Pool,
        manifest: Manifest,
        requests: Sequence[Request],
        inputs_of: Callable[[Request], Inputs],
        retries: int = 1,
        seconds: float | None = None,
        on_notice: Callable[[str, str], None] = lambda id, text: None,
        on_end: Callable[[str], None] = lambda id: None,
    ) -> None:
        self._pool, self._manifest, self._inputs_of = pool, manifest, inputs_of
        self._requests: Mapping[str, Request] = {request.id: request for request in requests}
        self._retries, self._seconds = retries, seconds
        self._on_notice, self._on_end = on_notice, on_end
        self._waiting = deque(id for id in manifest.waiting() if id in self._requests)
        self._running: set[str] = set()

    def run(self) -> None:
        """Run all waiting requests to their end. Raises UserError if a result can't be saved, and NoWorkers."""
        self._fill()
        if not self._running:
            return
        for event in self._pool.events():
            self._handle(event)
            self._fill()
            if not self._running:
                return
        raise NoWorkers("the pool was closed before the batch was done; run the same command again to go on")

    def _fill(self) -> None:
        """Keep every worker busy, with few requests beside those that run."""
        most = WAITING_PER_WORKER * max(len(self._pool.workers()), 1)
        while self._waiting and len(self._running) < most:
            id = self._waiting.popleft()
            try:
                inputs = self._inputs_of(self._requests[id])
            except UserError as error:  # a file that it names can't be fetched
                self._manifest.fail(id, "user", str(error))
                self._on_end(id)
                continue
            self._running.add(id)
            self._pool.submit(Job(id, inputs.graph, inputs.files, self._seconds, outputs=WANTED))

    def _handle(self, event: Event) -> None:
        if isinstance(event, Log) and event.level == "warning":
            self._on_notice(event.job, event.message)
        if not isinstance(event, Done | Failed | Lost | Cancelled) or event.job not in self._running:
            return
        id = event.job
        if isinstance(event, Done):
            self._manifest.commit(id, event.result)
        elif isinstance(event, Failed) and event.kind == "crash":
            raise NoWorkers(f"{event.reason}; run the same command again to go on")
        elif isinstance(event, Failed):
            self._manifest.fail(id, event.kind, event.reason)
        elif isinstance(event, Lost):
            self._lost(event)
        elif isinstance(event, Cancelled):  # the pool was closed
            return
        self._running.discard(id)
        if id not in self._waiting:
            self._on_end(id)

    def _lost(self, event: Lost) -> None:
        count = self._manifest.lost(event.job)
        if count <= self._retries:
            self._on_notice(
                event.job, f"request {event.job!r} is run again, because its worker was lost: {event.reason}"
            )
            self._waiting.append(event.job)
        else:
            workers = "a worker was" if count == 1 else f"{count} workers were"
            self._manifest.fail(event.job, "crash", f"{workers} lost while running it; the last: {event.reason}")
