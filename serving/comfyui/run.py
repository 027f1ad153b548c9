"""One run on a ComfyUI server: queued, followed on the websocket, read from the history, taken back when broken off."""

from __future__ import annotations

import asyncio
import contextlib
import html
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...pipelines.errors import Interrupted, UserError
from ..console import Console
from ..engine.graph import ApiGraph
from ..engine.results import Event, Results, RunError
from .history import failure_in, messages, ran, shown_by
from .protocol import Answer, Refused, named, place_in, read_frame, refusals
from .routes import ComfyServer, NoSocket, Unreachable

if TYPE_CHECKING:
    import aiohttp

BLOCKED = "Execution Blocked: "


@dataclass(frozen=True)
class Patience:
    """How long what is waited for, in seconds."""

    silence: float = 2.0  # of the websocket, before the server is asked
    blind: float = 0.5  # between two questions without a websocket
    retries: tuple[float, ...] = (0.2, 0.5, 1.0, 2.0)  # before each further try to reach a server that has gone
    farewell: float = 5.0  # for the server to say that it has stopped
    glance: float = 0.1  # between two looks at whether it has; and for the last frames of a run


PATIENCE = Patience()


class RemoteRun:
    """A graph on its way through a server's queue."""

    def __init__(self, server: ComfyServer, graph: ApiGraph, console: Console) -> None:
        self.server, self.graph, self.console = server, graph, console
        self.patience = PATIENCE
        self.prompt_id, self.client_id = str(uuid.uuid4()), uuid.uuid4().hex
        self.results = Results()
        self.begun = self.ended = False
        self.before = 0
        self.current = ""
        self.noticed: set[str] = set()
        self.missed = False
        self.tries = len(self.patience.retries)
        self.socket: aiohttp.ClientWebSocketResponse[bool] | None = None
        self.message: asyncio.Future[Any] | None = None

    async def run(self) -> Results:
        """What the run gives. Cancelled, it is taken out of the queue or interrupted before this ends.

        Raises Refused, NodeError, Interrupted when somebody stops it on the server, RunError when the server is lost.
        """
        try:
            await self._connect()
            await self._submit()
            return self._read(await self._follow())
        except (UserError, RunError, Interrupted):
            raise
        except BaseException:
            await self._take_back()
            raise
        finally:
            await self._disconnect()

    async def _submit(self) -> None:
        body = {"prompt": self.graph, "prompt_id": self.prompt_id, "client_id": self.client_id}
        posting = asyncio.ensure_future(self.server.submit(body))
        try:
            taken, answer = await asyncio.shield(posting)
        except asyncio.CancelledError:  # a prompt on its way can only be taken back when it has arrived
            await asyncio.wait([posting], timeout=self.patience.farewell)
            raise
        self.prompt_id = str(answer.get("prompt_id", self.prompt_id))
        if not taken:
            lacking = [] if answer.get("node_errors") else await self._missing_classes()
            raise Refused(lacking or refusals(answer, self.graph))
        if answer.get("node_errors"):  # the server would run the rest
            await self._take_back()
            raise Refused(refusals(answer, self.graph))

    async def _missing_classes(self) -> list[str]:
        """A sentence for each node whose class the server lacks."""
        names = dict.fromkeys(str(node["class_type"]) for node in self.graph.values() if node.get("class_type"))
        lacking = [name for name in names if await self.server.declaration(name) is None]
        return [
            f"{named(node_id, self.graph)}: the server has no node of this class; install the pack that has it there"
            for node_id, node in self.graph.items()
            if node.get("class_type") in lacking
        ]

    async def _follow(self) -> Answer:
        """What the history has of the run when it has ended."""
        while (entry := await self._insist()) is None:
            await self._listen()
        await self._hear_out()
        return entry

    async def _insist(self) -> Answer | None:
        """Ask how far the run is, several times while the server can't be reached."""
        for pause in self.patience.retries:
            try:
                return await self._ask()
            except Unreachable:
                await asyncio.sleep(pause)
        try:
            return await self._ask()
        except Unreachable as error:
            raise RunError(f"the server was lost during the run: {error}") from error

    async def _ask(self) -> Answer | None:
        """The history's entry; None before the run has ended. Raises RunError when the server knows nothing of it."""
        if entry := await self._entry():
            return entry
        place = place_in(await self.server.ask("/queue"), self.prompt_id)
        if place is None:
            if entry := await self._entry():  # it may have ended between the two questions
                return entry
            raise RunError(
                "the server has lost the run: it was started anew, or someone took the run from its queue; run it again"
            )
        if place.before not in (0, self.before):
            self.console.line(f"waiting: {place.before} before this one in the queue")
            self.before = place.before
        self.begun = self.begun or place.running
        return None

    async def _entry(self) -> Answer | None:
        known = await self.server.ask(f"/history/{self.prompt_id}")
        entry = known.get(self.prompt_id) if isinstance(known, dict) else None
        return entry if isinstance(entry, dict) else None

    async def _listen(self) -> None:
        """Show what the websocket tells, until it is worth asking how far the run is."""
        if self.socket is None:
            await asyncio.sleep(self.patience.blind)
            await self._connect()
            return
        while (message := await self._next_message(self.socket, self.patience.silence)) is not None:
            if not isinstance(message.data, str | bytes):
                await self._disconnect()
                await self._connect()
                return
            if self._show(message.data):
                return

    async def _hear_out(self) -> None:
        """Show what of an ended run is still on its way."""
        while self.socket is not None and not self.ended:
            message = await self._next_message(self.socket, self.patience.glance)
            if message is None or not isinstance(message.data, str | bytes):
                return
            self._show(message.data)

    async def _next_message(self, socket: aiohttp.ClientWebSocketResponse[bool], seconds: float) -> Any:
        """The next message; None when none comes in time."""
        self.message = self.message or asyncio.ensure_future(socket.receive())
        done, _ = await asyncio.wait([self.message], timeout=seconds)
        if not done:
            return None
        message, self.message = self.message.result(), None
        return message

    async def _connect(self) -> None:
        """Open the websocket, if need be without success: then the history is asked again and again."""
        if self.socket is not None or self.tries == 0:
            return
        self.tries -= 1
        try:
            self.socket = await self.server.listen(self.client_id)
        except Unreachable:
            self.missed = True
        except NoSocket as error:
            self.missed, self.tries = True, 0
            self.console.notice(f"{error}: no progress is shown")

    async def _disconnect(self) -> None:
        socket, self.socket = self.socket, None
        if self.message is not None:
            self.message.cancel()
            self.message = None
        if socket is not None:
            self.missed = True
            with contextlib.suppress(Exception):
                await socket.close()

    def _show(self, payload: str | bytes) -> bool:
        """Take note of a frame; whether it is worth asking how far the run is."""
        frame = read_frame(payload)
        if frame is None:
            return False
        data = frame.data
        if frame.type == "status":
            return not self.begun
        if frame.type == "text":
            self._notice(data["node"], html.unescape(data["text"]))
        elif data.get("prompt_id", self.prompt_id) == self.prompt_id and frame.type in SHOWN:
            self.begun, self.tries = True, len(self.patience.retries)
            self.ended = frame.type == "executing" and data.get("node") is None
            SHOWN[frame.type](self, data)
        return self.ended

    def _notice(self, node_id: str, text: str) -> None:
        if self.begun and node_id.partition(".")[0] in self.graph and text not in self.noticed:
            self.noticed.add(text)
            self.results.notices.append(text)
            self.console.notice(text)

    def _start(self, data: Mapping[str, Any]) -> None:
        node_id = data.get("node")
        if node_id is None or node_id == self.current:
            return
        self.current = str(node_id)
        if self.current not in self.results.executed:
            self.results.executed.append(self.current)
        self.console.event(Event("start", self.current, *self._shown_at(data)))

    def _progress(self, data: Mapping[str, Any]) -> None:
        with contextlib.suppress(KeyError, TypeError, ValueError):
            if data.get("node") in (None, self.current):
                self.console.progress(int(data["value"]), int(data["max"]))

    def _cached(self, data: Mapping[str, Any]) -> None:
        self.results.cached = [str(node_id) for node_id in data.get("nodes") or []]

    def _found_in_cache(self, data: Mapping[str, Any]) -> None:
        self._cached(data)
        if self.results.cached:
            self.console.line(f"from the server's cache: {len(self.results.cached)} of {len(self.graph)} nodes")

    def _blocked(self, data: Mapping[str, Any]) -> None:
        if data.get("exception_type") == "ExecutionBlocked":
            node_id, text = str(data.get("node_id")), str(data.get("exception_message"))
            self.results.blocked[node_id] = text.removeprefix(BLOCKED)
            self.console.event(Event("blocked", node_id, *self._shown_at(data), text.removeprefix(BLOCKED)))

    def _shown_at(self, data: Mapping[str, Any]) -> tuple[str, str]:
        """The class of the node that a frame tells of, and the node that it is shown at."""
        shown = str(data.get("display_node") or data.get("node") or data.get("node_id"))
        shown = shown if shown in self.graph else shown.partition(".")[0]
        return str(self.graph.get(shown, {}).get("class_type", "")), shown

    def _read(self, entry: Answer) -> Results:
        """The results that the history tells, and why there are none."""
        results = self.results
        results.ui = shown_by(entry, self.graph)
        for cached in messages(entry, "execution_cached"):
            self._cached(cached)
        if stops := messages(entry, "execution_interrupted"):
            where = named(str(stops[-1].get("node_id")), self.graph)
            self.console.notice(f"the run was stopped on the server, at {where}")
            raise Interrupted
        if (failure := failure_in(entry, results)) is not None:
            raise failure
        if self.missed or not self.ended:
            results.executed = ran(entry, self.graph, results)
        return results

    async def _take_back(self) -> None:
        """Take the run out of the queue, or interrupt it, until the server has it no more."""
        try:
            await asyncio.wait_for(self._until_gone(), self.patience.farewell)
        except asyncio.TimeoutError:
            self.console.notice("the server was asked to stop the run, and has not confirmed it yet")
        except Unreachable as error:
            self.console.notice(f"the server can't be asked to stop the run: {error}")

    async def _until_gone(self) -> None:
        while (place := place_in(await self.server.ask("/queue"), self.prompt_id)) is not None:
            if place.running:
                await self.server.tell("/interrupt", {"prompt_id": self.prompt_id})
            else:
                await self.server.tell("/queue", {"delete": [self.prompt_id]})
            await asyncio.sleep(self.patience.glance)


SHOWN = {
    "execution_start": lambda run, data: None,
    "execution_cached": RemoteRun._found_in_cache,
    "executing": RemoteRun._start,
    "progress": RemoteRun._progress,
    "execution_error": RemoteRun._blocked,
}
