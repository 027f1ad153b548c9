"""Structured logs: one JSON object per line, with ids and numbers, without prompts, keys and addresses of files."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from .addresses import REQUEST_PATH
from .clock import timestamp
from .outcomes import REQUEST_ID
from .records import FILES

FIELDS = ("request", "method", "path", "status", "ms", "error_type", "error", "paths", "address", "workers")
QUIET = ("/health", "/ready", "/metrics")
logger = logging.getLogger("fooocus_stages.gateway")


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {"time": timestamp(record.created), "level": record.levelname.lower(), "message": record.getMessage()}
        entry |= {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        if record.exc_info:
            entry["trace"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def log_to_stderr(level: int = logging.INFO) -> None:
    """Send the gateway's logs to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    logger.propagate = False


@web.middleware
async def access(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Log every call but those of probes; without the query, which may hold tokens and webhooks."""
    start = time.perf_counter()
    response: web.StreamResponse | None = None
    try:
        response = await handler(request)
        return response
    finally:
        if request.path not in QUIET:
            status = response.status if response is not None else 0
            took = round((time.perf_counter() - start) * 1000, 1)
            known = {"request": id} if (id := _id_of(request, response)) else {}
            extra = {"method": request.method, "path": _shown(request.path), "status": status, "ms": took, **known}
            polls = request.method == "GET" and request.path.endswith("/status")
            logger.log(logging.DEBUG if polls else logging.INFO, "call", extra=extra)


def _shown(path: str) -> str:
    """The path without the token of a file, which opens it."""
    return f"{FILES}..." if path.startswith(FILES) else path[:200]


def _id_of(request: web.Request, response: web.StreamResponse | None) -> str:
    if response is not None and REQUEST_ID in response.headers:
        return response.headers[REQUEST_ID]
    found = REQUEST_PATH.search(request.path)
    return found["id"][:64] if found else ""
