"""`request`: runs a request to a hosted endpoint in this process."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...nodes.comfy import use_host
from ...pipelines.host import LocalHost
from ...pipelines.settings import NO_FILE
from ..console import Console
from .common import OK, REGISTRY, Commands, add_command, add_host_options, host_of, show
from .requested import (
    LORAS,
    OFF,
    UNCHECKED,
    add_checker_option,
    check_package,
    files_of,
    find_checker,
    read_request,
)

if TYPE_CHECKING:
    from ..requests.endpoints import Request

MEDIA_TYPES = {".png": "image/png", ".jpeg": "image/jpeg", ".webp": "image/webp"}


@dataclass(frozen=True)
class SavedFile:
    """An image in the output folder."""

    path: Path
    media_type: str
    size: int
    width: int
    height: int

    @property
    def name(self) -> str:
        return self.path.name


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    request = add_command(commands, "request", run_request, "run a request to a hosted endpoint, and print its output")
    add_request_options(request)
    request.add_argument(
        "-o", "--output", type=Path, default=Path("outputs"), metavar="DIR", help="output folder; default: outputs"
    )
    request.add_argument("--device", help="cpu, cuda, cuda:1 or mps; default: the fastest available")
    add_checker_option(request)
    request.add_argument(
        "--allow-network",
        action="append",
        default=[],
        metavar="NETWORK",
        help="also fetch from this network, such as 192.168.1.0/24, which is not public; repeatable",
    )
    add_host_options(request)


def add_request_options(command: argparse.ArgumentParser) -> None:
    """Add the options that name a request and its endpoint."""
    command.add_argument("request", type=Path, metavar="REQUEST", help="a JSON file with the fields of a request")
    command.add_argument(
        "--endpoint",
        metavar="ID",
        help="fal-ai/fooocus, or fal-ai/fooocus/image-prompt, /inpaint or /upscale-or-vary; default: the one that has "
        "the request's fields",
    )


def run_request(options: argparse.Namespace, console: Console) -> int:
    """Run the request, and print its output as JSON: images, timings, has_nsfw_concepts and seed."""
    check_package("pydantic")
    from ..requests.endpoints import with_seed

    request = with_seed(read_request(options.request, options.endpoint))
    with ExitStack() as stack:
        options.input_dir = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        loras = options.input_dir / LORAS
        loras.mkdir()
        host = host_of(options, console, loras=loras)
        stack.enter_context(use_host(host))
        output = run_here(options, console, request, host)
    console.close()
    show(options, output, [json.dumps(output, indent=1, ensure_ascii=False)])
    return OK


def run_here(options: argparse.Namespace, console: Console, request: Request, host: LocalHost) -> dict[str, Any]:
    """Run a request with the host and return its output."""
    from ..engine.runner import Runner
    from ..requests.graphs import CHECKER, graph_of
    from ..requests.masks import without_empty_mask
    from ..requests.notices import notices_of
    from ..requests.results import FLAGS, data_uri, output_of

    checker = checker_of(options.safety_checker, host, request, console)
    files = files_of(request, options.request.parent, options.input_dir, options.allow_network)
    painting = without_empty_mask(request, files.path_of)
    for notice in notices_of(painting):
        console.notice(notice)
    graph = graph_of(painting, files.names, checker)
    runner = Runner(REGISTRY, console.event)
    checks = [node_id for node_id, node in graph.items() if node["class_type"] == CHECKER]
    start = time.perf_counter()
    results = runner.run(graph, outputs=checks)
    seconds = time.perf_counter() - start
    names = [*getattr(REGISTRY.get(CHECKER), "RETURN_NAMES", ())]
    flags = {node_id: {FLAGS: results.outputs[node_id][names.index(FLAGS)]} for node_id in checks}

    def url_of(number: int, image: SavedFile) -> str:
        if request.input.sync_mode:
            return data_uri(image.media_type, image.path.read_bytes())
        return image.path.resolve().as_uri()

    return output_of(request, saved_files(results.ui, host), flags, seconds, url_of, checker)


def checker_of(named: str, host: LocalHost, request: Request, console: Console) -> str:
    """The file of the safety checker for a request; 'None' where the request does not ask for it, or it is off.

    Raises MissingFile where the request asks for a checker that is not there.
    """
    if not request.input.enable_safety_checker:
        return NO_FILE
    if named == OFF:
        console.notice(UNCHECKED)
        return NO_FILE
    find_checker(named, host)
    return named


def saved_files(ui: Any, host: LocalHost) -> list[SavedFile]:
    """The images that the nodes of a run saved, in order."""
    from PIL import Image

    found = []
    for values in ui.values():
        for saved in values.get("images", ()):
            path = host.folder(saved["type"]) / saved["subfolder"] / saved["filename"]
            with Image.open(path) as image:
                width, height = image.size
            found.append(SavedFile(path, MEDIA_TYPES[path.suffix], path.stat().st_size, width, height))
    return found
