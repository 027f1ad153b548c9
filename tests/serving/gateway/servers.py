"""Real servers on loopback for the tests of fetching: what they are sent, and answers byte for byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Reply = Callable[[str, asyncio.StreamWriter], Awaitable[None]]
"""Answers a request, given its path."""


@dataclass
class Server:
    """A server and the heads of the requests that it got."""

    host: str
    port: int
    heads: list[str] = field(default_factory=list)

    def url(self, path: str = "/") -> str:
        return f"http://{self.host}:{self.port}{path}"


@asynccontextmanager
async def serving(reply: Reply, host: str = "127.0.0.1") -> AsyncIterator[Server]:
    """A server that answers each connection once and closes it."""

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            server.heads.append(head)
            await reply(head.split(" ")[1], writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(on_connection, host, 0)
    server = Server(host, listener.sockets[0].getsockname()[1])
    try:
        yield server
    finally:
        listener.close()


def answer(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> Reply:
    """Return a reply with a body; `length` is what its Content-Length says."""
    size = len(body) if length is None else length
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {size}", "Connection: close", *headers]

    async def reply(path: str, writer: asyncio.StreamWriter) -> None:
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        await writer.drain()

    return reply


def redirect(location: str, status: str = "302 Found") -> Reply:
    """Return a reply that redirects."""
    return answer(b"", f"Location: {location}", status=status)
