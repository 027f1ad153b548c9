"""One file from the network to the disk: under a temporary name until it is whole, and going on where it stopped.

The Hugging Face library says where a file of the hub lies, by which mirror and with which token; the bytes are read
here, because newer versions of it throw a half-fetched file away when they stop.
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
from .http import Connection, DownloadFailed, Elsewhere, Stopped, answer_of, network

CHUNK = 1 << 20
MOST_REDIRECTS = 5
NOT_FOR_HEAD = (403, 405, 501)  # a server that answers only GET
WEB_PAGE = (b"<!doctype html", b"<html")

T = TypeVar("T")
Told = Callable[[int], None]
"""Called with the number of bytes that came; negative when some are thrown away."""


@dataclass(frozen=True)
class Remote:
    """What a server says of a file: its size and sha256 as far as it does, and a mark that changes with its content."""

    url: str
    headers: Mapping[str, str]
    size: int | None = None
    mark: str = ""
    sha256: str = ""


def look_up(asset: Asset, connection: Connection) -> Remote:
    """Ask for a file's size and mark. Raises DownloadFailed and Stopped."""
    return _tried(connection, lambda: _head(*_address(asset, connection), connection))


def download(asset: Asset, remote: Remote, target: Path, connection: Connection, told: Told) -> None:
    """Fetch the file to `target`, which comes to be only when it is whole.

    What an earlier fetch left beside it is gone on with. Raises DownloadFailed, Stopped and OSError.
    """
    if asset.sha256 and remote.sha256 and asset.sha256 != remote.sha256:
        raise DownloadFailed(f"the file at {remote.url} is another one now: its sha256 is {remote.sha256}")
    size = remote.size if remote.size is not None else asset.size
    if asset.size is not None and size != asset.size:
        raise DownloadFailed(f"the file at {remote.url} is another one now: {size:,} bytes instead of {asset.size:,}")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(target, remote)
    with _alone(part):
        if part.exists():
            told(part.stat().st_size)
        if not _from_cache(asset, remote, part, told):
            _tried(connection, lambda: _receive(remote, size, part, connection, told), lambda: _size(part))
        _check(part, asset.sha256 or remote.sha256, told)
        part.replace(target)


def part_of(target: Path, remote: Remote) -> Path:
    """The temporary name: another one when the file's content has changed since."""
    mark = hashlib.sha256(f"{remote.mark or remote.url}".encode()).hexdigest()[:12]
    return target.with_name(f"{target.name}.{mark}.part")


def _tried(connection: Connection, act: Callable[[], T], reached: Callable[[], int] = lambda: 0) -> T:
    """What `act` gives, tried again while that may help; a try that reaches further than ever counts as the first."""
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
    """Where the file is asked for, and with which headers."""
    if asset.url:
        return asset.url, {"User-Agent": "fooocus-stages"}
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined,unused-ignore]

    url = hf_hub_url(asset.repo, asset.file, endpoint=connection.endpoint)
    return url, build_hf_headers(token=connection.token, library_name="fooocus-stages")


def _head(url: str, headers: Mapping[str, str], connection: Connection) -> Remote:
    """What the server says without sending the file. The hub tells of a linked file before it leads there."""
    own = at = url
    for _ in range(MOST_REDIRECTS):
        same = urllib.parse.urlsplit(at).netloc == urllib.parse.urlsplit(url).netloc
        own = at if same else own
        try:
            with answer_of(at, headers if same else {}, connection, method="HEAD") as answer:
                return _remote(own, headers, answer.headers, whole=True)
        except Elsewhere as there:
            if "X-Linked-Size" in there.headers:
                return _remote(own, headers, there.headers, whole=False)
            at = urllib.parse.urljoin(at, there.headers.get("Location", ""))
            if not at.startswith(("https://", "http://")):
                raise DownloadFailed(f"{url} leads to {at}") from there
        except DownloadFailed as failed:
            if failed.status in NOT_FOR_HEAD:
                return Remote(own, headers)
            raise
    raise DownloadFailed(f"{url} leads in a circle")


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
    """Read what still lacks of the file. Raises DownloadFailed when it is not whole then."""
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
                raise DownloadFailed(f"{remote.url} has {size:,} bytes by one answer, and {whole:,} by another")
            if start != have:
                _drop(part, told)
            if start not in (0, have):
                raise DownloadFailed(f"{remote.url} gave bytes from {start:,} on, not from {have:,}", again=True)
            _save(answer, part, connection, told)
    except DownloadFailed as failed:
        if failed.status == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            _drop(part, told)
            raise DownloadFailed(str(failed), again=True) from failed
        raise
    _check_size(part, size if size is not None else whole, remote.url, told)


def _extent(answer: http.client.HTTPResponse) -> tuple[int, int | None]:
    """The first byte that an answer holds, and how many the whole file has, if it says so."""
    if answer.headers.get_content_type() == "text/html":
        raise DownloadFailed(f"{answer.url} is a web page, not the file: a login or a notice may stand before it")
    length = answer.headers.get("Content-Length", "")
    if answer.status != http.client.PARTIAL_CONTENT:
        return 0, int(length) if length.isdigit() else None
    given = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
    if not given:
        raise DownloadFailed(f"{answer.url} gave a part of the file without saying which", again=True)
    return int(given[1]), int(given[2]) if given[2] != "*" else None


def _save(answer: http.client.HTTPResponse, part: Path, connection: Connection, told: Told) -> None:
    """Append what comes, as it comes, so that an interrupted read loses nothing."""
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
                    f"{answer.url} is a web page, not the file: a login or a notice may stand before it"
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
        raise DownloadFailed(f"{url} gave {have:,} bytes, not {size:,}")


def _check(part: Path, sha256: str, told: Told) -> None:
    """Hold the whole file against the sha256, if one is known; one that differs is thrown away."""
    if not sha256:
        return
    digest = hashlib.sha256()
    with part.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != sha256:
        _drop(part, told)
        raise DownloadFailed(f"what came has the sha256 {digest.hexdigest()}, not {sha256}, and was thrown away")


def _from_cache(asset: Asset, remote: Remote, part: Path, told: Told) -> bool:
    """Whether the Hugging Face cache had the file, of the same size; it is copied then."""
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
def _alone(part: Path) -> Iterator[None]:
    """Nobody else writes the file meanwhile; raises DownloadFailed when somebody does."""
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
        raise DownloadFailed(f"another process is fetching it: {part} is locked") from None
