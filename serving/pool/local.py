"""A pool of worker processes on this machine, one for each device."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from .frames import Frame, read_frame, write_frame
from .settings import WorkerSettings
from .supervisor import GRACE, Place, SupervisedPool

log = logging.getLogger("fooocus_stages")

LAST_LINES = 20


class LocalPool(SupervisedPool):
    """Worker processes on this machine, one for each device, which are replaced when they end.

    `devices`: such as ("cuda:0", "cuda:1") or ("cpu",). `grace`: see `SupervisedPool`.
    """

    def __init__(self, devices: Sequence[str], settings: WorkerSettings | None = None, grace: float = GRACE) -> None:
        super().__init__([Place(f"worker-{number}", device) for number, device in enumerate(devices)], grace)
        self._settings = settings or WorkerSettings()
        self._folder = Path(tempfile.mkdtemp(prefix="fooocus-stages-"))
        self.start()

    def connect(self, place: Place) -> WorkerProcess:
        folder = Path(tempfile.mkdtemp(prefix=f"{place.name}-", dir=self._folder))
        return WorkerProcess(place.name, place.device, self._settings, folder, len(self._workers))

    def close(self) -> None:
        super().close()
        shutil.rmtree(self._folder, ignore_errors=True)


class WorkerProcess:
    """A worker in a process of its own, with frames on its stdin and stdout."""

    def __init__(self, name: str, device: str, settings: WorkerSettings, folder: Path, workers: int) -> None:
        self._folder = folder
        self._last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._outbox: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=_environment(device, workers),
        )
        opening = {"settings": settings.as_json(), "device": device, "folder": str(folder), "workers": workers}
        self.send(Frame("settings", opening))
        assert self._process.stdin is not None
        assert self._process.stderr is not None
        threading.Thread(target=_write, args=[self._process.stdin, self._outbox], daemon=True).start()
        lines = [self._process.stderr, self._last_lines, name]
        threading.Thread(target=_keep_lines, args=lines, daemon=True).start()

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def frames(self) -> Iterator[Frame]:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            while (frame := read_frame(stream)) is not None:
                yield frame

    def send(self, frame: Frame) -> None:
        self._outbox.put(frame)

    def kill(self) -> None:
        self._process.kill()

    def why(self) -> str:
        code = self._process.wait()
        self._outbox.put(None)
        shutil.rmtree(self._folder, ignore_errors=True)
        return _why(code, self._last_lines)


def _why(code: int, last_lines: deque[str]) -> str:
    """Return why a process has ended, from its exit code and the last lines of its stderr."""
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = str(-code)
        why = f"the worker was killed by the signal {name}"
        if name == "SIGKILL":
            why += " (the system sends it when memory runs out)"
    else:
        why = f"the worker ended with exit code {code}"
    last = next((line for line in reversed(last_lines) if line.strip()), "")
    return f"{why}; its last message: {last.strip()}" if last else why


def _environment(device: str, workers: int) -> dict[str, str]:
    """Return the environment of a worker: this process's import path, and its share of the cores."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONSAFEPATH": "1"}
    if device == "cpu":
        environment.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // workers, 1)))
    return environment


def _write(stream: IO[bytes], outbox: queue.SimpleQueue[Frame | None]) -> None:
    """Write frames until the process ends; a process that does not read them holds up nobody else."""
    with contextlib.suppress(OSError, ValueError):
        while (frame := outbox.get()) is not None:
            write_frame(stream, frame)
    with contextlib.suppress(OSError):
        stream.close()


def _keep_lines(stream: IO[bytes], last_lines: deque[str], name: str) -> None:
    with stream:
        for line in stream:
            text = line.decode("utf-8", "replace").rstrip()
            last_lines.append(text)
            log.debug("%s: %s", name, text)
