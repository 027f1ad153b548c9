"""The parts of a running gateway."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from .clock import SteadyClock
from .dispatcher import Dispatcher
from .guard.tokens import Tokens
from .metrics import Metrics
from .outcomes import REQUEST_ID, Problem
from .ports import Endpoints, Keys, TooManyRequests
from .records import Outcome
from .settings import Settings
from .storage import Uploads
from .store import Store
from .webhooks import Webhooks

BODY_CHUNK = 1 << 16


@dataclass(frozen=True)
class Gateway:
    """The parts of a running gateway; `keys` None lets everybody in."""

    settings: Settings
    clock: SteadyClock
    store: Store
    dispatcher: Dispatcher
    endpoints: Endpoints
    uploads: Uploads
    webhooks: Webhooks
    metrics: Metrics
    tokens: Tokens
    keys: Keys | None

    def owner(self, request: web.Request) -> str:
        """Return the name of the caller's key; "" where none is needed. Raises Problem 401 or 429."""
        if self.keys is None:
            return ""
        scheme, _, credential = request.headers.get("Authorization", "").partition(" ")
        credential = credential.strip() or request.query.get("fal_jwt_token", "")
        if not credential or (scheme.lower() not in ("key", "bearer", "")):
            raise Problem(401, "no API key; send it as 'Authorization: Key …'", "unauthorized")
        owner = self.tokens.owner(credential, self.clock.now())
        try:
            owner = owner if owner is not None else self.keys.owner(credential)
        except TooManyRequests as error:
            raise Problem(429, str(error), "rate_limited", {"Retry-After": f"{error.seconds:.0f}"}) from error
        if owner is None:
            raise Problem(401, "the API key is wrong or revoked", "unauthorized")
        return owner


GATEWAY = web.AppKey("gateway", Gateway)


def json_reply(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Return a JSON reply that no cache keeps."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    kept = {"Cache-Control": "no-store", "Vary": "x-fal-target-url", **(headers or {})}
    return web.Response(text=text, status=status, content_type="application/json", headers=kept)


def outcome_reply(outcome: Outcome, id: str = "") -> web.Response:
    """Return the reply that an outcome stands for."""
    named = {REQUEST_ID: id} if id else {}
    return json_reply(outcome.body, outcome.status, {**named, **outcome.headers})


async def read_body(request: web.Request, most: int) -> bytes:
    """Return the body of a request. Raises Problem 413 for a longer one."""
    if (request.content_length or 0) > most:
        raise too_large(most)
    chunks, size = [], 0
    async for chunk in request.content.iter_chunked(BODY_CHUNK):
        size += len(chunk)
        if size > most:
            raise too_large(most)
        chunks.append(chunk)
    return b"".join(chunks)


def too_large(most: int) -> Problem:
    """Return the problem of a body beyond the limit."""
    return Problem(413, f"the body is larger than {most} bytes; send files by upload or by URL", "body_too_large")


async def read_json(request: web.Request, most: int) -> tuple[dict[str, Any], bytes]:
    """Return the JSON object of a body, {} for an empty one, and its bytes. Raises Problem."""
    data = (await read_body(request, most)).strip() or b"{}"
    try:
        value = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        detail = [{"loc": ["body"], "msg": f"the body is not valid JSON: {error}", "type": "json_invalid"}]
        raise Problem(422, detail) from error
    if not isinstance(value, dict):
        detail = [{"loc": ["body"], "msg": "the body is not a JSON object", "type": "dict_type"}]
        raise Problem(422, detail)
    return value, data


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")
