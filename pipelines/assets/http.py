"""HTTP requests, and their failures as readable messages."""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from functools import cache
from threading import Event

RETRYABLE = (408, 416, 425, 429, 500, 502, 503, 504)


class DownloadFailed(Exception):
    """A failed download. `retryable`: whether a retry may help. `status`: the HTTP status, or 0."""

    def __init__(self, why: str, retryable: bool = False, status: int = 0) -> None:
        super().__init__(why)
        self.retryable = retryable
        self.status = status


class Stopped(Exception):
    """The user stopped the downloads."""


@dataclass(frozen=True)
class Connection:
    """Request settings. `endpoint` and `token` default to those of the Hugging Face library.

    `timeout`: seconds without data. `tries`: attempts without progress. `pause`: seconds before the first retry; the
    pause doubles with each further one.
    """

    endpoint: str | None = None
    token: str | bool | None = None
    timeout: float = 10.0
    tries: int = 5
    pause: float = 1.0
    stop: Event = field(default_factory=Event)


class Redirected(Exception):
    """The server redirects to another address."""

    def __init__(self, headers: Message[str, str]) -> None:
        super().__init__()
        self.headers = headers


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Leaves redirects to the caller."""

    def redirect_request(self, *_: object) -> None:
        return None


@contextmanager
def open_response(
    url: str, headers: Mapping[str, str], connection: Connection, method: str = "GET"
) -> Iterator[http.client.HTTPResponse]:
    """Send a request; credentials are not passed on to another address. Raises DownloadFailed."""
    plain = {name: value for name, value in headers.items() if name.lower() != "authorization"}
    request = urllib.request.Request(url, headers=plain, method=method)
    for name in headers.keys() - plain.keys():
        request.add_unredirected_header(name, headers[name])
    handlers = [urllib.request.HTTPSHandler(context=_certificates()), *([_NoRedirects()] if method == "HEAD" else [])]
    with network(url):
        response = urllib.request.build_opener(*handlers).open(request, timeout=connection.timeout)
    with response:
        yield response


@contextmanager
def network(url: str) -> Iterator[None]:
    """Raise network errors as DownloadFailed, and a redirect that is not followed as Redirected."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        if 300 <= error.code < 400 and "Location" in error.headers:
            raise Redirected(error.headers) from None
        raise DownloadFailed(_http_error(url, error), error.code in RETRYABLE, error.code) from error
    except TimeoutError as error:
        raise DownloadFailed(f"{host_of(url)} stopped sending data", retryable=True) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        why = "does not respond" if isinstance(reason, TimeoutError) else f"can't be reached: {reason or repr(error)}"
        raise DownloadFailed(f"{host_of(url)} {why}", retryable=True) from error


def _http_error(url: str, error: urllib.error.HTTPError) -> str:
    """Return the message for an HTTP error."""
    reason = error.headers.get("X-Error-Message") or error.reason
    if error.code in (401, 403):
        reason = f"{reason}; if its page requires a login, accept its terms there and set HF_TOKEN"
    return f"{url} responded with {error.code} {reason}"


def host_of(url: str) -> str:
    return urllib.parse.urlsplit(url).netloc


@cache
def _certificates() -> ssl.SSLContext:
    """Return the certificates of the system and of certifi, which the Hugging Face library installs."""
    context = ssl.create_default_context()
    try:
        import certifi
    except ImportError:
        return context
    context.load_verify_locations(certifi.where())
    return context
