"""Requests on the command line, and the files that they name: local pictures, data URIs and URLs."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from ...nodes.headless import find_picture
from ...pipelines.errors import BadFile, BadValue, MissingFile, UserError
from ...pipelines.host import Host, find_or_pocket
from ...pipelines.settings import DEFAULT_SAFETY_CHECKER

if TYPE_CHECKING:
    from ..requests.endpoints import Request
    from ..requests.graphs import InputUrl

SHOWN = 100
LORAS = "loras"
OFF = "off"
UNCHECKED = "the request asks for the safety checker, which is off: its images are not checked"


@dataclass(frozen=True)
class Files:
    """The files that a request names. `names`: what the workflow calls them, by their addresses."""

    names: dict[str, str]
    folder: Path

    def path_of(self, address: str) -> Path:
        """The file of a picture. Raises MissingFile."""
        name = self.names.get(address, address)
        return self.folder / name if (self.folder / name).is_file() else find_picture(name)


def add_checker_option(command: argparse.ArgumentParser) -> None:
    """Add the option that names the safety checker of requests."""
    command.add_argument(
        "--safety-checker",
        default=DEFAULT_SAFETY_CHECKER,
        metavar="FILE|off",
        help="file of the safety checker; 'off' leaves the images of any request unchecked; default: "
        f"{DEFAULT_SAFETY_CHECKER}",
    )


def checker_file(named: str, host: Host) -> Path:
    """Return the path of a safety checker, without importing the libraries that run it. Raises MissingFile."""
    return find_or_pocket(host, "safety_checker", named, DEFAULT_SAFETY_CHECKER)


def find_checker(named: str, host: Host) -> None:
    """Find the safety checker that a request asks for. Raises MissingFile."""
    try:
        checker_file(named, host)
    except MissingFile as error:
        raise MissingFile(
            f"{error}; the request asks for the safety checker: set enable_safety_checker to false in it, or give "
            "--safety-checker off to leave its images unchecked"
        ) from error


def check_package(name: str) -> None:
    """Raises MissingFile for a package of the extra `serve` that is not installed."""
    if importlib.util.find_spec(name) is None:
        raise MissingFile(f"package {name} is not installed; run: pip install 'fooocus-stages[serve]'")


def read_request(path: Path, endpoint: str | None) -> Request:
    """Read the request in a JSON file. Raises MissingFile, BadFile and the errors of `request_in`."""
    return request_from(read_json(path), endpoint)


def request_from(body: Any, endpoint: str | None) -> Request:
    """The request in a JSON value: its fields, or a call {"endpoint": …, "input": {…}}."""
    from ..requests.guess import request_in

    if isinstance(body, dict) and set(body) == {"endpoint", "input"}:
        return request_in(body["input"], endpoint or body["endpoint"])
    return request_in(body, endpoint)


def read_json(path: Path) -> Any:
    """The JSON value in a file. Raises MissingFile and BadFile."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise MissingFile(f"request {str(path)!r} is not there; name a JSON file") from error
    except OSError as error:
        raise BadFile(f"{path} can't be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{path} is not JSON: {error}") from error


def files_of(request: Request, beside: Path, folder: Path, networks: Sequence[str] = ()) -> Files:
    """Bring the files that a request names by URL and data URI into a folder, LoRAs into the folder `loras` in it.

    A picture named by its file is looked for in the folder `beside` first. `networks`: those that are called although
    they are not public. Raises UserError, naming the field, for a file that can't be had.
    """
    from ..requests.graphs import names_of, urls_of

    urls = urls_of(request)
    names = {url.value: path.name for url, path in zip(urls, fetched(urls, folder, networks), strict=True)}
    for one in names_of(request):
        if (beside / one.value).is_file():
            names[one.value] = str(beside / one.value)
    return Files(names, folder)


def fetched(urls: Sequence[InputUrl], folder: Path, networks: Sequence[str] = ()) -> list[Path]:
    """Fetch pictures into a folder and LoRAs into the folder `loras` in it. Raises UserError, naming the field."""
    if not urls:
        return []
    check_package("aiohttp")
    return asyncio.run(_fetch(urls, folder, networks))


async def _fetch(urls: Sequence[InputUrl], folder: Path, networks: Sequence[str]) -> list[Path]:
    from ..gateway.guard.fetch import Fetcher
    from ..gateway.guard.policy import Policy

    fetcher, paths = Fetcher(Policy.of(networks)), []
    try:
        for url in urls:
            try:
                is_image = url.kind == "image"
                fetch = fetcher.image(url.value, folder) if is_image else fetcher.lora(url.value, folder / LORAS)
                paths.append((await fetch).path)
            except UserError as error:
                raise type(error)(f"{'.'.join(map(str, url.loc))}: {error}") from error
    finally:
        await fetcher.close()
    return paths


def named_files(request: Request, folder: Path) -> dict[str, str]:
    """The name of each address of a request in a workflow to run elsewhere; data URIs are written to the folder."""
    from ..requests.graphs import urls_of

    urls = urls_of(request)
    inline = [one for one in urls if one.value[:5].lower() == "data:"]
    names = {one.value: path.name for one, path in zip(inline, fetched(inline, folder), strict=True)}
    return names | {one.value: name_of(one.value) for one in urls if one not in inline}


def name_of(url: str) -> str:
    """The name of the file at an URL. Raises BadValue for an URL without one."""
    name = unquote(urlsplit(url).path).replace("\\", "/").rpartition("/")[2]
    if not name.strip(". "):
        raise BadValue(f"the URL {url[:SHOWN]!r} names no file: download it and name the file in the request")
    return name
