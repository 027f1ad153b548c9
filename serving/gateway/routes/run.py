"""The run service: a request whose reply is its output, or a stream that ends with it."""

from __future__ import annotations

import asyncio
import hashlib

from aiohttp import web

from ..addresses import Call
from ..gateway import Gateway, read_json
from ..outcomes import REQUEST_ID, Problem
from ..results import presented
from ..stream import Stream
from .queue import accept, endpoint_of, finished_reply

PROBE = 0.5
HEARTBEAT = 15.0


async def handle(gateway: Gateway, call: Call) -> web.StreamResponse:
    """Answer a call to the run service. Raises Problem."""
    if call.path.rstrip("/").endswith("/realtime"):
        raise Problem(404, "the endpoints here have no realtime connection; use subscribe", "not_found")
    if call.http.method != "POST":
        raise Problem(405, "run a request with POST", headers={"Allow": "POST"})
    path = call.path.rstrip("/")
    if path.endswith("/stream"):
        return await stream(gateway, call, endpoint_of(gateway, path.removesuffix("/stream")))
    return await run(gateway, call, endpoint_of(gateway, path))


async def run(gateway: Gateway, call: Call, endpoint: str) -> web.StreamResponse:
    """Run a request and return its output. Node repeats a call after 300 s: that one joins the running request."""
    value, body = await read_json(call.http, gateway.settings)
    same = fingerprint(call, endpoint, body)
    live = gateway.dispatcher.adopt(same) or await accept(gateway, call, endpoint, value, body, same)
    while not live.result.done():
        await asyncio.wait((live.result,), timeout=PROBE)
        if gone(call) and not live.result.done():
            gateway.dispatcher.orphan(live)
            raise ConnectionResetError
    return await finished_reply(gateway, call, live.result.result())


async def stream(gateway: Gateway, call: Call, endpoint: str) -> web.StreamResponse:
    """Run a request and send its output as the one event of a stream, or an error as the reply or as an event."""
    value, body = await read_json(call.http, gateway.settings)
    live = await accept(gateway, call, endpoint, value, body)
    if live.result.done() and not live.result.result().outcome.ok:
        return await finished_reply(gateway, call, live.result.result())
    async with Stream(call.http, {REQUEST_ID: live.accepted.id}) as events:
        try:
            while not live.result.done():
                await live.changed.wait(HEARTBEAT)
                await events.beat(HEARTBEAT)
                if gone(call):
                    raise ConnectionResetError
        except ConnectionResetError:
            await gateway.dispatcher.cancel(live)
            raise
        finished = live.result.result()
        outcome = finished.outcome
        base = live.accepted.options.base
        results = gateway.settings.results
        await events.send(await presented(outcome.body, base, results) if outcome.ok else outcome.body)
    return events.response


def gone(call: Call) -> bool:
    """Return whether the caller has closed the connection."""
    return call.http.transport is None or call.http.transport.is_closing()


def fingerprint(call: Call, endpoint: str, body: bytes) -> str:
    """Return a hash of a call: two that are equal were made by the same key for the same output."""
    agent = call.http.headers.get("User-Agent", "")
    return hashlib.sha256("\0".join((call.owner, endpoint, agent, "")).encode() + body).hexdigest()
