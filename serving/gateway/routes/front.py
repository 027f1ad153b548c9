"""The door of the gateway: finds the service of a request, checks the key, and turns problems into replies."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from ..addresses import Call, Service, service_of, target_of
from ..gateway import GATEWAY, Gateway, json_reply, outcome_reply
from ..outcomes import Problem
from ..records import FILES
from ..store import StoreError
from . import cdn, queue, rest, run

Handler = Callable[[Gateway, Call], Awaitable[web.StreamResponse]]
SERVICES: Mapping[Service, Handler] = {"run": run.handle, "queue": queue.handle, "rest": rest.handle, "cdn": cdn.handle}
PROXIES = ("/fal/proxy", "/api/fal/proxy")
TARGET = "x-fal-target-url"
CHECKER = "x-fooocus-safety-checker"
logger = logging.getLogger("fooocus_stages.gateway")


async def handle(request: web.Request) -> web.StreamResponse:
    """Answer a request to a service, to the proxy or to a file."""
    gateway = request.app[GATEWAY]
    if request.path in PROXIES:
        return await _proxied(gateway, request)
    if request.path.startswith(FILES):
        return await cdn.handle_file(gateway, request, request.path.removeprefix(FILES))
    found = service_of(request)
    if found is None:
        raise Problem(404, f"there is no {request.path[:64]!r} here; the services are below /fal/", "not_found")
    service, path = found
    return await _dispatch(gateway, Call(request, service, path, request.query))


async def _proxied(gateway: Gateway, request: web.Request) -> web.StreamResponse:
    """Answer a request to the proxy as if it had come to the hosted URL in its header; nothing is fetched."""
    target = target_of(request.headers.get(TARGET, ""))
    if target is None:
        raise Problem(400, f"Invalid request: header {TARGET} must hold an address of the hosted services")
    service, path, query = target
    return await _dispatch(gateway, Call(request, service, path, query))


async def _dispatch(gateway: Gateway, call: Call) -> web.StreamResponse:
    open_to_all = (call.service == "rest" and call.path == rest.JWKS) or call.path.startswith(FILES)
    owner = "" if open_to_all else gateway.owner(call.http)
    named = Call(call.http, call.service, call.path, call.query, owner)
    return await SERVICES[call.service](gateway, named)


@web.middleware
async def problems(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Turn problems into replies in the platform's form."""
    try:
        return await handler(request)
    except Problem as problem:
        return outcome_reply(problem.outcome)
    except StoreError as error:
        status = {"full": 507, "locked": 503}.get(error.reason, 500)
        return _failure(status, str(error))
    except OSError as error:
        if isinstance(error, ConnectionError):
            raise
        logger.error("the disk failed", extra={"error": str(error)})
        return _failure(507, f"the server cannot store this: {error.strerror or error}")
    except (web.HTTPException, ConnectionError):
        raise
    except (sqlite3.Error, Exception) as error:
        logger.error("a handler failed", exc_info=error)
        return _failure(500, "internal error; the server's log has the details")


def _failure(status: int, sentence: str) -> web.Response:
    body = {"detail": sentence, "message": sentence, "error_type": "internal_error"}
    return json_reply(body, status, {"x-fal-error-type": "internal_error"})


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Count the reply, and say in it that images are not checked, if so."""
    found = service_of(request)
    request.app[GATEWAY].metrics.replies.labels(found[0] if found else "other", str(response.status)).inc()
    if not request.app[GATEWAY].settings.safety_checker:
        response.headers[CHECKER] = "off"
