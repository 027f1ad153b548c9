"""`workflows`: lists the bundled workflows; for developers, also generates them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from ... import __version__
from ...nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from ...pipelines.files import check_writable, replace_whole
from ..bundled.workflow_files import bundled
from ..console import Console
from .common import OK, REGISTRY, Commands, add_command, show


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    workflows = add_command(commands, "workflows", list_workflows, "list the bundled workflows")
    workflows.add_argument(
        "--write",
        type=Path,
        metavar="DIR",
        help="for developers: generate the workflow files, help pages, node table and OpenAPI document",
    )
    workflows.add_argument(
        "--thumbnails",
        action="store_true",
        help="with --write: also run every workflow on the pocket model and generate its thumbnail",
    )


def list_workflows(options: argparse.Namespace, console: Console) -> int:
    """Print the name and description of each bundled workflow, or generate the files with --write."""
    if options.write is not None:
        from ...pipelines.assets.catalogue import download_link
        from ..bundled import help_pages, write_workflows
        from ..requests import openapi

        root = options.write
        check_writable(root, "the workflows")
        for path in [
            *write_workflows.write(root, REGISTRY, __version__, download_link),
            *help_pages.write(root, NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS),
            openapi.write(root, __version__),
        ]:
            print(path)
        if options.thumbnails:
            for path in write_thumbnails(root / "workflows"):
                print(path)
        return OK
    listed = bundled()
    width = max((len(about.name) for about in listed), default=0)
    show(options, [asdict(about) for about in listed], [f"{a.name:{width}}  {a.description}" for a in listed])
    return OK


def write_thumbnails(folder: Path) -> Iterator[Path]:
    """Run every bundled workflow on the pocket model and write its thumbnail."""
    from tempfile import TemporaryDirectory

    from ...nodes.comfy import use_host
    from ...nodes.headless import find_picture
    from ...pipelines.host import POCKET, LocalHost
    from ..bundled.thumbnails import saved_files, thumbnail
    from ..bundled.write_workflows import BUNDLED
    from ..engine.runner import Runner

    with TemporaryDirectory() as scratch:
        host = LocalHost(models=[POCKET], output=Path(scratch), input=Path(scratch), device="cpu")
        runner = Runner(REGISTRY)
        with use_host(host):
            for workflow in BUNDLED:
                path = folder / f"{workflow.name}.jpg"
                drawn = thumbnail(
                    workflow.graph,
                    workflow.drawn,
                    workflow.title,
                    find_picture,
                    lambda graph: saved_files(runner.run(graph).ui, host.folder),
                )
                yield replace_whole(path, drawn, "a thumbnail")
