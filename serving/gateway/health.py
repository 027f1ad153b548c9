"""Health, readiness and metrics."""

from __future__ import annotations

from aiohttp import web

from .dispatcher import overview
from .gateway import GATEWAY, json_reply
from .store import StoreError


async def health(request: web.Request) -> web.Response:
    """Answer 200 while the process answers at all."""
    return json_reply({"status": "ok"})


async def ready(request: web.Request) -> web.Response:
    """Answer 200 if the database takes writes and a worker can take requests, else 503 with the reason."""
    gateway = request.app[GATEWAY]
    try:
        await gateway.store.write(lambda connection: None)
    except StoreError as error:
        return json_reply({"status": "not ready", "reason": str(error)}, 503)
    state = overview(gateway.dispatcher)
    if not any(worker["state"] in ("idle", "busy") for worker in state["workers"]):
        return json_reply({"status": "not ready", "reason": "no worker has started", **state}, 503)
    return json_reply({"status": "ready", **state})


async def metrics(request: web.Request) -> web.Response:
    """Return the metrics in the text format of Prometheus."""
    gateway = request.app[GATEWAY]
    states = [worker.state for worker in gateway.dispatcher.pool.workers()]
    headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
    return web.Response(body=gateway.metrics.text([str(state) for state in states]), headers=headers)
