"""How far a run is, on stderr: a bar on a terminal, plain lines in a pipe."""

from __future__ import annotations

import sys
from typing import Any

from .engine.results import Event

LINES_PER_NODE = 5
TENTHS = 10


class Console:
    """Shows nodes as they begin, their steps, and notices. Close it before anything else is printed."""

    def __init__(self) -> None:
        self.outputs: list[dict[str, Any]] = []  # what a run that did not end well had to show by then
        self._node = ""
        self._bar: Any = None
        self._last = 0
        self._bars = sys.stderr.isatty()

    def event(self, event: Event) -> None:
        """Take note of what the runner tells."""
        if event.kind == "start":
            self.close()
            self._node = f"{event.shown_at} {event.class_type}"
            self._last = 0
            if not self._bars:
                self.line(f"node {self._node}")
        elif event.kind == "blocked":
            self.notice(f"node {event.shown_at} ({event.class_type}) is blocked: {event.detail}")

    def progress(self, value: int, total: int) -> None:
        """Show that `value` of `total` steps of the present node are done."""
        if self._bars:
            if self._bar is None or self._bar.total != total or value < self._bar.n:
                from tqdm import tqdm  # type: ignore[import-untyped,unused-ignore]

                self.close()
                self._bar = tqdm(total=total, desc=self._node, file=sys.stderr, leave=True)
            self._bar.update(value - self._bar.n)
        else:
            share = value * LINES_PER_NODE // max(total, 1)
            if share != self._last:
                self._last = share
                self.line(f"node {self._node}: {value}/{total}")

    def notice(self, text: str) -> None:
        """Show one line that is no error."""
        self.line(f"note: {text}")

    def line(self, text: str) -> None:
        """Print a line; a bar on the way stays whole."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the bar that is shown."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class Transfer:
    """Shows how much of all files has come: a bar on a terminal, a line at each tenth in a pipe."""

    def __init__(self, words: str) -> None:
        self._words = words
        self._bar: Any = None
        self._last = -1
        self._bars = sys.stderr.isatty()

    def show(self, have: int, total: int) -> None:
        """Show that `have` of `total` bytes are there; fewer than before when some were thrown away."""
        if self._bars:
            from tqdm import tqdm  # type: ignore[import-untyped,unused-ignore]

            if self._bar is None:
                self._bar = tqdm(desc=self._words, file=sys.stderr, unit="B", unit_scale=True)
            self._bar.total = total
            self._bar.update(have - self._bar.n)
        elif (share := have * TENTHS // max(total, 1)) != self._last:
            self._last = share
            print(f"{self._words}: {have:,} of {total:,} bytes", file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the bar that is shown."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
