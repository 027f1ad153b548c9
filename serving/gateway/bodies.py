"""Bodies of calls: within a size, and no slower than a pace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web

from .outcomes import Problem
from .settings import Settings

CHUNK = 1 << 18


async def chunks(request: web.Request, settings: Settings, most: int, too_large: Problem) -> AsyncIterator[bytes]:
    """Yield the body of a call as it arrives.

    Raises `too_large` beyond `most` bytes, and Problem 408 once the server has waited longer for the body than
    `settings.body_seconds` and a second for each `settings.body_pace` bytes that have come.
    """
    if (request.content_length or 0) > most:
        raise too_large
    loop = asyncio.get_running_loop()
    size, waited = 0, 0.0
    while True:
        left = settings.body_seconds + size / settings.body_pace - waited
        start = loop.time()
        try:
            chunk = await asyncio.wait_for(request.content.read(CHUNK), left)
        except asyncio.TimeoutError as error:
            raise _too_slow(size, settings) from error
        waited += loop.time() - start
        if not chunk:
            return
        size += len(chunk)
        if size > most:
            raise too_large
        yield chunk


def _too_slow(size: int, settings: Settings) -> Problem:
    sentence = (
        f"only {size} bytes of the body came within {settings.body_seconds + size / settings.body_pace:.0f} s; send it "
        f"faster than {settings.body_pace} bytes a second"
    )
    return Problem(408, sentence, "body_too_slow", {"Connection": "close"})
