"""The rest service: starting uploads, tokens, and the keys of webhook signatures."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from ..addresses import Call, own_address
from ..clock import timestamp
from ..gateway import Gateway, json_reply, read_json
from ..outcomes import Problem
from .queue import lifetime_of

SMALL = 1 << 20
TOKEN_SECONDS = 3600.0
JWKS = "/.well-known/jwks.json"


async def handle(gateway: Gateway, call: Call) -> web.StreamResponse:
    """Answer a call to the rest service. Raises Problem."""
    if call.path == JWKS:
        return json_reply(gateway.webhooks.jwks())
    path = call.path.rstrip("/")
    if call.http.method != "POST":
        raise Problem(405, "use POST here", headers={"Allow": "POST"})
    body, _ = await read_json(call.http, gateway.settings, SMALL)
    if path in ("/storage/upload/initiate", "/storage/upload/initiate-multipart"):
        return await initiate(gateway, call, body)
    if path == "/storage/auth/token":
        return upload_token(gateway, call)
    if path == "/tokens":
        return json_reply(_token(gateway, call, body.get("token_expiration", 120)))
    raise Problem(404, f"there is no {call.path[:64]!r} here", "not_found")


async def initiate(gateway: Gateway, call: Call, body: dict[str, Any]) -> web.Response:
    """Begin an upload; its URL takes a PUT with the content, or parts."""
    name, media_type = (str(body.get(key) or "") for key in ("file_name", "content_type"))
    file = await gateway.uploads.begin(name, media_type, lifetime_of(call))
    base = own_address(call.http, gateway.settings.public_url)
    return json_reply({"upload_url": f"{base}{file.url}?upload=1", "file_url": base + file.url})


def upload_token(gateway: Gateway, call: Call) -> web.Response:
    """Return a token with which files are sent to the cdn service."""
    base = own_address(call.http, gateway.settings.public_url)
    expires = gateway.clock.now() + TOKEN_SECONDS
    token = gateway.tokens.issue(call.owner, expires)
    reply = {"token": token, "token_type": "Bearer", "base_url": f"{base}/fal/cdn", "expires_at": timestamp(expires)}
    return json_reply(reply)


def _token(gateway: Gateway, call: Call, seconds: Any) -> str:
    usable = isinstance(seconds, int | float) and 0 < seconds <= TOKEN_SECONDS
    return gateway.tokens.issue(call.owner, gateway.clock.now() + (seconds if usable else 120))
