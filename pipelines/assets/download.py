"""Downloads one file, under a temporary name until it is complete, and resumes an interrupted download.

The Hugging Face library resolves the address of a file on the hub, with its mirror and token. The bytes are read here,
because recent versions of the library discard a partial file when they are interrupted.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import shutil
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import TypeVar

from .catalogue import Asset
from .http import Connection, DownloadFailed, Redirected, Stopped, network, open_response

CHUNK = 1 << 20
MAX_REDIRECTS = 5
HEAD_NOT_SUPPORTED = (403, 405, 501)  # from servers that accept only GET
WEB_PAGE = (b"<!doctype html", b"<html")

T = TypeVar("T")
OnBytes = Callable[[int], None]
"""Called with the number of bytes received, or with a negative number when some are discarded."""


@dataclass(frozen=True)
class Remote:
    """A file as its server describes it: size and sha256 if known, and a `version` that changes with the content."""

    url: str
    headers: Mapping[str, str]
    size: int | None = None
    version: str = ""
    sha256: str = ""


def look_up(asset: Asset, connection: Connection) -> Remote:
    """Request the size and version of a file. Raises DownloadFailed and Stopped."""
    return _with_retries(connection, lambda: _head(*_address(asset, connection), connection))


def download(asset: Asset, remote: Remote, target: Path, connection: Connection, on_bytes: OnBytes) -> None:
    """Download the file to `target`, which is created only once the file is complete.

    A partial file of an earlier download is resumed. Raises DownloadFailed, Stopped and OSError.
    """
    if asset.sha256 and remote.sha256 and asset.sha256 != remote.sha256:
        raise DownloadFailed(f"the file at {remote.url} has changed: its sha256 is {remote.sha256}")
    size = remote.size if remote.size is not None else asset.size
    if asset.size is not None and size != asset.size:
        raise DownloadFailed(f"the file at {remote.url} has changed: {size:,} bytes instead of {asset.size:,}")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(target, remote)
    with _locked(part):
        if part.exists():
            on_bytes(part.stat().st_size)
        if not _from_cache(asset, remote, part, on_bytes):
            _with_retries(connection, lambda: _receive(remote, size, part, connection, on_bytes), lambda: _size(part))
        _check_digest(part, asset.sha256 or remote.sha256, on_bytes)
        part.replace(target)


def part_of(target: Path, remote: Remote) -> Path:
    """Return the temporary name, which differs if the content on the server has changed."""
    version = hashlib.sha256(f"{remote.version or remote.url}".encode()).hexdigest()[:12]
    return target.with_name(f"{target.name}.{version}.part")


def _with_retries(connection: Connection, act: Callable[[], T], progress: Callable[[], int] = lambda: 0) -> T:
    """Call `act` and retry while that may help. An attempt that gets further than all before resets the count."""
    failures, best = 0, progress()
    while True:
        try:
            return act()
        except DownloadFailed as failed:
            failures, best = (1, progress()) if progress() > best else (failures + 1, best)
            if not failed.retryable or failures >= connection.tries:
                raise
        if connection.stop.wait(connection.pause * 2 ** (failures - 1)):
            raise Stopped


def _address(asset: Asset, connection: Connection) -> tuple[str, dict[str, str]]:
    """Return the address and the headers of the request."""
    if asset.url:
        return asset.url, {"User-Agent": "fooocus-stages"}
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined,unused-ignore]

    url = hf_hub_url(asset.repo, asset.file, endpoint=connection.endpoint)
    return url, build_hf_headers(token=connection.token, library_name="fooocus-stages")


def _head(url: str, headers: Mapping[str, str], connection: Connection) -> Remote:
    """Request only the headers. The hub describes a linked file before it redirects to it."""
    described = at = url
    for _ in range(MAX_REDIRECTS):
        same = urllib.parse.urlsplit(at).netloc == urllib.parse.urlsplit(url).netloc
        described = at if same else described
        try:
            with open_response(at, headers if same else {}, connection, method="HEAD") as response:
                return _remote(described, headers, response.headers, whole=True)
        except Redirected as there:
            if "X-Linked-Size" in there.headers:
                return _remote(described, headers, there.headers, whole=False)
            at = urllib.parse.urljoin(at, there.headers.get("Location", ""))
            if not at.startswith(("https://", "http://")):
                raise DownloadFailed(f"{url} redirects to {at}") from there
        except DownloadFailed as failed:
            if failed.status in HEAD_NOT_SUPPORTED:
                return Remote(described, headers)
            raise
    raise DownloadFailed(f"{url} redirects in a loop")


def _remote(url: str, headers: Mapping[str, str], response: Message[str, str], whole: bool) -> Remote:
    """Describe a file by the headers of a response; `whole`: whether they are those of the file itself."""
    size = response.get("X-Linked-Size") or (response.get("Content-Length") if whole else None)
    linked = _plain_etag(response.get("X-Linked-Etag"))
    return Remote(
        url,
        headers,
        size=int(size) if size and size.isdigit() else None,
        version=linked or _plain_etag(response.get("ETag")),
        sha256=linked if re.fullmatch("[0-9a-f]{64}", linked) else "",
    )


def _plain_etag(etag: str | None) -> str:
    return (etag or "").removeprefix("W/").strip('"')


def _receive(remote: Remote, size: int | None, part: Path, connection: Connection, on_bytes: OnBytes) -> None:
    """Download the rest of the file. Raises DownloadFailed if it is not complete afterwards."""
    received = _size(part)
    if size is not None and received > size:
        received = _discard(part, on_bytes)
    if received and received == size:
        return
    headers = {**remote.headers, "Accept-Encoding": "identity"} | ({"Range": f"bytes={received}-"} if received else {})
    try:
        with open_response(remote.url, headers, connection) as response:
            start, whole = _content_range(response)
            if whole is not None and size is not None and whole != size:
                raise DownloadFailed(f"{remote.url} has {size:,} bytes in one response and {whole:,} in another")
            if start != received:
                _discard(part, on_bytes)
            if start not in (0, received):
                raise DownloadFailed(f"{remote.url} sent bytes from {start:,}, not from {received:,}", retryable=True)
            _append_body(response, part, connection, on_bytes)
    except DownloadFailed as failed:
        if failed.status == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            _discard(part, on_bytes)
            raise DownloadFailed(str(failed), retryable=True) from failed
        raise
    _check_size(part, size if size is not None else whole, remote.url, on_bytes)


def _content_range(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """Return the first byte in a response, and the size of the whole file if known."""
    if response.headers.get_content_type() == "text/html":
        raise DownloadFailed(f"{response.url} is a web page, not the file: it may require a login or a confirmation")
    length = response.headers.get("Content-Length", "")
    if response.status != http.client.PARTIAL_CONTENT:
        return 0, int(length) if length.isdigit() else None
    extent = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if not extent:
        raise DownloadFailed(f"{response.url} sent a part of the file without a Content-Range", retryable=True)
    return int(extent[1]), int(extent[2]) if extent[2] != "*" else None


def _append_body(response: http.client.HTTPResponse, part: Path, connection: Connection, on_bytes: OnBytes) -> None:
    """Append data as it arrives, so that an interruption loses nothing."""
    with part.open("ab", buffering=0) as file:
        while True:
            if connection.stop.is_set():
                raise Stopped
            with network(response.url):
                chunk = response.read1(CHUNK)
            if not chunk:
                break
            if file.tell() == 0 and chunk[:15].lower().startswith(WEB_PAGE):
                raise DownloadFailed(
                    f"{response.url} is a web page, not the file: it may require a login or a confirmation"
                )
            file.write(chunk)
            on_bytes(len(chunk))
        os.fsync(file.fileno())


def _check_size(part: Path, size: int | None, url: str, on_bytes: OnBytes) -> None:
    received = _size(part)
    if size is not None and received < size:
        raise DownloadFailed(f"{url} stopped after {received:,} of {size:,} bytes", retryable=True)
    if size is not None and received > size:
        _discard(part, on_bytes)
        raise DownloadFailed(f"{url} sent {received:,} bytes, not {size:,}")


def _check_digest(part: Path, sha256: str, on_bytes: OnBytes) -> None:
    """Check the sha256 of the complete file, if known; a file that differs is deleted."""
    if not sha256:
        return
    digest = hashlib.sha256()
    with part.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != sha256:
        _discard(part, on_bytes)
        raise DownloadFailed(f"the downloaded file has the sha256 {digest.hexdigest()}, not {sha256}, and was deleted")


def _from_cache(asset: Asset, remote: Remote, part: Path, on_bytes: OnBytes) -> bool:
    """Copy the file from the Hugging Face cache if it has one of the same size; return whether it did."""
    if asset.url or part.exists():
        return False
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(asset.repo, asset.file)
    if not isinstance(cached, str) or Path(cached).stat().st_size != remote.size:
        return False
    shutil.copyfile(cached, part)
    on_bytes(_size(part))
    return True


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _discard(part: Path, on_bytes: OnBytes) -> int:
    on_bytes(-_size(part))
    part.unlink(missing_ok=True)
    return 0


@contextmanager
def _locked(part: Path) -> Iterator[None]:
    """Lock the partial file. Raises DownloadFailed if another process has locked it."""
    from filelock import FileLock, Timeout

    lock = FileLock(f"{part}.lock", timeout=0)
    try:
        with lock:
            try:
                yield
            finally:
                if not _size(part):
                    part.unlink(missing_ok=True)
                with suppress(OSError):  # Windows keeps it while it is open
                    Path(lock.lock_file).unlink()
    except Timeout:
        raise DownloadFailed(f"another process is downloading it: {part} is locked") from None
