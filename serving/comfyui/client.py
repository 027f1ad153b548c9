"""Runs a graph on a ComfyUI server: uploads its images, follows the run, and fetches the saved files."""

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
from .loop_thread import LoopThread
from .protocol import Address, declared_class, read_address
from .routes import ComfyServer
from .run import RemoteRun


class Remote:
    """A connection to a ComfyUI server, made by `connected`."""

    def __init__(self, loop: LoopThread, server: ComfyServer) -> None:
        self._loop = loop
        self._server = server
        self.results = Results()  # of the latest run so far

    def declarations(self, graph: ApiGraph, known: Collection[str]) -> dict[str, type[Any]]:
        """Return classes with the server's declarations of those nodes of the graph that are not in `known`."""
        return self._loop.run(_declarations(self._server, graph, known))

    def upload(self, graph: Graph, folder: Path) -> None:
        """Upload the images of the folder that the graph names; the server resolves all other names."""
        self._loop.run(upload_images(self._server, graph, folder))

    def run(self, graph: ApiGraph, console: Console) -> Results:
        """Run the graph and show its progress, notices and place in the queue on the console.

        A signal cancels the run on the server first. Raises Refused, NodeError, RunError and Interrupted.
        """
        run = RemoteRun(self._server, graph, console)
        self.results = run.results
        return self._loop.run(run.run())

    def fetch(self, results: Results, graph: ApiGraph, folder: Path) -> list[Output]:
        """Return the UI outputs of the nodes; files are fetched into the folder and given by their paths."""
        return self._loop.run(fetch_files(self._server, shown(results, graph), folder))


@contextmanager
def connected(address: str) -> Iterator[Remote]:
    """Connect to the ComfyUI at an address. Raises BadValue for an invalid address and Unreachable."""
    read = read_address(address)
    with LoopThread() as loop:
        server = loop.run(_server(read))
        try:
            loop.run(server.check())
            yield Remote(loop, server)
        finally:
            loop.run(server.close())


def shown(results: Results, graph: ApiGraph) -> list[Output]:
    """List the UI outputs of the nodes: node, class, and `file` (as /view expects it) or a value under its kind."""
    listed: list[Output] = []
    for node_id, ui in results.ui.items():
        node = {"node": node_id, "class": graph.get(node_id, {}).get("class_type", "")}
        for kind, values in ui.items():
            for value in values:
                is_file = isinstance(value, Mapping) and bool(value.get("filename"))
                listed.append({**node, "file" if is_file else kind: value})
    return listed


async def _server(address: Address) -> ComfyServer:
    return ComfyServer(address)


async def _declarations(server: ComfyServer, graph: ApiGraph, known: Collection[str]) -> dict[str, type[Any]]:
    foreign = dict.fromkeys(str(n["class_type"]) for n in graph.values() if n.get("class_type") not in (None, *known))
    declared = {name: await server.declaration(name) for name in foreign}
    return {name: declared_class(name, info) for name, info in declared.items() if info is not None}
