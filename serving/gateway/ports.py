"""What the gateway needs from other rooms: endpoints, inputs and keys."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..pool.types import Graph, JobResult
from .records import StoredFile


class InvalidBody(Exception):
    """A request body that the endpoint does not accept; `detail` is the platform's list of validation errors."""

    def __init__(self, detail: Sequence[Mapping[str, Any]]) -> None:
        super().__init__("invalid request")
        self.detail = detail


class Unfetchable(Exception):
    """An input that cannot be fetched or is refused; the message says why."""


@dataclass(frozen=True)
class InputUrl:
    """A picture or LoRA that a request names by URL: `kind` is "image" or "lora", `loc` its place in the request."""

    value: str
    kind: str
    loc: tuple[str | int, ...]


class Endpoints(Protocol):
    """The served endpoints."""

    def ids(self) -> Collection[str]:
        """Return the ids, such as `fal-ai/fooocus/inpaint`."""
        ...

    def parse(self, endpoint: str, body: Mapping[str, Any], seed: int) -> Any:
        """Return the request of a body; `seed` is for a body without one. Raises InvalidBody."""
        ...

    def urls(self, request: Any) -> Sequence[InputUrl]:
        """Return the files to fetch before the request is run."""
        ...

    def notices(self, request: Any) -> Sequence[str]:
        """Return what the caller must be told about a request."""
        ...

    def graph(self, request: Any, files: Mapping[str, Path]) -> Graph:
        """Return the graph of a request; `files` are those fetched, by URL. Raises UserError for a broken mask."""
        ...

    def output(self, request: Any, result: JobResult, files: Sequence[StoredFile]) -> dict[str, Any]:
        """Return the output of a request whose result files are stored under `files`."""
        ...

    def workflow(self, endpoint: str, body: Mapping[str, Any], id: str) -> Mapping[str, Any]:
        """Return the workflow of a body, to open on ComfyUI's canvas. Raises InvalidBody."""
        ...

    def sync_mode(self, request: Any) -> bool:
        """Return whether images are to be returned as data URIs."""
        ...

    def openapi(self) -> Mapping[str, Any]:
        """Return the OpenAPI document of the endpoints."""
        ...


class Inputs(Protocol):
    """Fetches what requests name by URL."""

    async def fetch(self, url: InputUrl, folder: Path) -> Path:
        """Fetch a file into the folder and return its path. Raises Unfetchable."""
        ...

    async def close(self) -> None:
        """End open connections."""
        ...


class TooManyRequests(Exception):
    """A key that is used more often than it may be; `seconds` until it may be used again."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"too many requests with this key; try again in {seconds:.0f} s")
        self.seconds = seconds


class Keys(Protocol):
    """The API keys of the callers."""

    def owner(self, key: str) -> str | None:
        """Return the name under which a key's requests are kept, None for a wrong key. Raises TooManyRequests."""
        ...
