"""The program of a worker process: jobs come in on stdin, events go out on stdout, all else goes to stderr."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

from ...pipelines.errors import UserError
from .frames import Frame, frame_of_event, job_of, read_frame, write_frame
from .job_runner import JobRunner, Stop
from .settings import WorkerSettings, versions
from .types import Event

REFUSED, BROKEN = 2, 3


class Worker:
    """The jobs of one worker. `send` takes its frames to the pool, from any thread."""

    def __init__(self, send: Callable[[Frame], None], folder: Path) -> None:
        self._send, self._folder = send, folder
        self._jobs: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        self._stops: dict[str, Stop] = {}

    def main(self, settings: WorkerSettings, device: str | None, workers_here: int) -> int:
        """Join the pool and run jobs until the device is broken; return the exit code."""
        try:
            runner = JobRunner(settings, device, self._folder, workers_here)
        except UserError as error:
            self._send(Frame("refused", {"reason": str(error)}))
            return REFUSED
        self._send(Frame("joined", {"versions": versions(), "pid": os.getpid()}))
        while not runner.is_broken:
            job = job_of(self._jobs.get())
            ending = runner.run(job, self._emit, self._stops[job.id])
            del self._stops[job.id]
            if runner.is_broken:
                self._send(Frame("leaving"))
            self._emit(ending)
            runner.clean()
        return BROKEN

    def receive(self, frame: Frame) -> None:
        """Take a job, or stop one."""
        if frame.kind == "job":
            self._stops[frame.message["id"]] = Stop()
            self._jobs.put(frame)
        elif frame.kind == "stop" and (stop := self._stops.get(frame.message["job"])) is not None:
            stop.reason = frame.message["reason"]

    def _emit(self, event: Event) -> None:
        self._send(frame_of_event(event))


def serve_pipes(incoming: IO[bytes], outgoing: IO[bytes]) -> int:
    """Run a worker over two pipes and return the exit code. The end of `incoming` ends the process."""
    opening = read_frame(incoming)
    if opening is None:
        return 0
    folder, writing = Path(opening.message["folder"]), threading.Lock()

    def send(frame: Frame) -> None:
        with writing:
            write_frame(outgoing, frame)

    def listen() -> None:
        while (frame := read_frame(incoming)) is not None:
            worker.receive(frame)
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            folder.parent.rmdir()  # the pool's, if it was killed and this is its last worker
        os._exit(0)

    worker = Worker(send, folder)
    threading.Thread(target=listen, daemon=True).start()
    settings = WorkerSettings.from_json(opening.message["settings"])
    return worker.main(settings, opening.message["device"], opening.message["workers"])


def own_pipes() -> tuple[IO[bytes], IO[bytes]]:
    """Take stdin and stdout for frames alone: what prints to stdout from now on prints to stderr."""
    incoming = os.fdopen(os.dup(0), "rb")
    outgoing = os.fdopen(os.dup(1), "wb")
    if sys.platform == "win32":
        import msvcrt

        for stream in (incoming, outgoing):
            msvcrt.setmode(stream.fileno(), os.O_BINARY)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return incoming, outgoing


def main() -> int:
    """Run a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches all processes; the pool decides
    return serve_pipes(*own_pipes())


if __name__ == "__main__":
    sys.exit(main())
