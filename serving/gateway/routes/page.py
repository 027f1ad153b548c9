"""The page for a person, and what its script asks for."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

from aiohttp import web

from .. import records
from ..addresses import Call, own_address
from ..dispatcher import overview
from ..gateway import GATEWAY, Gateway, json_reply
from ..live import Live
from ..outcomes import Problem
from ..results import presented
from .queue import cancel, find, state_of

FOLDER = Path(__file__).resolve().parent.parent / "page"
FILES = {"page.js": "text/javascript", "page.css": "text/css"}
POLICY = "default-src 'self'; img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
RECENT = 20
LONGEST_ECHO = 2000


def add_routes(router: web.UrlDispatcher) -> None:
    """Add the page, its files and its data."""
    router.add_get("/", page)
    router.add_get("/page/{name:page\\.(?:js|css)}", page_file)
    router.add_get("/openapi.json", document)
    router.add_get("/page/state", state)
    router.add_get("/page/requests/{id}", one)
    router.add_put("/page/requests/{id}/cancel", stop)
    router.add_get("/page/requests/{id}/workflow", workflow)


async def page(request: web.Request) -> web.Response:
    """Return the page."""
    return _file(FOLDER / "index.html", "text/html")


async def page_file(request: web.Request) -> web.Response:
    """Return the page's script or style."""
    name = request.match_info["name"]
    return _file(FOLDER / name, FILES[name])


def _file(path: Path, media_type: str) -> web.Response:
    headers = {
        "Content-Security-Policy": POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
    return web.Response(body=path.read_bytes(), content_type=media_type, charset="utf-8", headers=headers)


async def document(request: web.Request) -> web.Response:
    """Return the OpenAPI document of the endpoints."""
    return json_reply(request.app[GATEWAY].endpoints.openapi())


async def state(request: web.Request) -> web.Response:
    """Return the queue and the workers, and the caller's latest requests."""
    gateway, call = _called(request)
    owner = call.owner if gateway.keys is not None else None
    unfinished = [
        {"id": id, "endpoint": live.accepted.endpoint}
        for id, live in list(gateway.dispatcher.live.items())
        if live.accepted.owner == call.owner
    ]
    recent = await gateway.store.read(records.recent(owner, RECENT))
    return json_reply({**overview(gateway.dispatcher), "unfinished": unfinished[-RECENT:], "recent": recent})


async def one(request: web.Request) -> web.Response:
    """Return the state of a request: its progress and preview, or its output and the request behind it."""
    gateway, call = _called(request)
    id = request.match_info["id"]
    found = await find(gateway, call, id)
    shown = state_of(gateway, "", found, [])
    if isinstance(found, Live):
        value, total = found.progress
        shown |= {"value": value, "total": total, "log": found.logs[-1]["message"] if found.logs else ""}
        if found.preview is not None:
            kind, image = found.preview
            shown["preview"] = f"data:{kind};base64,{base64.b64encode(image).decode()}"
        return json_reply(shown)
    shown["request"] = _shortened(json.loads(await gateway.store.read(records.body_of(id)) or b"{}"))
    if found.outcome.ok:
        base = own_address(request, gateway.settings.public_url)
        shown["output"] = await presented(found.outcome.body, base, gateway.settings.results)
    else:
        shown["error"] = found.outcome.body
    return json_reply(shown)


async def stop(request: web.Request) -> web.Response:
    """Cancel a request."""
    gateway, call = _called(request)
    return await cancel(gateway, call, request.match_info["id"])


async def workflow(request: web.Request) -> web.Response:
    """Return the workflow of a request, to open on ComfyUI's canvas."""
    gateway, call = _called(request)
    id = request.match_info["id"]
    found = await find(gateway, call, id)
    body = json.loads(await gateway.store.read(records.body_of(id)) or b"null")
    if body is None:
        raise Problem(404, "the body of this request was too large to keep", "not_found")
    accepted = found.accepted if isinstance(found, Live) else found.request
    made = await asyncio.to_thread(gateway.endpoints.workflow, accepted.endpoint, body, accepted.id)
    return json_reply(made)


def _called(request: web.Request) -> tuple[Gateway, Call]:
    gateway = request.app[GATEWAY]
    return gateway, Call(request, "queue", request.path, request.query, gateway.owner(request))


def _shortened(value: Any) -> Any:
    """The request with long values, such as data URIs, cut short."""
    if isinstance(value, dict):
        return {key: _shortened(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_shortened(part) for part in value]
    return f"{value[:80]}…" if isinstance(value, str) and len(value) > LONGEST_ECHO else value
