"""The parts of a running gateway."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from .bodies import chunks
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


async def read_json(request: web.Request, settings: Settings, most: int | None = None) -> tuple[dict[str, Any], bytes]:
    """Return the JSON object of a body, {} for an empty one, and its bytes.

    `most`: bytes, None for `settings.max_body`. Raises Problem.
    """
    most = settings.max_body if most is None else most
    sentence = f"the body is larger than {most} bytes; send files by upload or by URL"
    too_large = Problem(413, sentence, "body_too_large")
    data = b"".join([chunk async for chunk in chunks(request, settings, most, too_large)]).strip() or b"{}"
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
