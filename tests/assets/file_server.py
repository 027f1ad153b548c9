"""A server of files on this machine, with the hub's manners and, where a test asks for it, bad ones."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HUB = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/main/(?P<file>.+)")
CDN = "/cdn"
PAGE = b"<!DOCTYPE html><html>please log in</html>"


@dataclass
class Served:
    """A file. `gets`, `heads`: how the next requests are answered; afterwards well. `ranges`: what GET asked for."""

    body: bytes
    gets: list[str] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    ranges: list[int | None] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    tokens_of_cdn: list[str | None] = field(default_factory=list)


class FileServer:
    """Files by their paths, and those of the hub by 'owner/name/file'."""

    def __init__(self) -> None:
        self.files: dict[str, Served] = {}
        self.released = threading.Event()
        self.stalled = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                server.head(self)

            def do_GET(self) -> None:
                server.get(self)

            def log_message(self, *words: Any) -> None:
                """Be silent."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def add(self, path: str, body: bytes, gets: str = "", heads: str = "") -> Served:
        """Serve a file at '/path', or at 'owner/name/file' of the hub."""
        self.files[path] = Served(body, gets.split(), heads.split())
        return self.files[path]

    def head(self, request: BaseHTTPRequestHandler) -> None:
        hub, served = self._served(request)
        if served is None:
            return answer(request, 404, {"X-Error-Message": "Entry not found"} if hub else {})
        manner = served.heads.pop(0) if served.heads else "good"
        if manner.isdigit():
            return answer(request, int(manner))
        size = len(served.body) + 10 * (manner == "more") - 10 * (manner == "less")
        digest = hashlib.sha256(served.body).hexdigest()
        if hub and not request.path.startswith(CDN):
            linked = {"X-Linked-Size": str(size), "X-Linked-Etag": f'"{digest}"', "X-Repo-Commit": "0" * 40}
            return answer(request, 302, {"Location": f"{self.url}{CDN}{request.path}", **linked})
        commit = {"X-Repo-Commit": "0" * 40} if hub else {}
        return answer(request, 200, {"Content-Length": str(size), "ETag": f'"{digest[:20]}"', **commit})

    def get(self, request: BaseHTTPRequestHandler) -> None:
        hub, served = self._served(request)
        if served is None:
            return answer(request, 404)
        if hub and not request.path.startswith(CDN):
            served.tokens.append(request.headers["Authorization"])
            return answer(request, 302, {"Location": f"{self.url}{CDN}{request.path}"})
        served.tokens_of_cdn += [request.headers["Authorization"]] if hub else []
        asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        start = int(asked[1]) if asked else None
        served.ranges.append(start)
        return self._send(request, served, served.gets.pop(0) if served.gets else "good", start)

    def _send(self, request: BaseHTTPRequestHandler, served: Served, manner: str, start: int | None) -> None:
        whole = len(served.body)
        if manner.isdigit():
            return answer(request, int(manner))
        if manner in ("page", "hidden-page"):
            kind = "text/html; charset=utf-8" if manner == "page" else "application/octet-stream"
            return answer(request, 200, {"Content-Type": kind, "Content-Length": str(whole)}, PAGE.ljust(whole))
        return self._send_file(request, served, manner, start)

    def _send_file(self, request: BaseHTTPRequestHandler, served: Served, manner: str, start: int | None) -> None:
        whole = len(served.body)
        first = 0 if start is None or manner == "whole" else start
        shown = first + 7 * (manner == "shifted")
        body = bytes(whole) if manner == "other" else served.body[shown:]
        length = len(body) + 10 * (manner == "longer") - 10 * (manner == "shorter")
        headers = {"Content-Length": str(length)}
        if first:
            headers["Content-Range"] = f"bytes {shown}-{whole - 1}/{whole}"
        if manner == "nameless":
            del headers["Content-Range"]
        kept = {"cut": whole // 2, "stall": whole // 2, "nothing": 0}.get(manner, len(body))
        answer(request, 206 if first else 200, headers, body[:kept][: max(length, 0)])
        if manner == "stall":
            request.wfile.flush()
            self.stalled.set()
            self.released.wait(20)

    def _served(self, request: BaseHTTPRequestHandler) -> tuple[bool, Served | None]:
        path = request.path.removeprefix(CDN)
        at = HUB.fullmatch(path)
        return bool(at), self.files.get(f"{at['repo']}/{at['file']}" if at else path)


def answer(
    request: BaseHTTPRequestHandler, status: int, headers: dict[str, str] | None = None, body: bytes = b""
) -> None:
    """Send a status, headers and a body; the connection ends with it."""
    request.send_response(status)
    for name, value in (headers or {}).items():
        request.send_header(name, value)
    request.send_header("Connection", "close")
    request.end_headers()
    request.wfile.write(body)


@contextmanager
def serving() -> Iterator[FileServer]:
    """A server that answers until the block ends."""
    server = FileServer()
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.http.shutdown()
        server.http.server_close()
        thread.join()
