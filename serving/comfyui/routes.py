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
from .protocol import Address, JsonObject

if TYPE_CHECKING:
    import aiohttp

CONNECT_SECONDS = 10
RESPONSE_SECONDS = 60  # for a response, or between two chunks of a file
HEARTBEAT_SECONDS = 30
LARGEST_FRAME = 2**28


class Unreachable(UserError):
    """The server does not respond, or is not a ComfyUI."""


class NotFound(Unreachable):
    """The server has no such path (404)."""


class WebSocketRefused(UserError):
    """The server responds but refuses the websocket."""


class ComfyServer:
    """A ComfyUI at an address; create, use and close it in one event loop."""

    def __init__(self, address: Address) -> None:
        try:
            import aiohttp
        except ImportError as error:
            raise MissingFile("--comfyui needs aiohttp; install it: pip install aiohttp") from error
        timeout = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=RESPONSE_SECONDS)
        self.base = address.base
        self._session = aiohttp.ClientSession(headers=address.headers, timeout=timeout)

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def check(self) -> None:
        """Check that the server is a ComfyUI. Raises Unreachable."""
        try:
            stats = await self.get("/system_stats")
        except NotFound as error:
            raise Unreachable(f"{self.base} is not a ComfyUI ({error}); check the path of the address") from error
        if not isinstance(stats, dict) or not isinstance(stats.get("system"), dict):
            raise Unreachable(f"{self.base} is not a ComfyUI; give the address of one")

    async def get(self, path: str, **parameters: str) -> Any:
        """Return the JSON of a GET request."""
        async with self.request("GET", path, params=parameters) as response:
            return await self._json(response)

    async def declaration(self, class_type: str) -> JsonObject | None:
        """Return the server's declaration of a node class; None if it has no such class."""
        try:
            known = await self.get(f"/object_info/{quote(class_type, safe='')}")
        except NotFound:
            return None
        info = known.get(class_type) if isinstance(known, dict) else None
        return info if isinstance(info, dict) else None

    async def post(self, path: str, body: JsonObject) -> None:
        """Post JSON to a route that returns nothing."""
        async with self.request("POST", path, json=body):
            pass

    async def submit(self, body: JsonObject) -> tuple[bool, JsonObject]:
        """Submit a prompt; return whether the server accepted it, and its response."""
        async with self.request("POST", "/prompt", refusal=400, json=body) as response:
            content = await self._json(response)
            return response.status == 200, content if isinstance(content, dict) else {}

    async def upload(self, file: Path, subfolder: str) -> str:
        """Upload an image to the input folder and return its name there; it differs if the name was already used."""
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
        """Open the websocket of a client. Raises WebSocketRefused if the server refuses it."""
        import aiohttp

        try:
            return await self._session.ws_connect(
                self.base + "/ws",
                params={"clientId": client_id},
                heartbeat=HEARTBEAT_SECONDS,
                max_msg_size=LARGEST_FRAME,
            )
        except aiohttp.WSServerHandshakeError as error:
            raise WebSocketRefused(f"{self.base}/ws refuses the websocket ({error.status} {error.message})") from error
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as error:
            raise Unreachable(self._explanation(error)) from error

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
            raise Unreachable(self._explanation(error)) from error

    async def _json(self, response: aiohttp.ClientResponse) -> Any:
        try:
            return json.loads(await response.read())
        except (ValueError, RecursionError) as error:
            request = f"{response.method} {response.url.path}"
            raise Unreachable(
                f"{self.base} responds to {request} with something else than JSON; give the address of a ComfyUI"
            ) from error

    def _refused(self, path: str, response: aiohttp.ClientResponse) -> UserError:
        status, reason = response.status, response.reason or ""
        failure = f"{self.base}{path} responded with {status} {reason}".rstrip()
        if 300 <= status < 400:
            location = response.headers.get("Location", "nowhere")
            return Unreachable(f"{failure} and redirects to {location}; give the address that it redirects to")
        if status in (401, 407):
            return Unreachable(f"{failure}: it requires a user and password; write http://USER:PASSWORD@…")
        if status == 403:
            return Unreachable(f"{failure}: it, or a proxy in front of it, denies access")
        if status == 413:
            return BadFile(f"{failure}: the upload is too large (ComfyUI's --max-upload-size)")
        return NotFound(failure) if status == 404 else Unreachable(failure)

    def _explanation(self, error: BaseException) -> str:
        """Return a sentence for an error of the HTTP client."""
        import aiohttp

        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            cause = f"its certificate is not trusted: {error.certificate_error}; SSL_CERT_FILE can name one to trust"
        elif isinstance(error, aiohttp.ClientSSLError):
            cause = f"the TLS handshake failed ({error.strerror or error}); without TLS write http://…"
        elif isinstance(error, aiohttp.ClientConnectorError):
            cause = f"no server responds ({error.strerror or error}); start ComfyUI, or correct the address"
        elif isinstance(error, asyncio.TimeoutError):
            cause = "it does not respond in time"
        elif isinstance(error, aiohttp.InvalidURL):
            cause = "the address is invalid"
        else:
            cause = f"the connection was lost ({error or type(error).__name__})"
        return f"ComfyUI at {self.base} can't be reached: {cause}"
