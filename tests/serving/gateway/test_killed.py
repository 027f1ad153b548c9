"""A server that is killed again and again while requests come in: each accepted one has one result in the end."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp

from .fakes import APP

PROGRAM = Path(__file__).with_name("killed.py")
REQUESTS, KILLS = 60, 2  # a request that three servers ended with is given up
PATIENCE = 120


@contextlib.contextmanager
def server(state: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    with subprocess.Popen([sys.executable, str(PROGRAM), str(state)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.kill()


def test_a_kill_at_any_moment_loses_no_accepted_request_and_repeats_no_result(tmp_path: Path) -> None:
    accepted: list[str] = []

    async def submit(url: str, count: int) -> None:
        async with aiohttp.ClientSession() as session:
            for number in range(count):
                body = {"prompt": f"steps {number % 3}"}
                async with session.post(f"{url}/fal/queue{APP}", json=body) as reply:
                    accepted.append((await reply.json())["request_id"])

    for _ in range(KILLS):
        with server(tmp_path) as (url, process), contextlib.suppress(aiohttp.ClientError):

            async def act(url: str = url, process: subprocess.Popen[str] = process) -> None:
                submitting = asyncio.ensure_future(submit(url, REQUESTS))
                wanted = len(accepted) + REQUESTS // 2
                while len(accepted) < wanted and not submitting.done():
                    await asyncio.sleep(0.001)
                process.kill()
                await submitting

            asyncio.run(act())

    async def results(url: str) -> list[int]:
        async with aiohttp.ClientSession() as session:

            async def result(id: str) -> int:
                while True:
                    async with session.get(f"{url}/fal/queue{APP}/requests/{id}") as reply:
                        if reply.status != 400:  # still in progress
                            return reply.status
                    await asyncio.sleep(0.05)

            return await asyncio.gather(*map(result, accepted))

    with server(tmp_path) as (url, _):
        assert set(asyncio.run(asyncio.wait_for(results(url), PATIENCE))) == {200}
    assert len(set(accepted)) == len(accepted) >= KILLS * REQUESTS // 2
    with contextlib.closing(sqlite3.connect(tmp_path / "gateway.sqlite")) as database:
        one_each = "SELECT COUNT(*), COUNT(DISTINCT request) FROM files WHERE kind = 'result'"
        files, requests = database.execute(one_each).fetchone()
        (finished,) = database.execute("SELECT COUNT(*) FROM requests WHERE finished IS NOT NULL").fetchone()
        stored = {row[0] for row in database.execute("SELECT token FROM files WHERE kind = 'result'")}
    assert files == requests == finished >= len(accepted)
    assert {path.name for path in (tmp_path / "results").iterdir()} == stored
