"""The cdn service: uploads of the Python client, and the files themselves."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

from aiohttp import web

from ..addresses import Call, own_address
from ..bodies import chunks
from ..gateway import Gateway, json_reply, read_json
from ..outcomes import Problem
from ..records import FILES
from ..storage import too_large
from .queue import lifetime_of

PART = re.compile(r"(?P<token>[^/]+)(?:/(?P<name>[^/]*))?(?:/multipart/[^/]+)?/(?P<part>\d+|complete)")
SHOWN = ("image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp", "image/avif")


async def handle(gateway: Gateway, call: Call) -> web.StreamResponse:
    """Answer a call to the cdn service. Raises Problem."""
    if call.path.startswith(FILES):
        return await handle_file(gateway, call.http, call.path.removeprefix(FILES))
    if call.http.method != "POST" or call.path not in ("/files/upload", "/files/upload/multipart"):
        raise Problem(404, f"there is no {call.path[:64]!r} here", "not_found")
    headers = call.http.headers
    name, media_type = headers.get("X-Fal-File-Name", ""), headers.get("Content-Type", "")
    file = await gateway.uploads.begin(name, media_type, lifetime_of(call))
    url = own_address(call.http, gateway.settings.public_url) + file.url
    if call.path.endswith("/multipart"):
        return json_reply({"access_url": url, "uploadId": file.token[:8], "upload_id": file.token[:8]})
    await gateway.uploads.receive(file, content_of(gateway, call.http))
    return json_reply({"access_url": url})


async def handle_file(gateway: Gateway, request: web.Request, path: str) -> web.StreamResponse:
    """Answer a call to a file's own URL, which needs no key: GET it, PUT its content or a part, complete it."""
    if request.method in ("GET", "HEAD"):
        return await send(gateway, path.split("/")[0])
    parted = PART.fullmatch(path)
    if request.method == "PUT" and (parted is None or parted["part"] == "complete"):
        file = await gateway.uploads.find(path.split("/")[0])
        await gateway.uploads.receive(file, content_of(gateway, request))
        return json_reply({})
    if request.method == "PUT" and parted is not None:
        file = await gateway.uploads.find(parted["token"])
        number = int(parted["part"])
        tag = await gateway.uploads.receive_part(file, number, content_of(gateway, request))
        return json_reply({"partNumber": number, "etag": tag}, headers={"ETag": f'"{tag}"'})
    if request.method == "POST" and parted is not None and parted["part"] == "complete":
        body, _ = await read_json(request, gateway.settings, 1 << 20)
        parts = body.get("parts", [])
        numbers = (
            [part.get("partNumber") for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
        )
        file = await gateway.uploads.find(parted["token"])
        await gateway.uploads.complete(file, [number for number in numbers if isinstance(number, int)])
        return json_reply({})
    raise Problem(405, "use GET, or PUT to upload", headers={"Allow": "GET, HEAD, PUT"})


async def send(gateway: Gateway, token: str) -> web.StreamResponse:
    """Send a file; pictures can be shown by a browser, everything else is only saved."""
    file = await gateway.uploads.find(token)
    path = gateway.uploads.path_of(file)
    if not file.complete or file.kind == "inline" or not path.is_file():
        raise Problem(404, "there is no such file; it may have expired", "not_found")
    shown = file.media_type in SHOWN
    name = file.name.encode("ascii", "replace").decode().replace("?", "_").replace('"', "_")
    headers = {
        "Content-Type": file.media_type if shown else "application/octet-stream",
        "Content-Disposition": f'{"inline" if shown else "attachment"}; filename="{name}"',
        "Cache-Control": "private, max-age=300",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "X-Content-Type-Options": "nosniff",
    }
    return web.FileResponse(path, headers=headers)


def content_of(gateway: Gateway, request: web.Request) -> AsyncIterator[bytes]:
    """Return the body in chunks. Raises Problem while they are read."""
    most = gateway.settings.max_upload
    return chunks(request, gateway.settings, most, too_large(most))
