"""What a pool costs: a request that does nothing in process, in a worker process and over Ray; start-up; scaling.

python benchmarks/pool.py [--requests N] [--workers 1 2 4] [--seconds S] [--ray]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from fooocus_stages.pipelines.errors import UserError
from fooocus_stages.serving.pool.job_runner import JobRunner, Stop
from fooocus_stages.serving.pool.local import LocalPool
from fooocus_stages.serving.pool.protocol import Pool
from fooocus_stages.serving.pool.settings import WorkerSettings
from fooocus_stages.serving.pool.types import Done, Ending, Job
from timing import machine, table

NODES = """
import time

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

NODE_CLASS_MAPPINGS = {"Sleep": Sleep}
"""


def job(number: int, seconds: float) -> Job:
    return Job(f"{number}", {"1": {"class_type": "Sleep", "inputs": {"seconds": seconds}}})


def each_alone(pool: Pool, requests: int) -> float:
    """Milliseconds for a request that does nothing, one after another, after one that does not count."""
    events = pool.events()
    start = 0.0
    for number in range(requests + 1):
        if number == 1:
            start = time.perf_counter()
        pool.submit(job(number, 0.0))
        while not isinstance(event := next(events), Ending):
            pass
        assert isinstance(event, Done), event
    return (time.perf_counter() - start) / requests * 1000


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


def in_process(settings: WorkerSettings, requests: int) -> float:
    """Milliseconds for the same request without a pool."""
    with tempfile.TemporaryDirectory() as folder:
        runner = JobRunner(settings, "cpu", Path(folder))
        runner.run(job(0, 0.0), lambda event: None, Stop())
        start = time.perf_counter()
        for number in range(requests):
            runner.run(job(number, 0.0), lambda event: None, Stop())
        return (time.perf_counter() - start) / requests * 1000


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
        rows: list[tuple[str, object]] = [
            ("in process, ms a request", f"{in_process(settings, options.requests):6.2f}")
        ]
        start = time.perf_counter()
        pool: Pool = LocalPool(["cpu"], settings)
        alone = each_alone(pool, options.requests)
        up = time.perf_counter() - start - alone * options.requests / 1000
        pool.close()
        rows += [("worker process, ms a request", f"{alone:6.2f}"), ("worker process, s to start", f"{up:6.2f}")]
        for count in options.workers:
            pool = LocalPool(["cpu"] * count, settings)
            rate = all_at_once(pool, 10 * count, options.seconds)
            pool.close()
            rows.append((f"{count} workers, part of the ideal rate", f"{rate * options.seconds / count:6.3f}"))
        if options.ray:
            rows += over_ray(settings, options.requests)
    print(machine())
    print(table(rows))


def over_ray(settings: WorkerSettings, requests: int) -> list[tuple[str, object]]:
    """The rows of a pool over Ray on this machine."""
    from fooocus_stages.serving.pool.ray_pool import RayPool

    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    start = time.perf_counter()
    try:
        pool = RayPool("local", settings, workers=1)
    except UserError as error:
        return [("Ray", error)]
    alone = each_alone(pool, requests)
    up = time.perf_counter() - start - alone * requests / 1000
    pool.close()
    return [("Ray, ms a request", f"{alone:6.2f}"), ("Ray, s to start with a cluster", f"{up:6.2f}")]


if __name__ == "__main__":
    main()
