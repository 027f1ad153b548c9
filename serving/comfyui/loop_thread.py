"""Runs coroutines in a thread of their own, so that a signal reaches the caller at once and cancels them cleanly."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
SIGNAL_INTERVAL = 0.2  # seconds; on Windows, waiting for a lock does not notice signals


class LoopThread:
    """An asyncio event loop in a thread, for the duration of a `with` block."""

    def __enter__(self) -> LoopThread:
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)), daemon=True)
        self._thread.start()
        ready.wait()
        return self

    def __exit__(self, *raised: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine and return its result. After a signal it is cancelled, and awaited until it has ended."""
        ended = threading.Event()
        task: asyncio.Task[T] = asyncio.run_coroutine_threadsafe(_create_task(work, ended), self._loop).result()
        try:
            while not ended.wait(SIGNAL_INTERVAL):
                pass
        except BaseException:
            self._loop.call_soon_threadsafe(task.cancel)
            ended.wait()
            _ = task.cancelled() or task.exception()
            raise
        return task.result()

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        ready.set()
        await self._stop.wait()


async def _create_task(work: Coroutine[Any, Any, T], ended: threading.Event) -> asyncio.Task[T]:
    task = asyncio.ensure_future(work)
    task.add_done_callback(lambda _: ended.set())
    return task
