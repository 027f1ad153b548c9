"""The hosted endpoints as the gateway serves them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from ... import __version__
from ...pipelines.settings import NO_FILE
from ..bundled.graph_builder import ApiGraph
from ..pool.types import Graph, JobResult
from ..requests import endpoints, graphs, notices, openapi, results
from ..requests.endpoints import Request
from ..requests.masks import without_empty_mask
from .ports import InputUrl, InvalidBody
from .records import StoredFile
from .seeds import seed_of

Canvas = Callable[[ApiGraph, str], Mapping[str, Any]]


@dataclass(frozen=True)
class SavedImage:
    """A stored image."""

    file: StoredFile
    width: int
    height: int

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def media_type(self) -> str:
        return self.file.media_type

    @property
    def size(self) -> int:
        return self.file.size


def no_canvas(graph: ApiGraph, endpoint: str) -> Mapping[str, Any]:
    """Return the graph as it is."""
    return graph


@dataclass(frozen=True)
class HostedEndpoints:
    """The four endpoints. `checker`: file of the safety checker, 'None' without one.

    `canvas` makes a graph of an endpoint into a file for ComfyUI's canvas.
    """

    checker: str = NO_FILE
    canvas: Canvas = no_canvas

    def ids(self) -> Collection[str]:
        return endpoints.ENDPOINTS.keys()

    def parse(self, endpoint: str, body: Mapping[str, Any], seed: int) -> Request:
        try:
            request = endpoints.parse(endpoint, body)
        except endpoints.InvalidRequest as error:
            raise InvalidBody(error.detail) from error
        local = graphs.names_of(request)
        if local:
            sentence = "give the picture's URL or data URI, or upload it; a file of the server can't be named"
            raise InvalidBody([{"loc": ["body", *one.loc], "msg": sentence, "type": "value_error"} for one in local])
        return endpoints.with_seed(request, seed)

    def urls(self, request: Request) -> Sequence[InputUrl]:
        return [InputUrl(one.value, one.kind, one.loc) for one in graphs.urls_of(request)]

    def notices(self, request: Request) -> Sequence[str]:
        return notices.notices_of(request)

    def graph(self, request: Request, files: Mapping[str, Path]) -> Graph:
        names = {url: path.name for url, path in files.items()}
        painting = without_empty_mask(request, lambda url: files[url])
        return {id: dict(node) for id, node in graphs.graph_of(painting, names, self.checker).items()}

    def output(self, request: Request, result: JobResult, files: Sequence[StoredFile]) -> dict[str, Any]:
        sizes = [(saved.width, saved.height) for saved in result.files if not saved.temporary]
        images = [SavedImage(file, *size) for file, size in zip(files, sizes, strict=True)]
        seconds = result.seconds.get("total", 0.0)
        return results.output_of(
            request, images, result.outputs, seconds, lambda number, image: files[number].url, self.checker
        )

    def workflow(self, endpoint: str, body: Mapping[str, Any], id: str) -> Mapping[str, Any]:
        request = self.parse(endpoint, body, seed_of(id))
        names = {one.value: _name(one.value, number) for number, one in enumerate(graphs.urls_of(request), 1)}
        return self.canvas(graphs.graph_of(request, names, self.checker), endpoint)

    def sync_mode(self, request: Request) -> bool:
        return request.input.sync_mode

    def openapi(self) -> Mapping[str, Any]:
        return openapi.openapi(__version__)


def _name(url: str, number: int) -> str:
    """The name of a URL's file; a picture in a data URI has none."""
    data = url[:5].lower() == "data:"
    return f"picture-{number}.png" if data else PurePosixPath(unquote(urlsplit(url).path)).name or f"file-{number}"
