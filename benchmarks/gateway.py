"""The server under load, on this machine: requests per second, times of calls, memory, and what a kill loses.

Starts `fooocus-stages serve` with the pocket model and enlarges a small picture by Fast 2x in each request. Halfway, a
worker and the server itself are killed and the server is started again; every accepted request has to have one result.
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
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
from PIL import Image

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
        options = [
            "serve",
            "--models",
            "pocket",
            "--device",
            "cpu",
            "--safety-checker",
            "off",
            "--max-queue",
            "1000000",
        ]
        command = [sys.executable, "-m", "fooocus_stages.serving.cli", *options, "--port", str(self.port)]
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
        """Call until the server answers."""
        end = time.monotonic() + PATIENCE
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
                await asyncio.sleep(0.2)

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


async def price(load: Load, count: int) -> float:
    """Milliseconds that a request takes beyond the time in which its graph runs in the worker."""
    beyond = []
    for _ in range(count):
        start = time.perf_counter()
        status, reply = await load.call("POST", f"/fal/run{ENDPOINT}", json=load.body)
        assert status == 200, reply
        beyond.append(time.perf_counter() - start - reply["timings"]["inference"])
    return statistics.median(beyond) * 1000


async def growth(load: Load, server: Server, counts: tuple[int, ...]) -> None:
    """Times of submit and status, and memory, while so many requests wait."""
    ids: list[str] = []
    for count in counts:
        while len(ids) < count:
            ids += await asyncio.gather(*(load.submit() for _ in range(min(50, count - len(ids)))))
        load.times = {"submit": [], "status": []}
        for number in range(50):
            ids.append(await load.submit())
            await load.call("GET", f"/fal/queue{APP}/requests/{ids[-1 - number // 2]}/status?logs=1", "status")
        print(f"{count:6} waiting: {times(load)}, {server.mebibytes():6.0f} MiB")
    cancel = [load.call("PUT", f"/fal/queue{APP}/requests/{id}/cancel") for id in ids]
    await asyncio.gather(*cancel)


async def crowd(load: Load, server: Server, clients: int, requests: int) -> None:
    """So many requests by so many clients at once, with two kills in the middle."""
    load.times = {"submit": [], "status": []}
    accepted: list[str] = []
    results: list[int] = []
    left = iter(range(requests))

    async def client() -> None:
        for _ in left:
            id = await load.submit()
            accepted.append(id)
            results.append((await load.follow(id))[0])

    start = time.perf_counter()
    working = [asyncio.ensure_future(client()) for _ in range(clients)]
    await when(lambda: len(results) >= requests // 3)
    for pid in server.workers():
        os.kill(pid, signal.SIGKILL)
    await when(lambda: len(results) >= requests // 2)
    server.kill()
    server.start()
    await asyncio.gather(*working)
    seconds = time.perf_counter() - start
    failed = sum(status != 200 for status in results)
    print(
        f"{requests} requests, {clients} clients, one worker and the server killed: {requests / seconds:.1f} a second"
    )
    print(f"  {times(load)}, {server.mebibytes():.0f} MiB")
    print(f"  accepted {len(set(accepted))}, results {len(results)}, of them errors of the killed worker {failed}")
    assert len(accepted) == len(set(accepted)) == len(results) == requests
    assert failed <= 1


async def when(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.05)


def times(load: Load) -> str:
    """The median and the 99th percentile of both kinds of calls, in milliseconds."""
    shown = []
    for kind, values in load.times.items():
        ordered = sorted(values) or [0.0]
        last = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
        shown.append(f"{kind} {statistics.median(ordered) * 1000:.1f} ms, 99 % below {last * 1000:.1f} ms")
    return "; ".join(shown)


def once_each(state: Path) -> None:
    """Check in the database that nothing is unfinished and no file is without a request."""
    with contextlib.closing(sqlite3.connect(state / "gateway.sqlite")) as database:
        (open_,) = database.execute("SELECT COUNT(*) FROM requests WHERE finished IS NULL").fetchone()
        (twice,) = database.execute(
            "SELECT COUNT(*) FROM (SELECT 1 FROM files WHERE kind = 'result' GROUP BY request HAVING COUNT(*) > 1)"
        ).fetchone()
    print(f"  unfinished {open_}, with two results {twice}")
    assert (open_, twice) == (0, 0)


async def main(options: argparse.Namespace, state: Path) -> None:
    server = Server(state)
    server.start()
    connector = aiohttp.TCPConnector(limit=options.clients)
    try:
        async with aiohttp.ClientSession(connector=connector) as session:
            load = Load(server, session)
            await ready(load)
            await price(load, 2)
            print(f"beyond the graph's own time: {await price(load, options.rounds):.1f} ms a request")
            await growth(load, server, tuple(options.waiting))
            await crowd(load, server, options.clients, options.requests)
    finally:
        server.stop()
    once_each(state)


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(work())  # type: ignore[arg-type]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--waiting", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--rounds", type=int, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(lambda: main(given, Path(folder)))
