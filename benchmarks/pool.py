"""What a pool costs: a request that does nothing in process, in a worker process and over Ray; start-up; scaling; and
what the driver of a batch does for each result.

python benchmarks/pool.py [--requests N] [--workers 1 2 4] [--seconds S] [--ray]
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from fooocus_stages.pipelines.errors import UserError
from fooocus_stages.serving.batch.lines import Request
from fooocus_stages.serving.batch.manifest import Manifest
from fooocus_stages.serving.pool.frames import event_of, frame_of_event, frame_of_job, read_frame, write_frame
from fooocus_stages.serving.pool.job_runner import JobRunner, Stop
from fooocus_stages.serving.pool.local import LocalPool
from fooocus_stages.serving.pool.protocol import Pool
from fooocus_stages.serving.pool.settings import WorkerSettings
from fooocus_stages.serving.pool.types import Done, Ending, Event, Job, JobResult, ResultFile
from timing import machine, table

RESULT = 2 * 2**20  # bytes, as of a PNG of 1024x1024 pixels
NODES = """
import time

from fooocus_stages.nodes.comfy import current_host

class Sleep:
    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"seconds": ("FLOAT", {"min": 0.0})}}

    def run(self, seconds):
        time.sleep(seconds)
        return {"ui": {}}

class Give:
    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"size": ("INT", {"min": 0, "max": 2**31})}}

    def run(self, size):
        name = f"{time.monotonic_ns()}.bin"
        (current_host().folder("output") / name).write_bytes(bytes(size))
        return {"ui": {"images": [{"filename": name, "subfolder": "", "type": "output"}]}}

NODE_CLASS_MAPPINGS = {"Sleep": Sleep, "Give": Give}
"""


def job(number: int, seconds: float = 0.0, size: int = 0) -> Job:
    """A job that sleeps, or one whose result has so many bytes."""
    node = (
        {"class_type": "Give", "inputs": {"size": size}}
        if size
        else {"class_type": "Sleep", "inputs": {"seconds": seconds}}
    )
    return Job(f"{number}", {"1": node})


class Alone:
    """Runs requests that do nothing on a pool, one after another; or that give a result of so many bytes."""

    def __init__(self, pool: Pool, size: int = 0) -> None:
        self._pool, self._events, self._numbers, self._size = pool, pool.events(), itertools.count(), size

    def __call__(self) -> None:
        self._pool.submit(job(next(self._numbers), size=self._size))
        while not isinstance(event := next(self._events), Ending):
            pass
        assert isinstance(event, Done), event


def all_at_once(pool: Pool, requests: int, seconds: float) -> float:
    """Requests a second, of requests that sleep, after one for each worker that does not count."""
    events, first = pool.events(), len(pool.workers())
    for count in (first, requests):
        start = time.perf_counter()
        for number in range(count):
            pool.submit(job(number, seconds))
        for _ in range(count):
            while not isinstance(next(events), Ending):
                pass
    return requests / (time.perf_counter() - start)


class InProcess:
    """Runs the same requests without a pool; `emit` receives the events of a call."""

    def __init__(self, settings: WorkerSettings, folder: Path, size: int = 0) -> None:
        self._runner, self._size = JobRunner(settings, "cpu", folder), size

    def __call__(self, emit: Callable[[Event], None] = lambda event: None) -> None:
        emit(self._runner.run(job(0, size=self._size), emit, Stop()))
        self._runner.clean()


def bytes_moved(run: InProcess) -> int:
    """Bytes of a job that does nothing and of its events, as they go through a pipe."""
    stream = io.BytesIO()
    write_frame(stream, frame_of_job(job(0)))
    run(lambda event: write_frame(stream, frame_of_event(event)))
    return len(stream.getvalue())


def driver(folder: Path, results: int) -> list[tuple[str, object]]:
    """Milliseconds that the driver takes for a result of 2 MB: from the pipe to an event, and committed to the disk."""
    result = JobResult((ResultFile("a.png", "image/png", os.urandom(RESULT), 1024, 1024, "1"),))
    manifest, frames = Manifest(folder), folder.with_suffix(".frames")
    manifest.add([Request(f"{number}", number, "", {}) for number in range(results + 1)])
    with frames.open("wb") as file:
        for number in range(results + 1):
            write_frame(file, frame_of_event(Done(f"{number}", result)))
    with subprocess.Popen(["cat", str(frames)], stdout=subprocess.PIPE) as worker:
        received = iter(lambda: read_frame(worker.stdout), None)  # type: ignore[arg-type]
        rows = [each("from pipe to event", lambda number: event_of(next(received)), results)]
    rows.append(each("committed", lambda number: manifest.commit(f"{number}", result), results))
    manifest.close()
    return rows


def each(name: str, act: Callable[[int], object], results: int) -> tuple[str, object]:
    """Milliseconds of the clock and of this process's processor, medians, after one that does not count."""
    wall, busy = [], []
    for number in range(results + 1):
        start = time.perf_counter(), time.process_time()
        act(number)
        wall.append((time.perf_counter() - start[0]) * 1000)
        busy.append((time.process_time() - start[1]) * 1000)
    told = f"{statistics.median(wall[1:]):6.2f}, of a processor {statistics.median(busy[1:]):.2f}"
    return f"2 MB of result {name}, ms", told


def in_turn(sides: dict[str, Callable[[], None]], requests: int) -> list[tuple[str, object]]:
    """Milliseconds of a request on each side, in turn, after one that does not count: medians, and over the first.

    The last figure is the time of this process's processor, which of a worker's request is what the driver does.
    """
    taken: dict[str, list[float]] = {name: [] for name in sides}
    busy: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(requests + 1):
        for name, act in sides.items():
            start = time.perf_counter(), time.process_time()
            act()
            if number:
                taken[name].append((time.perf_counter() - start[0]) * 1000)
                busy[name].append((time.process_time() - start[1]) * 1000)
    medians = {name: statistics.median(times) for name, times in taken.items()}
    first = next(iter(medians.values()))
    return [
        (
            f"{name}, ms a request",
            f"{median:6.2f} ({min(taken[name]):.2f} at least), {median - first:.2f} over the first, of this processor "
            f"{statistics.median(busy[name]):.2f}",
        )
        for name, median in medians.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--seconds", type=float, default=0.1, help="sleep of a request in the scaling rows")
    parser.add_argument("--ray", action="store_true", help="also over Ray, on this machine")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pack = Path(folder) / "sleep.py"
        pack.write_text(NODES, "utf-8")
        settings = WorkerSettings(nodes=(pack,), preload=False)
        sides: dict[str, Callable[[], None]] = {"in process": InProcess(settings, Path(folder))}
        pools, rows = started(settings, options.ray)
        sides |= {name: Alone(pool) for name, pool in pools.items()}
        rows = in_turn(sides, options.requests) + rows
        moved = bytes_moved(InProcess(settings, Path(folder)))
        rows.append(("bytes of a request that does nothing", f"{moved:6.1f}"))
        sides = {"2 MB of result, in process": InProcess(settings, Path(folder), RESULT)}
        sides |= {f"2 MB of result, {name}": Alone(pool, RESULT) for name, pool in pools.items()}
        rows += in_turn(sides, max(options.requests // 5, 1))
        for pool in pools.values():
            pool.close()
        rows += driver(Path(folder) / "batch", max(options.requests // 5, 1))
        for count in options.workers:
            pool: Pool = LocalPool(["cpu"] * count, settings)
            rate = all_at_once(pool, 10 * count, options.seconds)
            pool.close()
            rows.append((f"{count} workers, part of the ideal rate", f"{rate * options.seconds / count:6.3f}"))
    print(machine())
    print(table(rows))


def started(settings: WorkerSettings, over_ray: bool) -> tuple[dict[str, Pool], list[tuple[str, object]]]:
    """Start a pool of each kind with one worker; return them, and the seconds until each had run a request."""
    makers: dict[str, Callable[[], Pool]] = {"worker process": lambda: LocalPool(["cpu"], settings)}
    if over_ray:
        from fooocus_stages.serving.pool.ray_pool import RayPool

        os.environ.setdefault("RAY_DEDUP_LOGS", "0")
        makers["Ray on this machine"] = lambda: RayPool("local", settings, workers=1)
    pools: dict[str, Pool] = {}
    rows: list[tuple[str, object]] = []
    for name, make in makers.items():
        start = time.perf_counter()
        try:
            pools[name] = make()
        except UserError as error:
            rows.append((name, error))
            continue
        pools[name].submit(job(-1, 0.0))
        for event in pools[name].events():
            if isinstance(event, Ending):
                break
        rows.append((f"{name}, s to start", f"{time.perf_counter() - start:6.2f}"))
    return pools, rows


if __name__ == "__main__":
    main()
