"""Requests of a batch as the hosted endpoints take them: their workflows, and the files that they name."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...pipelines.errors import BadValue, MissingFile, UserError
from ...pipelines.host import POCKET
from ...pipelines.settings import NO_FILE
from ..engine.overrides import Graph
from .lines import Inputs

if TYPE_CHECKING:
    from ..requests.endpoints import Request

EXAMPLE = next(iter(sorted((POCKET.parent / "pictures").glob("*.png"))), POCKET)

Fetch = Callable[[str, str], Path]
"""(address, "image" or "lora") -> the local file. Raises UserError."""


def checked(content: Mapping[str, Any], checker: str = NO_FILE) -> Graph:
    """Check a request and return its workflow, in which an example stands for every picture given by address.

    `checker`: file of the safety checker for requests that ask for it. Raises UserError.
    """
    request = _parsed(content)
    return _inputs(request, _fetched(request, lambda address, kind: EXAMPLE), checker).graph


def inputs_of(content: Mapping[str, Any], fetch: Fetch, folder: Path, checker: str = NO_FILE) -> Inputs:
    """Return the workflow of a request, with the files that it names by address. Raises UserError.

    `folder`: that of pictures named by their file; a mask among them that paints nothing is left out.
    """
    from ..requests.masks import without_empty_mask

    request = _parsed(content)
    paths = _fetched(request, fetch)
    with contextlib.suppress(MissingFile):  # a picture that only the workers have
        request = without_empty_mask(request, lambda address: paths.get(address) or _local(address, folder))
    return _inputs(request, paths, checker)


def asks_for_checker(content: Mapping[str, Any]) -> bool:
    """Return whether a request asks for the safety checker. Raises UserError."""
    return _parsed(content).input.enable_safety_checker


def notices_of(content: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what of a request has no effect here, in sentences. Raises UserError."""
    from ..requests import notices

    return notices.notices_of(_parsed(content))


def _parsed(content: Mapping[str, Any]) -> Request:
    try:
        from ..requests.endpoints import parse, with_seed
    except ModuleNotFoundError as error:
        raise UserError(
            f"requests by endpoint need {error.name}: install it with `pip install fooocus-stages[serve]`, or name a "
            "workflow"
        ) from error
    if not isinstance(content["endpoint"], str):
        raise BadValue(f"endpoint is {content['endpoint']!r}; name one, such as fal-ai/fooocus")
    return with_seed(parse(content["endpoint"], content.get("input", {})))


def _fetched(request: Request, fetch: Fetch) -> dict[str, Path]:
    from ..requests.graphs import urls_of

    return {url.value: fetch(url.value, url.kind).absolute() for url in urls_of(request)}


def _local(name: str, folder: Path) -> Path:
    found = next((path for path in (folder / name, Path(name)) if path.is_file()), None)
    if found is None:
        raise MissingFile(f"picture {name!r} is not in {folder}; name a file that is there")
    return found


def _inputs(request: Request, paths: Mapping[str, Path], checker: str) -> Inputs:
    from ..requests.graphs import graph_of

    names = {address: path.name for address, path in paths.items()}
    return Inputs(dict(graph_of(request, names, checker)), {path.name: path for path in paths.values()})


class Fetched:
    """Fetches files by address into a folder, each once, from public hosts alone and within the usual limits."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._paths: dict[str, Path] = {}

    def __call__(self, address: str, kind: str) -> Path:
        if address not in self._paths:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._paths[address] = asyncio.run(self._fetch(address, kind))
        return self._paths[address]

    async def _fetch(self, address: str, kind: str) -> Path:
        from ..gateway.guard.fetch import Fetcher

        fetcher = Fetcher()
        try:
            fetch = fetcher.lora if kind == "lora" else fetcher.image
            return (await fetch(address, self._folder)).path
        finally:
            await fetcher.close()
