"""Progress and notices on stderr: a bar on a terminal, plain lines in a pipe; and streams of any encoding."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import TextIOWrapper
from typing import Any

from .engine.results import Event

LINES_PER_NODE = 5
TENTHS = 10


@contextmanager
def escaping_streams() -> Iterator[None]:
    """Write characters that the encoding of stdout or stderr does not have as escapes such as ``\\u732b``."""
    with ExitStack() as restored:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                restored.callback(stream.reconfigure, errors=stream.errors)
                stream.reconfigure(errors="backslashreplace")
        yield


def shows_unicode() -> bool:
    """Return whether stdout can show every character."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return encoding.lower().replace("_", "-").startswith("utf")


class Console:
    """Shows nodes as they start, their steps, and notices. Close it before printing anything else."""

    def __init__(self) -> None:
        self.outputs: list[dict[str, Any]] = []  # what a failed run had saved before it ended
        self.notices: list[str] = []
        self._node = ""
        self._bar: Any = None
        self._last = 0
        self._bars = sys.stderr.isatty()

    def event(self, event: Event) -> None:
        """Show an event of the runner."""
        if event.kind == "start":
            self.close()
            self._node = f"{event.shown_at} {event.class_type}"
            self._last = 0
            if not self._bars:
                self.line(f"node {self._node}")
        elif event.kind == "blocked":
            self.line(f"note: node {event.shown_at} ({event.class_type}) is blocked: {event.detail}")

    def progress(self, value: int, total: int) -> None:
        """Show that `value` of `total` steps of the current node are done."""
        if self._bars:
            if self._bar is None or self._bar.total != total or value < self._bar.n:
                from tqdm import tqdm  # type: ignore[import-untyped,unused-ignore]

                self.close()
                self._bar = tqdm(total=total, desc=self._node, file=sys.stderr, leave=True)
            self._bar.update(value - self._bar.n)
        else:
            fraction = value * LINES_PER_NODE // max(total, 1)
            if fraction != self._last:
                self._last = fraction
                self.line(f"node {self._node}: {value}/{total}")

    def notice(self, text: str) -> None:
        """Show a notice, the first time it is given, and keep it in `notices`."""
        if text not in self.notices:
            self.notices.append(text)
            self.line(f"note: {text}")

    def line(self, text: str) -> None:
        """Print a line without breaking the current bar."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Close the current bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class Transfer:
    """Shows the progress of a download: a bar on a terminal, a line at each tenth in a pipe."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._bar: Any = None
        self._last = -1
        self._bars = sys.stderr.isatty()

    def show(self, received: int, total: int) -> None:
        """Show that `received` of `total` bytes have arrived; a file that is fetched again lowers the number."""
        if self._bars:
            from tqdm import tqdm  # type: ignore[import-untyped,unused-ignore]

            if self._bar is None:
                self._bar = tqdm(desc=self._title, file=sys.stderr, unit="B", unit_scale=True)
            self._bar.total = total
            self._bar.update(received - self._bar.n)
        elif (tenths := received * TENTHS // max(total, 1)) != self._last:
            self._last = tenths
            print(f"{self._title}: {received:,} of {total:,} bytes", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Close the current bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
