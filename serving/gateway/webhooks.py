"""Webhooks: each finished request that asked for it is posted until its receiver takes it, ten times at most."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from . import records
from .clock import SteadyClock
from .metrics import Metrics
from .outcomes import Problem
from .records import Delivery, Finished
from .results import present
from .signing import Signer
from .store import Store, StoreError

PAUSES = (5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3000)
"""Seconds before each further attempt: about two hours in all."""
AT_ONCE, AT_ONCE_PER_HOST = 32, 4
logger = logging.getLogger("fooocus_stages.gateway")


class Poster(Protocol):
    """Posts webhook calls under the rules for outside addresses."""

    def refusal(self, url: str) -> str:
        """Return why a URL is refused before any call, "" if it is not."""
        ...

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> int:
        """Post a body without following redirects and return the reply's status. Raises OSError, or a subclass."""
        ...


class Webhooks:
    """The calls to be made. `pauses`: seconds before each further attempt."""

    def __init__(
        self,
        store: Store,
        clock: SteadyClock,
        signer: Signer,
        poster: Poster,
        results: Path,
        metrics: Metrics,
        pauses: tuple[float, ...] = PAUSES,
    ) -> None:
        self._store, self._clock, self._signer, self._poster = store, clock, signer, poster
        self._results, self._metrics, self._pauses = results, metrics, pauses
        self._all = asyncio.Semaphore(AT_ONCE)
        self._hosts: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(AT_ONCE_PER_HOST))
        self._tasks: set[asyncio.Task[None]] = set()

    def jwks(self) -> dict[str, Any]:
        """Return the key set of the signatures."""
        return self._signer.jwks()

    def checked(self, url: str) -> str:
        """Return a webhook's URL. Raises Problem 400 for one that may not be called."""
        if url and (why := self._poster.refusal(url)):
            raise Problem(400, f"fal_webhook: {why}", "bad_request")
        return url

    async def start(self) -> None:
        """Take up the calls that an earlier process has left."""
        for delivery in await self._store.read(records.deliveries):
            self._follow(delivery)

    def on_finished(self, finished: Finished) -> None:
        """Call the webhook of a request that has finished."""
        if finished.request.options.webhook:
            now = self._clock.now()
            self._follow(Delivery(finished.request.id, finished.request.options.webhook, 0, now))

    async def close(self) -> None:
        """Stop calling; what is left is taken up by the next process."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _follow(self, delivery: Delivery) -> None:
        task = asyncio.get_running_loop().create_task(self._deliver(delivery))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, delivery: Delivery) -> None:
        attempts, due = delivery.attempts, delivery.next
        while True:
            await asyncio.sleep(max(0.0, due - self._clock.now()))
            outcome = await self._attempt(delivery)
            if outcome == "ok" or attempts >= len(self._pauses):
                break
            due = self._clock.now() + self._pauses[attempts]
            attempts += 1
            with contextlib.suppress(StoreError):
                await self._store.write(records.postpone(delivery.request, attempts, due))
        self._metrics.deliveries.labels("delivered" if outcome == "ok" else "given up").inc()
        if outcome != "ok":
            logger.error("webhook given up", extra={"request": delivery.request, "error": outcome})
        await self._store.write(records.delivered(delivery.request))

    async def _attempt(self, delivery: Delivery) -> str:
        """Make one call and return "ok", or what went wrong."""
        finished = await self._store.read(records.finished(delivery.request))
        if finished is None:
            return "ok"
        body = await asyncio.to_thread(payload, finished, self._results)
        user = finished.request.owner or "local"
        headers = self._signer.headers(delivery.request, user, int(time.time()), body)
        async with self._hosts[urlsplit(delivery.url).netloc], self._all:
            try:
                status = await self._poster.post(delivery.url, body, {"Content-Type": "application/json", **headers})
            except Exception as error:  # whatever the receiver does, it is its failure, to be tried again
                outcome = type(error).__name__
            else:
                outcome = "ok" if 200 <= status < 300 else f"status {status}"
        if outcome != "ok":
            self._metrics.deliveries.labels("failed").inc()
            logger.warning("webhook failed", extra={"request": delivery.request, "error": outcome})
        return outcome


def payload(finished: Finished, results: Path) -> bytes:
    """Return the body of a webhook call."""
    id, outcome = finished.request.id, finished.outcome
    body: dict[str, Any] = {"request_id": id, "gateway_request_id": id, "status": "OK" if outcome.ok else "ERROR"}
    if outcome.ok:
        try:
            body["payload"] = present(outcome.body, finished.request.options.base, results)
        except OSError:
            body |= {"payload": None, "payload_error": "the images of this request have expired"}
    else:
        body |= {"error": f"Invalid status code: {outcome.status}", "payload": outcome.body}
    return json.dumps(body).encode()
