"""Web pages as callers: those of the server itself and of named origins (CORS); pages of other sites are refused."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import web

from ....pipelines.errors import BadValue
from ..records import FILES

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

ORIGIN = re.compile(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:]+\])(?::\d{1,5})?")
METHODS = "GET, POST, PUT, DELETE, OPTIONS"
ALLOWED_HEADER = re.compile(r"authorization|content-type|accept|x-fal-[a-z0-9-]+|x-app-fal-[a-z0-9-]+")
EXPOSED = "x-fal-request-id, x-fal-request-timeout-type, x-fal-error-type, etag"
MAX_AGE = "600"
SERVICES = ("/fal/", "/api/fal/")
LOOPBACK = ("127.0.0.1", "localhost")
ALLOW = "Access-Control-Allow-Origin"


@dataclass(frozen=True)
class Cors:
    """The origins whose pages may use the server beside its own.

    `hosts`: the names by which the server may be called, None for any. A server without API keys needs them: a page
    whose own name comes to lead to this machine (DNS rebinding) is refused by the name that it calls.
    """

    origins: frozenset[str] = frozenset()
    hosts: frozenset[str] | None = None

    @classmethod
    def of(cls, origins: Iterable[str], hosts: Collection[str] | None = None) -> Cors:
        """Return the rule for these origins. Raises BadValue for what is no origin, and for '*'."""
        named = [origin.rstrip("/").lower() for origin in origins]
        for origin in named:
            if not ORIGIN.fullmatch(origin):
                raise BadValue(f"{origin!r} is not an origin: name one such as https://pictures.example")
        return cls(frozenset(named), None if hosts is None else frozenset(host.lower() for host in hosts))

    def refusal(self, request: web.Request) -> str:
        """Return why a request is refused, or ''."""
        if self.hosts is not None and (name := host_name(request)) not in self.hosts and not _is_loopback(name):
            return f"this server is not called {name[:100]!r}; its operator can name its address with --public-url"
        origin = request.headers.get("Origin")
        if origin is not None and not self.knows(request, origin):
            return f"pages of {origin[:100]!r} may not use this server; its operator can name that origin"
        other_site = request.headers.get("Sec-Fetch-Site", "") in ("cross-site", "same-site")
        shows_file = request.method in ("GET", "HEAD") and request.path.startswith(FILES)
        if origin is None and other_site and request.path.startswith(SERVICES) and not shows_file:
            return "pages of other sites may not use this server"
        return ""

    def knows(self, request: web.Request, origin: str) -> bool:
        """Return whether an origin is the server's own or named."""
        own = urlsplit(origin.lower()).netloc == request.host.lower() and origin.lower() != "null"
        return own or origin.lower() in self.origins

    def headers(self, origin: str | None) -> Mapping[str, str]:
        """Return the headers of each reply, which a stream needs before it is begun."""
        if not self.origins:
            return {}
        if origin is None or origin.lower() not in self.origins:
            return {"Vary": "Origin"}
        return {ALLOW: origin, "Access-Control-Expose-Headers": EXPOSED, "Vary": "Origin"}

    def preflight(self, origin: str, asked: str) -> Mapping[str, str]:
        """Return the headers of the reply to a page that asks what it may send."""
        names = [name.strip().lower() for name in asked.split(",")]
        return {
            **self.headers(origin),
            "Access-Control-Allow-Methods": METHODS,
            "Access-Control-Allow-Headers": ", ".join(name for name in names if ALLOWED_HEADER.fullmatch(name)),
            "Access-Control-Max-Age": MAX_AGE,
        }


def install(app: web.Application, cors: Cors) -> None:
    """Put the rule in front of all routes of an application."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if why := cors.refusal(request):
            return web.json_response({"detail": why, "message": why}, status=403)
        origin = request.headers.get("Origin")
        if request.method == "OPTIONS" and origin is not None and "Access-Control-Request-Method" in request.headers:
            asked = request.headers.get("Access-Control-Request-Headers", "")
            return web.Response(status=204, headers=cors.preflight(origin, asked))
        return await handler(request)

    async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
        for name, value in cors.headers(request.headers.get("Origin")).items():
            if name == "Vary" and name in response.headers:
                value = f"{response.headers[name]}, {value}"
            response.headers[name] = value

    app.middlewares.insert(0, check)
    app.on_response_prepare.append(add_headers)


def host_name(request: web.Request) -> str:
    """Return the name by which a server is called, in lower case and without its port."""
    try:
        return urlsplit(f"//{request.host}").hostname or ""
    except ValueError:
        return ""


def _is_loopback(name: str) -> bool:
    if name in LOOPBACK:
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
