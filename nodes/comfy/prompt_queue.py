"""ComfyUI's prompt queue and the messages of its executor."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .folders import folders_of

if TYPE_CHECKING:
    from aiohttp import web

Graph = Mapping[str, Mapping[str, Any]]
Receive = Callable[[str, Mapping[str, Any]], None]
PREVIEW, TEXT = 1, 3
MEDIA_TYPES = {1: "image/jpeg", 2: "image/png"}


class PromptQueue:
    """Puts prompts into the queue of the ComfyUI that this process is, and hears what a page would hear about them.

    `receive(kind, data)` is called in ComfyUI's event loop with the messages of its websocket, with "text" (node, text)
    for a text on a node and with "preview" (media_type, image). A "status" says that the queue has changed. Use it in
    that loop, or from the threads of ComfyUI where a method says so.
    """

    def __init__(self, name: str, receive: Receive) -> None:
        from server import PromptServer

        self._server, self._name = PromptServer.instance, name
        self._server.sockets[name] = _Listener(receive)

    def close(self) -> None:
        """Hear no more."""
        self._server.sockets.pop(self._name, None)

    async def put(self, id: str, graph: Graph) -> str:
        """Check a prompt and queue it as "Run" does. Returns why it can't run, '' if it was queued."""
        server = self._server
        asked = server.trigger_on_prompt({"prompt": graph, "client_id": self._name, "prompt_id": id})
        prompt = asked["prompt"]
        runs, error, outputs, node_errors = await _comfys("execution").validate_prompt(id, prompt, None)
        if not runs:
            return _sentence(error, node_errors)
        number, server.number = server.number, server.number + 1
        has_sensitive = "process_item" in inspect.signature(server.prompt_queue.task_done).parameters
        item = (number, id, prompt, {"client_id": self._name}, outputs, *([{}] if has_sensitive else []))
        server.prompt_queue.put(item)
        return ""

    def state(self, id: str) -> Literal["waiting", "running", "finished", "gone"]:
        """Return where a prompt is. From any thread."""
        running, waiting = self._server.prompt_queue.get_current_queue_volatile()
        if any(item[1] == id for item in waiting):
            return "waiting"
        if any(item[1] == id for item in running):
            return "running"
        return "finished" if self.history(id) is not None else "gone"

    def history(self, id: str) -> Mapping[str, Any] | None:
        """Return the entry of a prompt in the history; None for one that has not ended, or was removed."""
        entry: Mapping[str, Any] | None = self._server.prompt_queue.get_history(prompt_id=id).get(id)
        return entry

    def cancel(self, id: str) -> None:
        """Remove a prompt from the queue, or interrupt it if it runs. From any thread."""
        queue = self._server.prompt_queue
        if queue.delete_queue_item(lambda item: item[1] == id):
            return
        with queue.mutex:  # so that the next prompt can't begin in between
            if any(item[1] == id for item in queue.currently_running.values()):
                _comfys("nodes").interrupt_processing()


def add_application(prefix: str, app: web.Application) -> None:
    """Serve an application of aiohttp below a path of ComfyUI's server, which has not started yet."""
    from aiohttp import web
    from server import PromptServer

    async def with_slash(request: web.Request) -> web.Response:
        raise web.HTTPFound(f"{prefix}/")

    PromptServer.instance.app.router.add_get(prefix, with_slash)
    PromptServer.instance.app.add_subapp(prefix, app)


def folder_of(kind: str) -> Path:
    """Return a folder of ComfyUI: "input", "output", "temp", or the first folder of a kind of models."""
    import folder_paths

    if kind in ("input", "output", "temp"):
        return Path(folder_paths.get_directory_by_type(kind))
    return folders_of(kind)[0]


def state_folder() -> Path:
    """Return ComfyUI's folder for private data of the pack, which none of its own routes serves."""
    import folder_paths

    return Path(folder_paths.get_user_directory()) / "__fooocus_stages"


def class_of(class_type: str) -> type[Any] | None:
    """Return the class of a node; None for an unknown one."""
    found: type[Any] | None = _comfys("nodes").NODE_CLASS_MAPPINGS.get(class_type)
    return found


def device_name() -> str:
    """Return the device on which ComfyUI draws."""
    from comfy import model_management

    return str(model_management.get_torch_device())


def listens_to() -> list[str]:
    """Return the addresses at which ComfyUI listens."""
    from comfy.cli_args import args

    return [one.strip() for one in str(args.listen).split(",")]


def _comfys(name: str) -> Any:
    """Return a module of ComfyUI, some of whose names are also those of the pack's rooms."""
    return importlib.import_module(name)


class _Listener:
    """Stands among ComfyUI's websockets and hands on what would be sent through it."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive

    async def send_json(self, message: Mapping[str, Any]) -> None:
        self._receive(str(message["type"]), message["data"])

    async def send_bytes(self, data: bytes | bytearray) -> None:
        content = bytes(data)
        kind, number = int.from_bytes(content[:4], "big"), int.from_bytes(content[4:8], "big")
        if kind == PREVIEW:
            self._receive("preview", {"media_type": MEDIA_TYPES.get(number, "image/jpeg"), "image": content[8:]})
        elif kind == TEXT:
            node, text = content[8 : 8 + number].decode(), content[8 + number :].decode("utf-8", "replace")
            self._receive("text", {"node": node, "text": text})


def _sentence(error: Mapping[str, Any], node_errors: Mapping[str, Any]) -> str:
    """Return what is wrong with a prompt: of its nodes where they are named, else of the whole."""
    of_nodes = [
        f"node {node} ({about.get('class_type')}): {one.get('details') or one.get('message')}"
        for node, about in node_errors.items()
        for one in about.get("errors", ())
    ]
    return "; ".join(of_nodes) or f"{error.get('message')} {error.get('details') or ''}".strip()
