"""Time for deadlines and lifetimes, which does not follow jumps of the system's clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timezone


class SteadyClock:
    """Seconds since the epoch that never go backwards and pass at the pace of a monotonic clock.

    `earliest`: a time that has passed already, as an earlier process saw it.
    """

    def __init__(
        self,
        earliest: float = 0.0,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._steady = steady
        self._offset = max(wall(), earliest) - steady()

    def now(self) -> float:
        """Return the present time in seconds."""
        return self._offset + self._steady()


def timestamp(seconds: float) -> str:
    """Return a time as ISO 8601 with offset, as clients before Python 3.11 parse it."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="microseconds")
