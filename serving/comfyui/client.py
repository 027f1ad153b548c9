"""A graph on a running ComfyUI: its pictures sent there, the run followed, what it saved fetched."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..console import Console
from ..engine.graph import ApiGraph
from ..engine.overrides import Graph
from ..engine.results import Results
from .files import Output, fetch_files, upload_images
from .loop_thread import Background
from .protocol import declared_by, read_address
from .routes import ComfyServer
from .run import RemoteRun


class Remote:
    """A ComfyUI that answers. Made by `connected`."""

    def __init__(self, background: Background, server: ComfyServer) -> None:
        self._background = background
        self._server = server
        self.results = Results()  # of the last run, as far as it came

    def declarations(self, graph: ApiGraph, known: Collection[str]) -> dict[str, type[Any]]:
        """Classes that declare the graph's nodes that are not known here, as far as the server has them."""
        return self._background.do(_declarations(self._server, graph, known))

    def upload(self, graph: Graph, folder: Path) -> None:
        """Send the pictures of the folder that the graph names; names of none are left to the server."""
        self._background.do(upload_images(self._server, graph, folder))

    def run(self, graph: ApiGraph, console: Console) -> Results:
        """Run the graph; its nodes, steps, notices and place in the queue go to the console.

        A signal takes the run back from the server before it goes on. Raises Refused, NodeError, RunError, Interrupted.
        """
        run = RemoteRun(self._server, graph, console)
        self.results = run.results
        return self._background.do(run.run())

    def fetch(self, results: Results, graph: ApiGraph, folder: Path) -> list[Output]:
        """What the nodes have to show: files, fetched into the folder, with their paths, texts as they are."""
        return self._background.do(fetch_files(self._server, shown(results, graph), folder))


@contextmanager
def connected(address: str) -> Iterator[Remote]:
    """The ComfyUI at an address. Raises BadValue for what is no address, Unreachable where no ComfyUI answers."""
    read = read_address(address)
    with Background() as background:
        server = background.do(_server(read))
        try:
            background.do(server.check())
            yield Remote(background, server)
        finally:
            background.do(server.close())


def shown(results: Results, graph: ApiGraph) -> list[Output]:
    """What the nodes show, one by one: node, class, and `file` (as /view wants it) or a value under its kind."""
    listed: list[Output] = []
    for node_id, ui in results.ui.items():
        node = {"node": node_id, "class": graph.get(node_id, {}).get("class_type", "")}
        for kind, values in ui.items():
            for value in values:
                is_file = isinstance(value, Mapping) and bool(value.get("filename"))
                listed.append({**node, "file" if is_file else kind: value})
    return listed


async def _server(address: Any) -> ComfyServer:
    return ComfyServer(address)


async def _declarations(server: ComfyServer, graph: ApiGraph, known: Collection[str]) -> dict[str, type[Any]]:
    foreign = dict.fromkeys(str(n["class_type"]) for n in graph.values() if n.get("class_type") not in (None, *known))
    told = {name: await server.declaration(name) for name in foreign}
    return {name: declared_by(name, info) for name, info in told.items() if info is not None}
