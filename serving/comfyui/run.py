"""One run on a ComfyUI server: submitted, followed on the websocket, read from the history, cancelled on a signal."""

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
from .history import executed_nodes, failure_in, messages, ui_outputs
from .protocol import JsonObject, Refused, named, place_in, read_frame, refusal_reasons
from .routes import ComfyServer, Unreachable, WebSocketRefused

if TYPE_CHECKING:
    import aiohttp

BLOCKED = "Execution Blocked: "


@dataclass(frozen=True)
class Timeouts:
    """Timeouts and intervals, in seconds."""

    websocket_idle: float = 2.0  # before the history is polled
    poll_interval: float = 0.5  # between two polls without a websocket
    retry_delays: tuple[float, ...] = (0.2, 0.5, 1.0, 2.0)  # while the server can't be reached
    cancel: float = 5.0  # for the server to confirm that the run has stopped
    last_frames: float = 0.1  # for the last frames of a run, and between two polls of a cancelled one


TIMEOUTS = Timeouts()


class RemoteRun:
    """A graph that is run through a server's queue."""

    def __init__(self, server: ComfyServer, graph: ApiGraph, console: Console) -> None:
        self.server, self.graph, self.console = server, graph, console
        self.timeouts = TIMEOUTS
        self.prompt_id, self.client_id = str(uuid.uuid4()), uuid.uuid4().hex
        self.results = Results()
        self.started = self.ended = False
        self.ahead = 0
        self.current = ""
        self.shown_notices: set[str] = set()
        self.missed_frames = False
        self.tries = len(self.timeouts.retry_delays)
        self.socket: aiohttp.ClientWebSocketResponse[bool] | None = None
        self.message: asyncio.Future[Any] | None = None

    async def run(self) -> Results:
        """Run the graph and return its results. If this task is cancelled, the run is cancelled on the server first.

        Raises Refused, NodeError, Interrupted if the run is stopped on the server, and RunError if the server is lost.
        """
        try:
            await self._connect()
            await self._submit()
            return self._completed_results(await self._follow())
        except (UserError, RunError, Interrupted):
            raise
        except BaseException:
            await self._cancel()
            raise
        finally:
            await self._disconnect()

    async def _submit(self) -> None:
        body = {"prompt": self.graph, "prompt_id": self.prompt_id, "client_id": self.client_id}
        posting = asyncio.ensure_future(self.server.submit(body))
        try:
            accepted, response = await asyncio.shield(posting)
        except asyncio.CancelledError:  # a prompt can only be cancelled once it has arrived
            await asyncio.wait([posting], timeout=self.timeouts.cancel)
            raise
        self.prompt_id = str(response.get("prompt_id", self.prompt_id))
        if not accepted:
            missing = [] if response.get("node_errors") else await self._missing_classes()
            raise Refused(missing or refusal_reasons(response, self.graph))
        if response.get("node_errors"):  # the server would run the rest of the graph
            await self._cancel()
            raise Refused(refusal_reasons(response, self.graph))

    async def _missing_classes(self) -> list[str]:
        """Return a sentence for each node whose class the server does not have."""
        names = dict.fromkeys(str(node["class_type"]) for node in self.graph.values() if node.get("class_type"))
        missing = [name for name in names if await self.server.declaration(name) is None]
        return [
            f"{named(node_id, self.graph)}: the server has no node of this class; install the pack that has it there"
            for node_id, node in self.graph.items()
            if node.get("class_type") in missing
        ]

    async def _follow(self) -> JsonObject:
        """Follow the run until it has ended; return its history entry."""
        while (entry := await self._poll_with_retries()) is None:
            await self._receive_until_poll()
        await self._receive_remaining()
        return entry

    async def _poll_with_retries(self) -> JsonObject | None:
        """Poll the run, with retries while the server can't be reached."""
        for pause in self.timeouts.retry_delays:
            try:
                return await self._poll()
            except Unreachable:
                await asyncio.sleep(pause)
        try:
            return await self._poll()
        except Unreachable as error:
            raise RunError(f"the connection to the server was lost during the run: {error}") from error

    async def _poll(self) -> JsonObject | None:
        """Return the history entry; None before the run has ended. Raises RunError if the server lost the run."""
        if entry := await self._history_entry():
            return entry
        place = place_in(await self.server.get("/queue"), self.prompt_id)
        if place is None:
            if entry := await self._history_entry():  # it may have ended between the two requests
                return entry
            raise RunError(
                "the server no longer knows the run: it was restarted, or the run was deleted from its queue; run the "
                "workflow again"
            )
        if place.ahead not in (0, self.ahead):
            self.console.line(f"waiting: {place.ahead} ahead of this run in the queue")
            self.ahead = place.ahead
        self.started = self.started or place.running
        return None

    async def _history_entry(self) -> JsonObject | None:
        known = await self.server.get(f"/history/{self.prompt_id}")
        entry = known.get(self.prompt_id) if isinstance(known, dict) else None
        return entry if isinstance(entry, dict) else None

    async def _receive_until_poll(self) -> None:
        """Show the frames of the websocket until it is time to poll."""
        if self.socket is None:
            await asyncio.sleep(self.timeouts.poll_interval)
            await self._connect()
            return
        while (message := await self._next_message(self.socket, self.timeouts.websocket_idle)) is not None:
            if not isinstance(message.data, str | bytes):
                await self._disconnect()
                await self._connect()
                return
            if self._show(message.data):
                return

    async def _receive_remaining(self) -> None:
        """Show the remaining frames of a run that has ended."""
        while self.socket is not None and not self.ended:
            message = await self._next_message(self.socket, self.timeouts.last_frames)
            if message is None or not isinstance(message.data, str | bytes):
                return
            self._show(message.data)

    async def _next_message(self, socket: aiohttp.ClientWebSocketResponse[bool], seconds: float) -> Any:
        """Return the next message; None after `seconds` without one."""
        self.message = self.message or asyncio.ensure_future(socket.receive())
        done, _ = await asyncio.wait([self.message], timeout=seconds)
        if not done:
            return None
        message, self.message = self.message.result(), None
        return message

    async def _connect(self) -> None:
        """Open the websocket; without one the history is polled."""
        if self.socket is not None or self.tries == 0:
            return
        self.tries -= 1
        try:
            self.socket = await self.server.listen(self.client_id)
        except Unreachable:
            self.missed_frames = True
        except WebSocketRefused as error:
            self.missed_frames, self.tries = True, 0
            self.console.notice(f"{error}: no progress is shown")

    async def _disconnect(self) -> None:
        socket, self.socket = self.socket, None
        if self.message is not None:
            self.message.cancel()
            self.message = None
        if socket is not None:
            self.missed_frames = True
            with contextlib.suppress(Exception):
                await socket.close()

    def _show(self, payload: str | bytes) -> bool:
        """Show a frame; return whether it is time to poll."""
        frame = read_frame(payload)
        if frame is None:
            return False
        data = frame.data
        if frame.type == "status":
            return not self.started
        if frame.type == "text":
            for line in html.unescape(data["text"]).splitlines():
                self._notice(data["node"], line)
        elif data.get("prompt_id", self.prompt_id) == self.prompt_id and frame.type in SHOWN:
            self.started, self.tries = True, len(self.timeouts.retry_delays)
            self.ended = frame.type == "executing" and data.get("node") is None
            SHOWN[frame.type](self, data)
        return self.ended

    def _notice(self, node_id: str, text: str) -> None:
        if self.started and node_id.partition(".")[0] in self.graph and text not in self.shown_notices:
            self.shown_notices.add(text)
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
        """Return the class of a frame's node, and the node at which it is shown."""
        shown = str(data.get("display_node") or data.get("node") or data.get("node_id"))
        shown = shown if shown in self.graph else shown.partition(".")[0]
        return str(self.graph.get(shown, {}).get("class_type", "")), shown

    def _completed_results(self, entry: JsonObject) -> Results:
        """Complete the results from the history entry. Raises Interrupted and the failure of the run."""
        results = self.results
        results.ui = ui_outputs(entry, self.graph)
        for cached in messages(entry, "execution_cached"):
            self._cached(cached)
        if stops := messages(entry, "execution_interrupted"):
            where = named(str(stops[-1].get("node_id")), self.graph)
            self.console.notice(f"the run was stopped on the server, at {where}")
            raise Interrupted
        if (failure := failure_in(entry, results)) is not None:
            raise failure
        if self.missed_frames or not self.ended:
            results.executed = executed_nodes(entry, self.graph, results)
        return results

    async def _cancel(self) -> None:
        """Delete the run from the queue or interrupt it, and wait until the server has stopped it."""
        try:
            await asyncio.wait_for(self._cancel_until_gone(), self.timeouts.cancel)
        except asyncio.TimeoutError:
            self.console.notice("the server was requested to stop the run and has not confirmed it yet")
        except Unreachable as error:
            self.console.notice(f"the run can't be cancelled on the server: {error}")

    async def _cancel_until_gone(self) -> None:
        while (place := place_in(await self.server.get("/queue"), self.prompt_id)) is not None:
            if place.running:
                await self.server.post("/interrupt", {"prompt_id": self.prompt_id})
            else:
                await self.server.post("/queue", {"delete": [self.prompt_id]})
            await asyncio.sleep(self.timeouts.last_frames)


SHOWN = {
    "execution_start": lambda run, data: None,
    "execution_cached": RemoteRun._found_in_cache,
    "executing": RemoteRun._start,
    "progress": RemoteRun._progress,
    "execution_error": RemoteRun._blocked,
}
