"""The HTTP routes of a ComfyUI server; every failure is raised as one sentence."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ...pipelines.errors import BadFile, MissingFile, UserError
from .protocol import Address, Answer

if TYPE_CHECKING:
    import aiohttp

CONNECT_SECONDS = 10  # to be connected
ANSWER_SECONDS = 60  # for an answer, or between two pieces of a file
HEARTBEAT_SECONDS = 30
LARGEST_FRAME = 2**28


class Unreachable(UserError):
    """The server does not answer, or not as ComfyUI does."""


class Missing(Unreachable):
    """The server has no such path (404)."""


class NoSocket(UserError):
    """The server answers but refuses the websocket."""


class ComfyServer:
    """A ComfyUI at an address; create, use and close it in one event loop."""

    def __init__(self, address: Address) -> None:
        try:
            import aiohttp
        except ImportError as error:
            raise MissingFile("--comfyui needs aiohttp; install it: pip install aiohttp") from error
        timeout = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=ANSWER_SECONDS)
        self.base = address.base
        self._session = aiohttp.ClientSession(headers=address.headers, timeout=timeout)

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def check(self) -> None:
        """Check that a ComfyUI answers. Raises Unreachable."""
        try:
            told = await self.ask("/system_stats")
        except Missing as error:
            raise Unreachable(f"{self.base} answers, but not as ComfyUI does ({error}); is the path right?") from error
        if not isinstance(told, dict) or not isinstance(told.get("system"), dict):
            raise Unreachable(f"{self.base} answers, but not as ComfyUI does; name the address of a ComfyUI")

    async def ask(self, path: str, **parameters: str) -> Any:
        """Return the JSON of a GET request."""
        async with self.request("GET", path, params=parameters) as response:
            return await self._json(response)

    async def declaration(self, class_type: str) -> Answer | None:
        """Return the server's declaration of a node class; None if it has no such class."""
        try:
            known = await self.ask(f"/object_info/{quote(class_type, safe='')}")
        except Missing:
            return None
        info = known.get(class_type) if isinstance(known, dict) else None
        return info if isinstance(info, dict) else None

    async def tell(self, path: str, body: Answer) -> None:
        """Post JSON to a route without an answer."""
        async with self.request("POST", path, json=body):
            pass

    async def submit(self, body: Answer) -> tuple[bool, Answer]:
        """Submit a prompt; return whether the server accepted it, and its answer."""
        async with self.request("POST", "/prompt", refusal=400, json=body) as response:
            answer = await self._json(response)
            return response.status == 200, answer if isinstance(answer, dict) else {}

    async def upload(self, file: Path, subfolder: str) -> str:
        """Upload an image to the input folder and return its name there, which differs if the name was taken."""
        import aiohttp

        form = aiohttp.FormData({"type": "input", "subfolder": subfolder}, quote_fields=False)
        try:
            form.add_field("image", file.read_bytes(), filename=file.name, content_type="application/octet-stream")
        except OSError as error:
            raise BadFile(f"{file} can't be read: {error.strerror}") from error
        async with self.request("POST", "/upload/image", data=form) as response:
            kept = await self._json(response)
        if not isinstance(kept, dict) or not kept.get("name"):
            raise Unreachable(f"{self.base} did not return the name of the uploaded {file}")
        return "/".join(filter(None, (str(kept.get("subfolder") or ""), str(kept["name"]))))

    async def listen(self, client_id: str) -> aiohttp.ClientWebSocketResponse[bool]:
        """Open the websocket of a client. Raises NoSocket if the server refuses it."""
        import aiohttp

        try:
            return await self._session.ws_connect(
                self.base + "/ws",
                params={"clientId": client_id},
                heartbeat=HEARTBEAT_SECONDS,
                max_msg_size=LARGEST_FRAME,
            )
        except aiohttp.WSServerHandshakeError as error:
            raise NoSocket(f"{self.base}/ws refuses the websocket ({error.status} {error.message})") from error
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as error:
            raise Unreachable(self._why(error)) from error

    @asynccontextmanager
    async def request(
        self, method: str, path: str, refusal: int = 200, **about: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request. Any status but 200 and `refusal`, and a lost connection, raise an error."""
        import aiohttp

        try:
            async with self._session.request(method, self.base + path, allow_redirects=False, **about) as response:
                if response.status not in (200, refusal):
                    raise self._refused(path, response)
                yield response
        except UserError:
            raise
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as error:
            raise Unreachable(self._why(error)) from error

    async def _json(self, response: aiohttp.ClientResponse) -> Any:
        try:
            return json.loads(await response.read())
        except (ValueError, RecursionError) as error:
            told = f"{response.method} {response.url.path}"
            raise Unreachable(f"{self.base} answers {told} without JSON; name the address of a ComfyUI") from error

    def _refused(self, path: str, response: aiohttp.ClientResponse) -> UserError:
        status, reason = response.status, response.reason or ""
        told = f"{self.base}{path} answers {status} {reason}".rstrip()
        if 300 <= status < 400:
            return Unreachable(
                f"{told} and redirects to {response.headers.get('Location', 'nowhere')}; name the address there"
            )
        if status in (401, 407):
            return Unreachable(f"{told}: it requires a user and password; write http://USER:PASSWORD@…")
        if status == 403:
            return Unreachable(f"{told}: it, or a proxy before it, denies access")
        if status == 413:
            return BadFile(f"{told}: the upload is too large (ComfyUI's --max-upload-size)")
        return Missing(told) if status == 404 else Unreachable(told)

    def _why(self, error: BaseException) -> str:
        """Return a sentence for an error of the HTTP client."""
        import aiohttp

        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            cause = f"its certificate is not trusted: {error.certificate_error}; SSL_CERT_FILE can name one to trust"
        elif isinstance(error, aiohttp.ClientSSLError):
            cause = f"the TLS handshake failed ({error.strerror or error}); without TLS write http://…"
        elif isinstance(error, aiohttp.ClientConnectorError):
            cause = f"no server answers there ({error.strerror or error}); start ComfyUI, or name where it runs"
        elif isinstance(error, asyncio.TimeoutError):
            cause = "it does not answer in time"
        elif isinstance(error, aiohttp.InvalidURL):
            cause = "the address is invalid"
        else:
            cause = f"the connection was lost ({error or type(error).__name__})"
        return f"ComfyUI at {self.base} can't be reached: {cause}"
