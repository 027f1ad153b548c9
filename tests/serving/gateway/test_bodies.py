"""Callers that send slowly, or nothing: they hold a connection for so long and no longer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from .fakes import APP, Served, serving

SHORT = {"body_seconds": 0.1, "body_pace": 1000}


async def dripping(served: Served, head: str, drops: int, pause: float) -> str:
    """Send a head and so many bytes of its body, one at a time, and return the reply."""
    reader, writer = await asyncio.open_connection(urlsplit(served.url).hostname, urlsplit(served.url).port)
    writer.write(f"{head} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n".encode())
    for _ in range(drops):
        writer.write(b" ")
        await asyncio.sleep(pause)
    reply = (await asyncio.wait_for(reader.readuntil(b"}"), 10)).decode()
    writer.close()
    return reply


@pytest.mark.parametrize("drops", [0, 8])
@pytest.mark.parametrize("call", ["submit", "run", "upload", "part"])
def test_a_body_that_drips_or_never_comes_is_a_408(tmp_path: Path, call: str, drops: int) -> None:
    async def scenario() -> None:
        async with serving(tmp_path, **SHORT) as served:
            _, urls, _ = await served.call("POST", "/fal/rest/storage/upload/initiate", json={"file_name": "a.png"})
            file = urlsplit(urls["file_url"]).path
            heads = {
                "submit": f"POST /fal/queue{APP}",
                "run": f"POST /fal/run{APP}",
                "upload": f"PUT {file}",
                "part": f"PUT {file}/1",
            }
            reply = await dripping(served, heads[call], drops, 0.03)
            assert reply.startswith("HTTP/1.1 408 ")
            assert "Connection: close" in reply
            assert "send it faster than 1000 bytes a second" in reply
            assert served.gateway.dispatcher.live == {}
            assert not list((tmp_path / "uploads").rglob("*.tmp"))

    asyncio.run(scenario())


def test_a_slow_body_that_keeps_the_pace_is_taken(tmp_path: Path) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(8):
            await asyncio.sleep(0.05)
            yield b" " * 100
        yield b"{}"

    async def scenario() -> None:
        async with serving(tmp_path, **SHORT) as served:
            code, _, _ = await served.call("POST", f"/fal/queue{APP}", data=body())
            assert code == 200

    asyncio.run(scenario())
