"""Server-sent events."""

from __future__ import annotations

import contextlib
import json
import time
from types import TracebackType
from typing import Any

from aiohttp import web


class Stream:
    """A reply of server-sent events, each one JSON value. A caller that has gone ends it with ConnectionResetError."""

    def __init__(self, request: web.Request, headers: dict[str, str] | None = None) -> None:
        self._request = request
        kept = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        self.response = web.StreamResponse(headers={**kept, "Vary": "x-fal-target-url", **(headers or {})})
        self._latest = time.monotonic()

    async def __aenter__(self) -> Stream:
        await self.response.prepare(self._request)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        with contextlib.suppress(ConnectionResetError):
            await self.response.write_eof()
        return isinstance(error, ConnectionResetError)

    async def send(self, value: Any) -> None:
        """Send one event."""
        await self._write(f"data: {json.dumps(value, separators=(',', ':'))}\n\n")

    async def beat(self, seconds: float) -> None:
        """Send a comment if nothing was sent for that long; it keeps connections open and notices closed ones."""
        if time.monotonic() - self._latest >= seconds:
            await self._write(": ping\n\n")

    async def _write(self, text: str) -> None:
        await self.response.write(text.encode())
        self._latest = time.monotonic()
