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
from .http import Connection, DownloadFailed, Redirected, Stopped, answer_of, network

CHUNK = 1 << 20
MOST_REDIRECTS = 5
NOT_FOR_HEAD = (403, 405, 501)  # a server that answers only GET
WEB_PAGE = (b"<!doctype html", b"<html")

T = TypeVar("T")
Told = Callable[[int], None]
"""Called with the number of received bytes; negative when some are discarded."""


@dataclass(frozen=True)
class Remote:
    """A server's report about a file: size and sha256 if known, and a `mark` that changes with the content."""

    url: str
    headers: Mapping[str, str]
    size: int | None = None
    mark: str = ""
    sha256: str = ""


def look_up(asset: Asset, connection: Connection) -> Remote:
    """Request a file's size and mark. Raises DownloadFailed and Stopped."""
    return _tried(connection, lambda: _head(*_address(asset, connection), connection))


def download(asset: Asset, remote: Remote, target: Path, connection: Connection, told: Told) -> None:
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
            told(part.stat().st_size)
        if not _from_cache(asset, remote, part, told):
            _tried(connection, lambda: _receive(remote, size, part, connection, told), lambda: _size(part))
        _check(part, asset.sha256 or remote.sha256, told)
        part.replace(target)


def part_of(target: Path, remote: Remote) -> Path:
    """Return the temporary name, which differs if the content on the server has changed."""
    mark = hashlib.sha256(f"{remote.mark or remote.url}".encode()).hexdigest()[:12]
    return target.with_name(f"{target.name}.{mark}.part")


def _tried(connection: Connection, act: Callable[[], T], reached: Callable[[], int] = lambda: 0) -> T:
    """Call `act`, with retries while they may help; one that gets further than all before resets the count."""
    failures, best = 0, reached()
    while True:
        try:
            return act()
        except DownloadFailed as failed:
            failures, best = (1, reached()) if reached() > best else (failures + 1, best)
            if not failed.again or failures >= connection.tries:
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
    own = at = url
    for _ in range(MOST_REDIRECTS):
        same = urllib.parse.urlsplit(at).netloc == urllib.parse.urlsplit(url).netloc
        own = at if same else own
        try:
            with answer_of(at, headers if same else {}, connection, method="HEAD") as answer:
                return _remote(own, headers, answer.headers, whole=True)
        except Redirected as there:
            if "X-Linked-Size" in there.headers:
                return _remote(own, headers, there.headers, whole=False)
            at = urllib.parse.urljoin(at, there.headers.get("Location", ""))
            if not at.startswith(("https://", "http://")):
                raise DownloadFailed(f"{url} redirects to {at}") from there
        except DownloadFailed as failed:
            if failed.status in NOT_FOR_HEAD:
                return Remote(own, headers)
            raise
    raise DownloadFailed(f"{url} redirects in a loop")


def _remote(url: str, headers: Mapping[str, str], told: Message[str, str], whole: bool) -> Remote:
    size = told.get("X-Linked-Size") or (told.get("Content-Length") if whole else None)
    linked = _bare(told.get("X-Linked-Etag"))
    return Remote(
        url,
        headers,
        size=int(size) if size and size.isdigit() else None,
        mark=linked or _bare(told.get("ETag")),
        sha256=linked if re.fullmatch("[0-9a-f]{64}", linked) else "",
    )


def _bare(etag: str | None) -> str:
    return (etag or "").removeprefix("W/").strip('"')


def _receive(remote: Remote, size: int | None, part: Path, connection: Connection, told: Told) -> None:
    """Download the rest of the file. Raises DownloadFailed if it is not complete afterwards."""
    have = _size(part)
    if size is not None and have > size:
        have = _drop(part, told)
    if have and have == size:
        return
    wanted = {**remote.headers, "Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        with answer_of(remote.url, wanted, connection) as answer:
            start, whole = _extent(answer)
            if whole is not None and size is not None and whole != size:
                raise DownloadFailed(f"{remote.url} has {size:,} bytes in one response and {whole:,} in another")
            if start != have:
                _drop(part, told)
            if start not in (0, have):
                raise DownloadFailed(f"{remote.url} sent bytes from {start:,}, not from {have:,}", again=True)
            _save(answer, part, connection, told)
    except DownloadFailed as failed:
        if failed.status == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            _drop(part, told)
            raise DownloadFailed(str(failed), again=True) from failed
        raise
    _check_size(part, size if size is not None else whole, remote.url, told)


def _extent(answer: http.client.HTTPResponse) -> tuple[int, int | None]:
    """Return the first byte in a response, and the size of the whole file if known."""
    if answer.headers.get_content_type() == "text/html":
        raise DownloadFailed(f"{answer.url} is a web page, not the file: it may require a login or a confirmation")
    length = answer.headers.get("Content-Length", "")
    if answer.status != http.client.PARTIAL_CONTENT:
        return 0, int(length) if length.isdigit() else None
    given = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
    if not given:
        raise DownloadFailed(f"{answer.url} sent a part of the file without a Content-Range", again=True)
    return int(given[1]), int(given[2]) if given[2] != "*" else None


def _save(answer: http.client.HTTPResponse, part: Path, connection: Connection, told: Told) -> None:
    """Append data as it arrives, so that an interruption loses nothing."""
    with part.open("ab", buffering=0) as file:
        while True:
            if connection.stop.is_set():
                raise Stopped
            with network(answer.url):
                chunk = answer.read1(CHUNK)
            if not chunk:
                break
            if file.tell() == 0 and chunk[:15].lower().startswith(WEB_PAGE):
                raise DownloadFailed(
                    f"{answer.url} is a web page, not the file: it may require a login or a confirmation"
                )
            file.write(chunk)
            told(len(chunk))
        os.fsync(file.fileno())


def _check_size(part: Path, size: int | None, url: str, told: Told) -> None:
    have = _size(part)
    if size is not None and have < size:
        raise DownloadFailed(f"{url} stopped after {have:,} of {size:,} bytes", again=True)
    if size is not None and have > size:
        _drop(part, told)
        raise DownloadFailed(f"{url} sent {have:,} bytes, not {size:,}")


def _check(part: Path, sha256: str, told: Told) -> None:
    """Check the sha256 of the complete file, if known; a file that differs is deleted."""
    if not sha256:
        return
    digest = hashlib.sha256()
    with part.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != sha256:
        _drop(part, told)
        raise DownloadFailed(f"the downloaded file has the sha256 {digest.hexdigest()}, not {sha256}, and was deleted")


def _from_cache(asset: Asset, remote: Remote, part: Path, told: Told) -> bool:
    """Copy the file from the Hugging Face cache if it has one of the same size; return whether it did."""
    if asset.url or part.exists():
        return False
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(asset.repo, asset.file)
    if not isinstance(cached, str) or Path(cached).stat().st_size != remote.size:
        return False
    shutil.copyfile(cached, part)
    told(_size(part))
    return True


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _drop(part: Path, told: Told) -> int:
    told(-_size(part))
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
