"""`assets`: lists the model files that modes need, and downloads the missing ones."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...pipelines.assets import needs
from ...pipelines.assets.catalogue import Asset, format_bytes
from ...pipelines.errors import BadValue
from ...pipelines.host import POCKET
from ...pipelines.host.model_paths import model_roots
from ..bundled.workflow_files import bundled
from ..console import Console, Transfer
from .common import OK, Commands, FoldersHost, add_command, add_host_options, folder_options, host_of, show

if TYPE_CHECKING:
    from ...pipelines.assets.fetch import Job

IN_HUB = "hub"
MIRROR_VARIABLE = "HF_ENDPOINT"
TIMEOUT_VARIABLE = "HF_HUB_DOWNLOAD_TIMEOUT"
OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
TRUE = ("1", "ON", "YES", "TRUE")
NAMES = "a workflow, a mode such as B01, a group such as inpaint, a preset, a file, or all"


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    assets = commands.add_parser("assets", help="list and download model files", description="Manage model files.")
    actions = assets.add_subparsers(required=True, metavar="ACTION")
    listing = add_command(actions, "list", list_assets, "list the files that modes need, and where they are")
    listing.add_argument("names", nargs="*", metavar="MODE", help=f"{NAMES} (default: all)")
    add_host_options(listing)
    fetching = add_command(actions, "fetch", fetch_assets, "download the files that modes need and that are missing")
    fetching.add_argument("names", nargs="+", metavar="MODE", help=NAMES)
    fetching.add_argument("--to", type=Path, metavar="DIR", help="the models folder to download into")
    fetching.add_argument("--force", action="store_true", help="download files again that exist already")
    fetching.add_argument(
        "--offline", action="store_true", help="only report what is missing, as with HF_HUB_OFFLINE=1"
    )
    fetching.add_argument("--jobs", type=int, default=4, metavar="N", help="simultaneous downloads; default: 4")
    fetching.add_argument("--timeout", type=float, metavar="SECONDS", help=f"default: ${TIMEOUT_VARIABLE}, else 10")
    add_host_options(fetching)
    where = add_command(actions, "where", where_assets, "show the searched folders and the file found for each name")
    where.add_argument("names", nargs="*", metavar="MODE|FILE", help=f"{NAMES} (default: all)")
    add_host_options(where)


def list_assets(options: argparse.Namespace, console: Console) -> int:
    """Print one row for each file."""
    host = host_of(options, console)
    rows = [_row(found) for found in needs.find_all(host, assets_named(host, options.names or ["all"]))]
    columns = ("name", "kind", "state", "formatted_size", "needed", "licence")
    table = [[str(row[column]) for column in columns] for row in rows]
    for row in rows:
        del row["state"], row["formatted_size"], row["needed"]
    show(options, rows, in_columns([["FILE", "FOLDER", "WHERE", "SIZE", "NEEDED BY", "LICENCE"], *table]))
    return OK


def fetch_assets(options: argparse.Namespace, console: Console) -> int:
    """Download what is missing and print the paths of the downloaded files."""
    from ...pipelines.assets import fetch

    host = host_of(options, console)
    jobs = _jobs(host, options)
    if not jobs:
        show(options, [], ["all files are there"])
        return OK
    if options.offline or any(os.environ.get(name, "").upper() in TRUE for name in OFFLINE_VARIABLES):
        raise fetch.offline([job.asset for job in jobs], _folders(options))
    for note in dict.fromkeys(f"{job.asset.name}: {job.asset.note}" for job in jobs if job.asset.note):
        console.notice(note)
    connection = fetch.connection(_timeout(options), os.environ.get(MIRROR_VARIABLE))
    transfer = Transfer(f"fetching {len(jobs)} file{'s' if len(jobs) > 1 else ''}")
    try:
        paths = fetch.fetch(jobs, connection, transfer.show, max(options.jobs, 1), _folders(options))
    finally:
        transfer.close()
    show(options, {name: str(path) for name, path in paths.items()}, [str(path) for path in paths.values()])
    return OK


def where_assets(options: argparse.Namespace, console: Console) -> int:
    """Print the searched folders of each kind, and the file that is found for each name."""
    host = host_of(options, console)
    found = needs.find_all(host, assets_named(host, options.names or ["all"]))
    report: dict[str, Any] = {}
    lines = []
    for kind in dict.fromkeys(one.asset.kind for one in found):
        folders = [] if kind == IN_HUB else host.folders_of(kind)
        files = {one.asset.name: str(one.path) if one.path else None for one in found if one.asset.kind == kind}
        report[kind] = {"folders": [str(folder) for folder in folders], "files": files}
        lines += [kind, *(f"  {folder}{'' if folder.is_dir() else ' (does not exist)'}" for folder in folders)]
        lines += [f"    {name} -> {path or 'missing'}" for name, path in files.items()]
    show(options, report, lines)
    return OK


def assets_named(host: FoldersHost, names: Sequence[str]) -> list[Asset]:
    """Return the files that names stand for; a bundled workflow stands for its mode."""
    modes = {about.name: about.mode for about in bundled() if about.mode}
    return needs.resolve(host, names, modes)


def _folders(options: argparse.Namespace) -> str:
    """The options that name folders, for the command that continues a download."""
    to = shlex.join(["--to", str(options.to)]) if options.to else ""
    return " ".join(filter(None, [folder_options(options), to]))


def _jobs(host: FoldersHost, options: argparse.Namespace) -> list[Job]:
    """The files to download, with their targets; the pocket model's files do not replace real ones."""
    from ...pipelines.assets.fetch import Job

    jobs = []
    for asset in assets_named(host, options.names):
        path = _existing(host, asset, options.to)
        if path is None or (options.force and asset.kind != IN_HUB):
            jobs.append(Job(asset, _target(host, asset, options.to)))
    return jobs


def _existing(host: FoldersHost, asset: Asset, to: Path | None) -> Path | None:
    if to is not None and asset.kind != IN_HUB:
        return next(filter(None, (needs.find_in(root, asset) for root in model_roots(to))), None)
    found = needs.find(host, asset)
    return None if found is not None and POCKET in found.resolve().parents else found


def _target(host: FoldersHost, asset: Asset, to: Path | None) -> Path | None:
    if asset.kind == IN_HUB:
        return None
    own = [folder for folder in host.folders_of(asset.kind) if POCKET not in folder.resolve().parents]
    folder = model_roots(to)[0] / asset.kind if to else next(iter(own), Path("models") / asset.kind)
    return folder / asset.name


def _timeout(options: argparse.Namespace) -> float:
    given = options.timeout if options.timeout is not None else os.environ.get(TIMEOUT_VARIABLE, "10")
    try:
        if (seconds := float(given)) > 0:
            return seconds
    except ValueError:
        pass
    raise BadValue(f"the timeout is {given!r}: give a number of seconds above 0")


def _row(found: needs.Found) -> dict[str, Any]:
    asset = found.asset
    needed = needs.needed_by(asset)
    return {
        "id": asset.id,
        "name": asset.name,
        "kind": asset.kind,
        "there": found.path is not None,
        "path": None if found.path is None else str(found.path),
        "size": found.size,
        "source": asset.source,
        "licence": asset.licence,
        "note": asset.note,
        "needed_by": needed,
        "state": "missing" if found.path is None else found.path,
        "formatted_size": "" if found.size is None else format_bytes(found.size),
        "needed": ", ".join(name for name in needed if not name[1:].isdigit()),
    }


def in_columns(table: Sequence[Sequence[str]]) -> list[str]:
    """Format the rows of a table with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
