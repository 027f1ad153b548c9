"""Services and addresses: which service a request is for, and under which address its caller reached the server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote, urlsplit

from aiohttp import web
from multidict import MultiDict, MultiMapping
from yarl import URL

Service = Literal["run", "queue", "rest", "cdn"]
SERVICES: tuple[Service, ...] = ("run", "queue", "rest", "cdn")
HOSTS: Mapping[str, Service] = {
    "fal.run": "run",
    "falrun.com": "run",
    "queue.fal.run": "queue",
    "queue.falrun.com": "queue",
    "rest.fal.ai": "rest",
    "rest.alpha.fal.ai": "rest",
    "v3.fal.media": "cdn",
    "fal.media": "cdn",
}
NAMESPACES = ("workflows", "comfy")
REQUEST_PATH = re.compile(
    r"/(?P<app>.+?)/requests/(?P<id>[^/]+)(?P<rest>(?:/status(?:/stream)?|/cancel|/stream|/response)?)"
)


@dataclass(frozen=True)
class Call:
    """A request to a service. `path` is decoded and begins with a slash, `owner` names the key that made the call."""

    http: web.Request
    service: Service
    path: str
    query: MultiMapping[str]
    owner: str = ""


def service_of(request: web.Request) -> tuple[Service, str] | None:
    """Return the service and the path in it, by the host's name or by the first folders of the path."""
    host = request.host.rpartition(":")[0] or request.host
    if host.lower() in HOSTS:
        return HOSTS[host.lower()], request.path
    for service in SERVICES:
        if request.path.startswith(f"/fal/{service}/"):
            return service, request.path.removeprefix(f"/fal/{service}")
    return None


def target_of(url: str) -> tuple[Service, str, MultiMapping[str]] | None:
    """Return service, path and query of a hosted URL, None for any other."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.lower()
        query: MultiMapping[str] = MultiDict(URL(url).query)
    except ValueError:
        return None
    if parts.scheme != "https" or host not in HOSTS or not parts.path.startswith("/"):
        return None
    return HOSTS[host], unquote(parts.path), query


def own_address(request: web.Request, public_url: str) -> str:
    """Return the address of the server as the caller can reach it, without a final slash.

    A caller that came by a hosted name is given the address of the socket.
    """
    if public_url:
        return public_url
    host = request.host.rpartition(":")[0] or request.host
    if host.lower() in HOSTS:
        name = request.transport.get_extra_info("sockname") if request.transport else None
        return f"http://{name[0]}:{name[1]}" if name else "http://127.0.0.1"
    return f"{request.scheme}://{request.host}"


def queue_address(request: web.Request, public_url: str) -> str:
    """Return the address of the queue service, without a final slash."""
    host = request.host.rpartition(":")[0] or request.host
    if not public_url and HOSTS.get(host.lower()) == "queue":
        return f"https://{request.host}"
    return f"{own_address(request, public_url)}/fal/queue"


def app_of(endpoint: str) -> str:
    """Return the endpoint without its sub-path: owner and alias."""
    parts = endpoint.split("/")
    return "/".join(parts[: 3 if parts[0] in NAMESPACES else 2])
