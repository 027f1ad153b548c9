"""Fetching what callers name by URL, and calling their webhooks: public hosts alone, within limits of size and time."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import re
import secrets
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes

import aiohttp
from yarl import URL

from ....pipelines.errors import BadFile, UserError
from .images import check_image
from .loras import HeaderReader, check_lora
from .policy import Policy, PublicResolver, Refused, checked_url

MEBIBYTE = 2**20
REDIRECTS = (301, 302, 303, 307, 308)
CHUNK = 2**16
FAULTS = (aiohttp.ClientError, OSError, ValueError, asyncio.TimeoutError)
DATA_URI = re.compile(r"data:[^,]{0,256},", re.IGNORECASE)


Watch = Callable[[bytes], None]
"""Sees a download chunk by chunk, and may raise to end it."""


Keep = Callable[[Path, str], "Fetched"]
"""Checks a file that has its content, given its path and SHA-256, and gives it its name."""


def ignore(chunk: bytes) -> None:
    """A watch that lets everything pass."""


class Unfetched(UserError):
    """A file that could not be fetched; the message says why, and names neither local paths nor addresses."""


@dataclass(frozen=True)
class Limits:
    """Bounds of what is fetched, in bytes, pixels and seconds. The times are for a whole download, however slow."""

    image_bytes: int = 64 * MEBIBYTE
    image_seconds: float = 60.0
    pixels: int = 64_000_000
    lora_bytes: int = 2048 * MEBIBYTE
    lora_seconds: float = 900.0
    webhook_seconds: float = 15.0
    connect_seconds: float = 10.0
    redirects: int = 5


@dataclass(frozen=True)
class Fetched:
    """A file that was fetched: its name is its SHA-256 in hex with the suffix of its format."""

    path: Path
    media_type: str
    sha256: str
    size: int


class Fetcher:
    """Fetches pictures and LoRAs, and posts to webhooks. Close it at the end; it may be made outside a loop."""

    def __init__(self, policy: Policy | None = None, limits: Limits | None = None) -> None:
        self._policy, self._limits = policy or Policy(), limits or Limits()
        self._session: aiohttp.ClientSession | None = None

    async def image(self, url: str, folder: Path) -> Fetched:
        """Fetch a picture by URL or data URI into the folder. Raises Refused, Unfetched and BadFile."""
        limits = self._limits

        def keep(temporary: Path, sha256: str) -> Fetched:
            info = check_image(temporary, limits.pixels)
            return _kept(temporary, sha256, info.suffix, info.media_type)

        return await self._fetched(url, folder, limits.image_bytes, limits.image_seconds, ignore, keep)

    async def lora(self, url: str, folder: Path) -> Fetched:
        """Fetch a LoRA by URL or data URI into the folder. Raises Refused, Unfetched and BadFile."""
        limits, header = self._limits, HeaderReader(self._limits.lora_bytes)

        def keep(temporary: Path, sha256: str) -> Fetched:
            if header.size != temporary.stat().st_size:
                raise BadFile("the safetensors file is truncated, or more follows its tensors: send it whole")
            check_lora(temporary)
            return _kept(temporary, sha256, ".safetensors", "application/octet-stream")

        return await self._fetched(url, folder, limits.lora_bytes, limits.lora_seconds, header.feed, keep)

    def refusal(self, url: str) -> str:
        """Return why a URL is refused without a call, '' if it is not."""
        try:
            checked_url(url, self._policy)
        except Refused as error:
            return str(error)
        return ""

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> int:
        """Post a body without following redirects, and return the reply's status. Raises Refused and Unfetched."""
        target = checked_url(url, self._policy)

        async def call() -> int:
            async with self._client().post(
                target, data=io.BytesIO(body), headers=headers, allow_redirects=False
            ) as reply:
                return reply.status

        try:
            return await asyncio.wait_for(call(), self._limits.webhook_seconds)
        except FAULTS as error:
            raise Unfetched(_words(error)) from error

    async def close(self) -> None:
        """End open connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _fetched(self, url: str, folder: Path, limit: int, seconds: float, watch: Watch, keep: Keep) -> Fetched:
        """Write a file under a temporary name, which ends with the call, and keep it if it is sound."""
        temporary = folder / f".{secrets.token_hex(16)}.part"
        try:
            if url[:5].lower() == "data:":
                return await asyncio.to_thread(lambda: keep(temporary, _write_data(url, temporary, limit, watch)))
            sha256 = await self._within(seconds, self._download(url, temporary, limit, watch))
            return await asyncio.to_thread(keep, temporary, sha256)
        finally:
            temporary.unlink(missing_ok=True)

    async def _within(self, seconds: float, download: Coroutine[object, object, str]) -> str:
        try:
            return await asyncio.wait_for(download, seconds)
        except asyncio.TimeoutError as error:
            raise Unfetched(f"the download took longer than {seconds:g} s: give a faster address") from error
        except FAULTS as error:
            raise Unfetched(_words(error)) from error

    async def _download(self, url: str, path: Path, limit: int, watch: Watch) -> str:
        """Follow redirects, each checked anew, and write the body of the reply."""
        target = checked_url(url, self._policy)
        for _ in range(self._limits.redirects + 1):
            async with self._client().get(target, allow_redirects=False) as reply:
                if reply.status not in REDIRECTS:
                    return await _write_reply(reply, path, limit, watch)
                target = self._redirected(target, reply.headers.get("Location", ""))
        raise Unfetched(f"there are more than {self._limits.redirects} redirects: give the final address")

    def _redirected(self, target: URL, location: str) -> URL:
        try:
            return checked_url(target.join(URL(location)), self._policy, "the redirect")
        except ValueError as error:
            raise Unfetched("the server redirects to an address that is not valid") from error

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=PublicResolver(self._policy), use_dns_cache=False),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._limits.connect_seconds),
                headers={"User-Agent": "fooocus-stages", "Accept-Encoding": "identity"},
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,  # a proxy would resolve names by itself, and .netrc holds passwords
            )
        return self._session


async def _write_reply(reply: aiohttp.ClientResponse, path: Path, limit: int, watch: Watch) -> str:
    if reply.status != 200:
        raise Unfetched(f"the server answered with status {reply.status}: give an address that answers with the file")
    if reply.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Unfetched("the server sent the file compressed, although that was not asked for")
    if (reply.content_length or 0) > limit:
        raise _too_large(limit)
    digest, size = hashlib.sha256(), 0
    with path.open("xb") as file:
        async for chunk in reply.content.iter_chunked(CHUNK):
            size += len(chunk)
            if size > limit:
                raise _too_large(limit)
            watch(chunk)
            digest.update(chunk)
            file.write(chunk)
    if reply.content_length is not None and size != reply.content_length:
        raise Unfetched("the connection ended before the file was whole: try again")
    return digest.hexdigest()


def _write_data(uri: str, path: Path, limit: int, watch: Watch) -> str:
    """Write the content of a data URI. Raises Unfetched for one that is not valid or too large."""
    data = _data_of(uri, limit)
    watch(data)
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def _data_of(uri: str, limit: int) -> bytes:
    head = DATA_URI.match(uri)
    if head is None:
        raise Unfetched("the data URI is not valid: begin it with, for example, data:image/png;base64,")
    is_base64 = head[0].rstrip(",").lower().endswith(";base64")
    longest = -(-limit // 3) * 4 + 1024 if is_base64 else 3 * limit
    if len(uri) - head.end() > longest:
        raise _too_large(limit)
    body = uri[head.end() :]
    try:
        data = _from_base64(body) if is_base64 else unquote_to_bytes(body)
    except ValueError as error:
        raise Unfetched("the data URI is not valid base64: encode the whole file") from error
    if len(data) > limit:
        raise _too_large(limit)
    return data


def _from_base64(text: str) -> bytes:
    """Decode base64, with its padding left out or percent-encoded and in lines, as some programs write it."""
    plain = "".join(text.replace("%3D", "=").replace("%2B", "+").replace("%2F", "/").split()).rstrip("=")
    return base64.b64decode(plain.encode("ascii") + b"=" * (-len(plain) % 4), validate=True)


def _kept(temporary: Path, sha256: str, suffix: str, media_type: str) -> Fetched:
    """Give a checked file its name."""
    path = temporary.with_name(sha256 + suffix)
    size = temporary.stat().st_size
    temporary.replace(path)
    return Fetched(path, media_type, sha256, size)


def _too_large(limit: int) -> Unfetched:
    return Unfetched(f"the file has more than {limit} bytes: send a smaller one")


def _words(error: BaseException) -> str:
    """The reason why a call failed, without the addresses and paths in the error."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the host's name is not known: check the URL"
    if isinstance(error, aiohttp.ClientSSLError):
        return "the host's certificate is not trusted"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "the host does not accept the connection"
    if isinstance(error, asyncio.TimeoutError):
        return "the host does not answer in time"
    if isinstance(error, aiohttp.ClientError):
        return "the host does not answer as HTTP asks for"
    return f"the file could not be kept: {getattr(error, 'strerror', None) or type(error).__name__}"
