"""The program of a worker process: jobs come in on stdin, events go out on stdout, all else goes to stderr."""

from __future__ import annotations

import os
import queue
import shutil
import signal
import sys
import threading
from pathlib import Path
from typing import IO

from ...pipelines.errors import UserError
from .frames import Frame, frame_of_event, job_of, read_frame, write_frame
from .job_runner import JobRunner, Stop
from .settings import WorkerSettings, versions
from .types import Event

REFUSED, BROKEN = 2, 3


class Worker:
    """The jobs of one worker process, and the two ends of its pipes."""

    def __init__(self, incoming: IO[bytes], outgoing: IO[bytes]) -> None:
        self._incoming, self._outgoing = incoming, outgoing
        self._jobs: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        self._stops: dict[str, Stop] = {}
        self._writing = threading.Lock()
        self._folder = Path()

    def main(self) -> int:
        """Run jobs until the pool closes the pipe, and return the exit code."""
        opening = read_frame(self._incoming)
        if opening is None:
            return 0
        self._folder = Path(opening.message["folder"])
        try:
            settings = WorkerSettings.from_json(opening.message["settings"])
            runner = JobRunner(settings, opening.message["device"], self._folder, opening.message["workers"])
        except UserError as error:
            self._send(Frame("refused", {"reason": str(error)}))
            return REFUSED
        self._send(Frame("joined", {"versions": versions(), "pid": os.getpid()}))
        threading.Thread(target=self._listen, daemon=True).start()
        while not runner.is_broken:
            job = job_of(self._jobs.get())
            ending = runner.run(job, self._emit, self._stops[job.id])
            del self._stops[job.id]
            if runner.is_broken:
                self._send(Frame("leaving"))
            self._emit(ending)
        return BROKEN

    def _listen(self) -> None:
        """Receive jobs and stops. The end of the pipe is the end of the pool, and with it of this process."""
        while (frame := read_frame(self._incoming)) is not None:
            if frame.kind == "job":
                self._stops[frame.message["id"]] = Stop()
                self._jobs.put(frame)
            elif frame.kind == "stop" and (stop := self._stops.get(frame.message["job"])) is not None:
                stop.reason = frame.message["reason"]
        shutil.rmtree(self._folder, ignore_errors=True)
        os._exit(0)

    def _emit(self, event: Event) -> None:
        self._send(frame_of_event(event))

    def _send(self, frame: Frame) -> None:
        with self._writing:
            write_frame(self._outgoing, frame)


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
    return Worker(*own_pipes()).main()


if __name__ == "__main__":
    sys.exit(main())
