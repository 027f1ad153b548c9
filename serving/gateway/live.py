"""Requests that are not finished, as they are in memory."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Literal

from .clock import timestamp
from .records import Accepted, Finished

State = Literal["waiting", "running", "finished"]
MOST_LOGS = 2000


class Signal:
    """Wakes everybody who waits for a change."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def send(self) -> None:
        """Wake everybody who waits now."""
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
        self._waiting.clear()

    async def wait(self, seconds: float) -> None:
        """Return at the next change, or after that time."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await asyncio.wait((future,), timeout=seconds)
        finally:
            self._waiting.discard(future)


@dataclass(eq=False)
class Live:
    """A request that is not finished, or has just finished.

    `request` is the parsed request once it is prepared, `files` the local files of its graph. `ending`: its outcome is
    decided and being stored. `progress`: value and total of the running node. `preview`: media type and image.
    """

    accepted: Accepted
    state: State = "waiting"
    request: Any = None
    graph: Any = None
    files: dict[str, Any] = field(default_factory=dict)
    prepared: bool = False
    preparing: asyncio.Task[None] | None = None
    deadline: asyncio.TimerHandle | None = None
    ending: bool = False
    progress: tuple[int, int] = (0, 0)
    preview: tuple[str, bytes] | None = None
    logs: list[dict[str, str]] = field(default_factory=list)
    changed: Signal = field(default_factory=Signal)
    result: asyncio.Future[Finished] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    callers: int = 0

    def log(self, message: str, time: float, level: str = "INFO") -> None:
        """Add a log entry, up to a limit, and wake whoever follows the request."""
        if len(self.logs) < MOST_LOGS:
            entry = {"message": message, "level": level, "source": "USER", "timestamp": timestamp(time)}
            self.logs.append(entry)
        self.changed.send()
