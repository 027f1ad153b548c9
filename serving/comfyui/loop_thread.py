"""Asynchronous work in a thread of its own: a signal reaches the caller at once, and the work ends in good order."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
GLANCE = 0.2  # seconds between two looks at the signals, where waiting for a lock does not notice them


class Background:
    """An event loop in a thread, for the time of a `with`."""

    def __enter__(self) -> Background:
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)), daemon=True)
        self._thread.start()
        ready.wait()
        return self

    def __exit__(self, *raised: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """What the work gives or raises. Broken off by a signal, it is cancelled, and waited for until it has ended."""
        ended = threading.Event()
        task: asyncio.Task[T] = asyncio.run_coroutine_threadsafe(_begun(work, ended), self._loop).result()
        try:
            while not ended.wait(GLANCE):
                pass
        except BaseException:
            self._loop.call_soon_threadsafe(task.cancel)
            ended.wait()
            _ = task.cancelled() or task.exception()
            raise
        return task.result()

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        ready.set()
        await self._over.wait()


async def _begun(work: Coroutine[Any, Any, T], ended: threading.Event) -> asyncio.Task[T]:
    task = asyncio.ensure_future(work)
    task.add_done_callback(lambda _: ended.set())
    return task
