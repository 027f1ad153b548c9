"""A small server that speaks ComfyUI's protocol on 127.0.0.1, with the manners, good and bad, that a test asks for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSCloseCode, web

PICTURE = b"the bytes of a picture"
BROKEN_OFF = ("error", "our error", "unexplained", "interrupted", "forgets", "dies")
"""endings at the first node"""
LOGIN = "Basic bWU6YTpiQMO8"
"""`me` with the password `a:b@ü`"""
OBJECT_INFO: dict[str, Any] = {
    name: {"input": inputs, "output": ["IMAGE"], "output_name": ["IMAGE"], "output_node": name == "SaveImage"}
    for name, inputs in {
        "LoadImage": {"required": {"image": [["a.png"], {}]}},
        "Twist": {"required": {"image": ["IMAGE"], "amount": ["FLOAT", {"default": 1.0}], "name": ["STRING", {}]}},
        "SaveImage": {"required": {"images": ["IMAGE"], "filename_prefix": ["STRING", {}]}},
        "FooocusPrompt": {"required": {"text": ["STRING", {}]}},
    }.items()
}


@dataclass
class Manners:
    """What a test can ask of the server."""

    socket: str = "open"
    """open, refused, closes (once, amid the run), always closes, silent"""
    ending: str = "success"
    """success, error, our error, interrupted, blocked, unexplained, forgets, dies, waits (until it is stopped),
    never begins"""
    at_front: str = ""
    """what stands before the server: html, login, moved, a status such as 403, nothing"""
    refusal: dict[str, Any] | None = None
    """the answer to /prompt, with status 400"""
    dropped: dict[str, Any] = field(default_factory=dict)
    """node_errors of outputs that are dropped"""
    ahead: int = 0
    """runs that are in the queue before ours; one ends each time that the queue is asked for"""
    deaf: bool = False
    """interrupts are taken, and change nothing"""
    outputs: dict[str, Any] = field(
        default_factory=lambda: {"3": {"images": [{"filename": "x_00001_.png", "subfolder": "", "type": "output"}]}}
    )
    files: dict[tuple[str, str, str], bytes] = field(default_factory=lambda: {("output", "", "x_00001_.png"): PICTURE})
    cached: tuple[str, ...] = ()
    prefix: str = ""
    tls: ssl.SSLContext | None = None


class SmallComfy:
    """The server in a thread, for the time of a `with`. What it was asked for is in its lists."""

    def __init__(self, manners: Manners) -> None:
        self.manners = manners
        self.prompts: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.stops: list[str] = []
        self.input: dict[str, bytes] = {}
        self.history: dict[str, Any] = {}
        self.pending: list[str] = []
        self.running: list[str] = []
        self.sockets: dict[str, web.WebSocketResponse] = {}
        self.connections = 0
        self.waits = threading.Event()

    def __enter__(self) -> SmallComfy:
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)))
        self._thread.start()
        assert ready.wait(30)
        return self

    def __exit__(self, *raised: object) -> None:
        with contextlib.suppress(RuntimeError):  # it may be dead already
            self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(30)

    @property
    def url(self) -> str:
        scheme = "https" if self.manners.tls else "http"
        return f"{scheme}://127.0.0.1:{self.port}{self.manners.prefix}"

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        self._stopped = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        app = web.Application(middlewares=[self._front])
        at = self.manners.prefix
        routes = {
            "GET /system_stats": self._stats,
            "GET /object_info/{name}": self._object_info,
            "GET /history/{id}": self._history,
            "GET /queue": self._queue,
            "POST /queue": self._delete,
            "POST /interrupt": self._interrupt,
            "POST /prompt": self._prompt,
            "POST /upload/image": self._upload,
            "GET /view": self._view,
            "GET /ws": self._listen,
        }
        for route, handler in routes.items():
            method, path = route.split()
            app.router.add_route(method, at + path, handler)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self.manners.tls)
        await site.start()
        self.port = runner.addresses[0][1]
        ready.set()
        await self._over.wait()
        for task in self._tasks:
            task.cancel()
        await runner.cleanup()

    @web.middleware
    async def _front(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path}")
        front = self.manners.at_front
        if front == "html":
            return web.Response(text="<h1>It works</h1>", content_type="text/html")
        if front == "login" and request.headers.get("Authorization") != LOGIN:
            return web.Response(status=401)
        if front == "moved":
            return web.Response(status=308, headers={"Location": "https://elsewhere.example/"})
        if front.isdigit():
            return web.Response(status=int(front))
        if "Origin" in request.headers:
            return web.Response(status=403)
        return await handler(request)

    async def _stats(self, request: web.Request) -> web.Response:
        return _json({"system": {"comfyui_version": "0.3.64"}, "devices": []})

    async def _object_info(self, request: web.Request) -> web.Response:
        return _json(_only(OBJECT_INFO, request.match_info["name"]))

    async def _history(self, request: web.Request) -> web.Response:
        return _json(_only(self.history, request.match_info["id"]))

    async def _queue(self, request: web.Request) -> web.Response:
        waiting = [[number, name, {}, {}, []] for number, name in enumerate(self.pending)]
        answer = {"queue_running": [[0, name, {}, {}, []] for name in self.running], "queue_pending": waiting[::-1]}
        if self.manners.ahead:
            self.manners.ahead -= 1
            self.running = [self.pending.pop(0)] if self.manners.ahead else []
            await self._send_all("status", {"status": {"exec_info": {"queue_remaining": len(self.pending)}}})
        return _json(answer)

    async def _delete(self, request: web.Request) -> web.Response:
        for name in (await request.json())["delete"]:
            self.stops.append(f"delete {name == self.prompts[-1]['prompt_id']}")
            self.pending = [waiting for waiting in self.pending if waiting != name]
        return web.Response()

    async def _interrupt(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.stops.append(f"interrupt {body.get('prompt_id') == self.prompts[-1]['prompt_id']}")
        if not self.manners.deaf:
            self._stopped.set()
        return web.Response()

    async def _prompt(self, request: web.Request) -> web.Response:
        body = await request.json()
        if self.manners.refusal is not None:
            return _json(self.manners.refusal, status=400)
        self.prompts.append(body)
        others = [f"other-{number}" for number in range(self.manners.ahead)]
        self.running, self.pending = others[:1], [*others[1:], body["prompt_id"]]
        self._tasks.append(asyncio.create_task(self._run(body)))
        answer = {"prompt_id": body["prompt_id"], "number": 1, "node_errors": self.manners.dropped}
        return _json(answer)

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        sent = form["image"]
        assert isinstance(sent, web.FileField)
        content, folder = sent.file.read(), str(form["subfolder"])
        stem, _, suffix = sent.filename.rpartition(".")
        name, number = sent.filename, 1
        while self.input.get(f"{folder}/{name}".lstrip("/"), content) != content:
            name, number = f"{stem} ({number}).{suffix}", number + 1
        self.input[f"{folder}/{name}".lstrip("/")] = content
        return _json({"name": name, "subfolder": folder, "type": "input"})

    async def _view(self, request: web.Request) -> web.Response:
        query = request.query
        content = self.manners.files.get((query["type"], query["subfolder"], query["filename"]))
        return web.Response(status=404) if content is None else web.Response(body=content)

    async def _listen(self, request: web.Request) -> web.StreamResponse:
        if self.manners.socket == "refused":
            return web.Response(status=403)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.connections += 1
        if self.manners.socket == "always closes":
            await socket.close()
            return socket
        name = request.query["clientId"] if self.manners.socket != "silent" else f"unknown-{self.connections}"
        self.sockets[name] = socket
        await socket.send_json({"type": "status", "data": {"status": {}, "sid": name}})
        async for _ in socket:
            pass
        return socket

    async def _send_all(self, kind: str, data: dict[str, Any]) -> None:
        for socket in [socket for socket in self.sockets.values() if not socket.closed]:
            await socket.send_json({"type": kind, "data": data})

    async def _send(self, body: dict[str, Any], kind: str, data: dict[str, Any]) -> None:
        socket = self.sockets.get(body["client_id"])
        if socket is not None and not socket.closed:
            await socket.send_json({"type": kind, "data": {**data, "prompt_id": body["prompt_id"]}})

    async def _send_bytes(self, body: dict[str, Any], payload: bytes) -> None:
        socket = self.sockets.get(body["client_id"])
        if socket is not None and not socket.closed:
            await socket.send_bytes(payload)

    async def _run(self, body: dict[str, Any]) -> None:
        """What the server does with a prompt: frames for each node, then the history, then the frame of the end."""
        if self.manners.ending == "never begins":
            return
        while self.running or self.pending[:1] != [body["prompt_id"]]:
            await asyncio.sleep(0.01)
        self.running = [self.pending.pop(0)]
        ending = self.manners.ending
        told: list[Any] = []

        async def tell(kind: str, **data: Any) -> None:
            told.append([kind, {**data, "prompt_id": body["prompt_id"]}])
            await self._send(body, kind, data)

        await tell("execution_start")
        await tell("execution_cached", nodes=list(self.manners.cached))
        nodes = [node_id for node_id in body["prompt"] if node_id not in self.manners.cached]
        left_out = nodes[1:] if ending in BROKEN_OFF else []
        for node_id in nodes[: len(nodes) - len(left_out)]:
            await self._node(body, node_id)
        await self._end(body, ending, tell)
        if ending in ("forgets", "dies"):
            return
        status = {"status_str": "success" if ending in ("success", "blocked") else "error", "messages": told}
        queued = [0, body["prompt_id"], body["prompt"], {}, ["3"]]
        outputs = {node_id: shown for node_id, shown in self.manners.outputs.items() if node_id not in left_out}
        self.history[body["prompt_id"]] = {"prompt": queued, "outputs": outputs, "status": status}
        self.running = []
        await self._send(body, "executing", {"node": None})

    async def _node(self, body: dict[str, Any], node_id: str) -> None:
        name = body["prompt"][node_id]["class_type"]
        await self._send(body, "executing", {"node": node_id, "display_node": node_id})
        if self.manners.socket == "closes":
            self.manners.socket = "open"
            await self.sockets[body["client_id"]].close(code=WSCloseCode.GOING_AWAY)
            await asyncio.sleep(0.05)
        if name == "Twist":
            text = b"sharp &amp; clear\nbright"
            await self._send_bytes(body, struct.pack(">II", 3, len(node_id)) + node_id.encode() + text)
            for step in (1, 2):
                await self._send(body, "progress", {"value": step, "max": 2, "node": node_id})
                await self._send_bytes(body, struct.pack(">II", 1, 1) + PICTURE)
            await self._send(body, "progress", {"value": 1, "max": 2, "node": "of another"})

    async def _end(self, body: dict[str, Any], ending: str, tell: Callable[..., Awaitable[None]]) -> None:
        at = {"node_id": "1", "node_type": "LoadImage"}
        if ending == "error":
            told = {
                "exception_type": "torch.OutOfMemoryError",
                "exception_message": "no room\n",
                "traceback": ["here\n"],
            }
            await tell("execution_error", **at, **told)
        elif ending == "our error":
            kind = "/x/custom_nodes/fooocus-stages.pipelines.errors.MissingFile"
            await tell("execution_error", **at, exception_type=kind, exception_message="it is not there\n")
        elif ending == "interrupted":
            await tell("execution_interrupted", **at)
        elif ending == "blocked":
            blocked = {"exception_type": "ExecutionBlocked", "exception_message": "Execution Blocked: no face"}
            await self._send(body, "execution_error", {**at, **blocked})
        elif ending == "waits":
            self.waits.set()
            await self._stopped.wait()
            await tell("execution_interrupted", **at)
        elif ending == "forgets":
            self.running = []
            await self._send_all("status", {})
            await self.sockets[body["client_id"]].close()
        elif ending == "dies":
            self._loop.call_soon(self._over.set)


def _json(data: Any, status: int = 200) -> web.Response:
    return web.Response(text=json.dumps(data), status=status, content_type="application/json")


def _only(known: dict[str, Any], name: str) -> dict[str, Any]:
    return {name: known[name]} if name in known else {}
