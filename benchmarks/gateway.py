"""The server under load, on this machine: requests per second, times of calls, memory, and what a kill loses.

Starts `fooocus-stages serve` with the pocket model and enlarges a small picture by Fast 2x in each request. Halfway, a
worker and the server itself are killed and the server is started again; every accepted request has to have one result.
After `--limit` seconds nothing more is submitted, and what was accepted is brought to its end.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import io
import os
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
from PIL import Image
from timing import machine, table

ENDPOINT = "/fal-ai/fooocus/upscale-or-vary"
APP = "/fal-ai/fooocus"
POLL = 0.5
PATIENCE = 600.0


class Server:
    """A server process that can be killed and started again at the same port."""

    def __init__(self, state: Path) -> None:
        self._state = state
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        options = ["--models", "pocket", "--device", "cpu", "--safety-checker", "off", "--max-queue", "1000000"]
        command = [sys.executable, "-m", "fooocus_stages.serving.cli", "serve", *options, "--port", str(self.port)]
        with (self._state / "log").open("a") as log:
            self.process = subprocess.Popen(
                [*command, "--state", str(self._state)], stdout=subprocess.DEVNULL, stderr=log
            )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(60)

    def workers(self) -> list[int]:
        found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True)
        return [int(pid) for pid in found.stdout.split()]

    def mebibytes(self) -> float:
        pages = Path(f"/proc/{self.process.pid}/statm")
        return int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20 if pages.exists() else 0.0


class Load:
    """Calls to a server, with the times of those that succeeded."""

    def __init__(self, server: Server, session: aiohttp.ClientSession) -> None:
        self._server, self._session = server, session
        self.times: dict[str, list[float]] = {"submit": [], "status": []}
        self.body = {"uov_image_url": picture(), "uov_method": "Upscale (Fast 2x)", "enable_safety_checker": False}

    async def call(self, method: str, path: str, kind: str = "", **options: Any) -> tuple[int, Any]:
        """Call until the server answers, after longer and longer pauses, as the published clients do."""
        end, pause = time.monotonic() + PATIENCE, 0.25
        while True:
            start = time.perf_counter()
            try:
                async with self._session.request(method, self._server.url + path, **options) as reply:
                    value = await reply.json()
                    if kind:
                        self.times[kind].append(time.perf_counter() - start)
                    return reply.status, value
            except (aiohttp.ClientError, OSError):
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(pause)
                pause = min(2 * pause, 4.0)

    async def submit(self) -> str:
        status, reply = await self.call("POST", f"/fal/queue{ENDPOINT}", "submit", json=self.body)
        assert status == 200, reply
        return str(reply["request_id"])

    async def follow(self, id: str) -> tuple[int, Any]:
        path = f"/fal/queue{APP}/requests/{id}"
        while (await self.call("GET", f"{path}/status?logs=0", "status"))[1]["status"] != "COMPLETED":
            await asyncio.sleep(POLL)
        return await self.call("GET", path)


def picture() -> str:
    """A picture of 16×16 pixels as a data URI."""
    file = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


async def ready(load: Load) -> None:
    while (await load.call("GET", "/ready"))[0] != 200:
        await asyncio.sleep(0.2)


async def price(load: Load, count: int) -> tuple[float, float]:
    """Milliseconds that a request takes beyond the time in which its graph runs in the worker: median and least."""
    beyond = []
    for number in range(count + 2):
        start = time.perf_counter()
        status, reply = await load.call("POST", f"/fal/run{ENDPOINT}", json=load.body)
        assert status == 200, reply
        if number >= 2:
            beyond.append(time.perf_counter() - start - reply["timings"]["inference"])
    return statistics.median(beyond) * 1000, min(beyond) * 1000


def confirmed_write(folder: Path, count: int) -> float:
    """Milliseconds until this disk confirms a small file; a request waits for some of these."""
    taken = []
    for _ in range(count):
        start = time.perf_counter()
        with (folder / "written").open("wb") as file:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
        taken.append(time.perf_counter() - start)
    return statistics.median(taken) * 1000


async def growth(load: Load, server: Server, counts: list[int]) -> list[tuple[str, object]]:
    """Times of submit and status, and memory, while so many requests wait."""
    rows: list[tuple[str, object]] = []
    ids: list[str] = []
    for count in counts:
        while len(ids) < count:
            ids += await asyncio.gather(*(load.submit() for _ in range(min(50, count - len(ids)))))
        load.times = {"submit": [], "status": []}
        for number in range(50):
            ids.append(await load.submit())
            await load.call("GET", f"/fal/queue{APP}/requests/{ids[-1 - number // 2]}/status?logs=1", "status")
        rows.append((f"{count} waiting", f"{times(load)}; {server.mebibytes():.0f} MiB"))
    await asyncio.gather(*(load.call("PUT", f"/fal/queue{APP}/requests/{id}/cancel") for id in ids))
    return rows


async def crowd(load: Load, server: Server, clients: int, requests: int, limit: float) -> list[tuple[str, object]]:
    """Up to so many requests by so many clients at once, with two kills in the middle."""
    load.times = {"submit": [], "status": []}
    accepted: list[str] = []
    results: list[int] = []
    drawn: list[float] = []
    start = time.perf_counter()

    def numbers() -> Iterator[int]:
        for number in range(requests):
            if time.perf_counter() - start > limit:
                return
            yield number

    left = numbers()

    async def client() -> None:
        for _ in left:
            id = await load.submit()
            accepted.append(id)
            status, output = await load.follow(id)
            results.append(status)
            if status == 200:
                drawn.append(output["timings"]["inference"])

    def part(share: int) -> Callable[[], bool]:
        return lambda: len(results) >= requests // share or time.perf_counter() - start > limit / share

    working = [asyncio.ensure_future(client()) for _ in range(clients)]
    await when(part(3))
    for pid in server.workers():
        os.kill(pid, signal.SIGKILL)
    await when(part(2))
    server.kill()
    server.start()
    await asyncio.gather(*working)
    seconds = time.perf_counter() - start
    failed = sum(status != 200 for status in results)
    assert len(accepted) == len(set(accepted)) == len(results)
    assert failed <= 1, f"{failed} requests failed, but one worker was killed"
    return [
        ("requests a second", f"{len(results) / seconds:6.1f} ({len(results)} of {clients} clients, with two kills)"),
        (
            "of that time, the worker drew",
            f"{sum(drawn) / seconds:6.0%}, {statistics.median(drawn) * 1000:.0f} ms each",
        ),
        ("while they run", f"{times(load)}; {server.mebibytes():.0f} MiB"),
        ("results for each accepted request", f"{len(results) / len(accepted):6.1f}, {failed} of them lost its worker"),
    ]


async def when(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.05)


def times(load: Load) -> str:
    """The median and the 99th percentile of both kinds of calls, in milliseconds."""
    shown = []
    for kind, values in load.times.items():
        ordered = sorted(values) or [0.0]
        last = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
        shown.append(f"{kind} {statistics.median(ordered) * 1000:.1f} ms, 99 % within {last * 1000:.1f} ms")
    return "; ".join(shown)


def once_each(state: Path) -> None:
    """Check in the database that nothing is unfinished and that no request has two results."""
    with contextlib.closing(sqlite3.connect(state / "gateway.sqlite")) as database:
        (unfinished,) = database.execute("SELECT COUNT(*) FROM requests WHERE finished IS NULL").fetchone()
        (twice,) = database.execute(
            "SELECT COUNT(*) FROM (SELECT 1 FROM files WHERE kind = 'result' GROUP BY request HAVING COUNT(*) > 1)"
        ).fetchone()
    assert (unfinished, twice) == (0, 0), f"{unfinished} requests are unfinished, {twice} have two results"


async def measured(options: argparse.Namespace, state: Path) -> list[tuple[str, object]]:
    server = Server(state)
    server.start()
    connector = aiohttp.TCPConnector(limit=options.clients)
    try:
        async with aiohttp.ClientSession(connector=connector) as session:
            load = Load(server, session)
            await ready(load)
            write, (beyond, least) = confirmed_write(state, options.rounds), await price(load, options.rounds)
            shown = (
                f"{beyond:6.1f} ({least:.1f} at least), {beyond / write:.1f} times a confirmed write of {write:.1f} ms"
            )
            rows: list[tuple[str, object]] = [("a request over its graph, ms", shown)]
            rows += await growth(load, server, options.waiting)
            if options.requests:
                rows += await crowd(load, server, options.clients, options.requests, options.limit)
    finally:
        server.stop()
    once_each(state)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--requests", type=int, default=2000, help="0: no clients at once, and no kills")
    parser.add_argument("--waiting", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--limit", type=float, default=300.0, help="seconds in which requests are submitted at most")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measured(given, Path(folder)))
    print(machine())
    print(table(found))
