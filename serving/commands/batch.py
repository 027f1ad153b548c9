"""`batch`: runs a file of requests on worker processes, and goes on where it was interrupted."""

from __future__ import annotations

import argparse
import contextlib
import copy
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ...nodes.comfy import use_host
from ...pipelines.errors import BadValue
from ...pipelines.files import saving
from ...pipelines.settings import NO_FILE
from ..batch import endpoints
from ..batch.drive import Drive
from ..batch.lines import BadLines, Inputs, Request, graph_of_workflow, read_requests, with_files
from ..batch.manifest import Counts, Manifest
from ..console import Console
from ..engine.declarations import Registry
from ..engine.validate import validate
from .common import FAILED, OK, REGISTRY, Commands, add_command, add_host_options, host_of, show
from .pools import add_pool_options, check_pool_options, pool_of
from .requested import OFF, UNCHECKED, add_checker_option, find_checker

LOCK = "manifest.lock"
FETCHED = "inputs"
LINE_SECONDS = 5.0  # between two lines of progress in a pipe


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    batch = add_command(
        commands, "batch", run_batch, "run a file of requests on all devices, and go on where it stopped"
    )
    batch.add_argument(
        "requests",
        nargs="?",
        type=Path,
        metavar="REQUESTS.jsonl",
        help='one JSON object a line: {"id", "workflow", "set"} or {"id", "endpoint", "input"}',
    )
    batch.add_argument("-o", "--output", type=Path, metavar="DIR", help="folder of the results and of the manifest")
    batch.add_argument("--status", type=Path, metavar="DIR", help="show how far the batch in a folder is, and end")
    add_pool_options(batch)
    batch.add_argument(
        "--retries", type=int, default=1, metavar="N", help="runs of a request after a worker was lost; default: 1"
    )
    batch.add_argument("--retry-failed", action="store_true", help="run the requests once more that have failed")
    batch.add_argument("--time-limit", type=float, metavar="SECONDS", help="limit for each request; default: none")
    add_checker_option(batch)
    batch.add_argument("--sheet", action="store_true", help="draw contact sheets of all results")
    batch.add_argument(
        "--input-dir", type=Path, default=Path(), metavar="DIR", help="folder of the input images; default: ."
    )
    add_host_options(batch)


def run_batch(options: argparse.Namespace, console: Console) -> int:
    """Run, or show, the batch that the options name."""
    if options.status is not None:
        return show_status(options, options.status)
    if options.requests is None or options.output is None:
        raise BadValue("batch needs a file of requests and -o DIR, or --status DIR")
    check_pool_options(options)
    for name, least in (("retries", 0), ("time_limit", 0)):
        if (value := getattr(options, name)) is not None and value < least:
            raise BadValue(f"--{name.replace('_', '-')} is {value}; give at least {least}")
    maker = _Maker(options, console)
    requests = read_requests(options.requests, maker.check)
    with _locked(options.output), contextlib.closing(Manifest(options.output)) as manifest:
        if problems := manifest.problems(requests):
            raise BadLines(options.requests, problems)
        manifest.add(requests)
        if options.retry_failed:
            manifest.wait_again()
        manifest.clean()
        began = time.monotonic()
        if manifest.waiting():
            _drive(options, console, manifest, requests, maker)
            shutil.rmtree(options.output / FETCHED, ignore_errors=True)
        sheets = []
        if options.sheet:
            from ..batch.sheet import write_sheets

            sheets = write_sheets(options.output, manifest.results(), console.notice)
        report = report_of(options.output, manifest) | {"seconds": round(time.monotonic() - began, 3)}
        report |= {"sheets": [str(path) for path in sheets], "notices": console.notices}
        show(options, report, [*lines_of_report(report), *map(str, sheets)])
        return FAILED if manifest.counts().failed else OK


def _drive(
    options: argparse.Namespace, console: Console, manifest: Manifest, requests: Sequence[Request], maker: _Maker
) -> None:
    progress = Progress(manifest.counts())
    try:
        with contextlib.closing(pool_of(options, maker.checker_for(manifest.waiting()))) as pool:
            drive = Drive(
                pool,
                manifest,
                requests,
                maker.inputs,
                options.retries,
                options.time_limit,
                on_notice=lambda id, text: progress.notice(console, text),
                on_end=lambda id: progress.show(manifest.counts()),
            )
            drive.run()
    finally:
        progress.close()


class _Maker:
    """Makes and checks the graphs of requests."""

    def __init__(self, options: argparse.Namespace, console: Console) -> None:
        self._options, self._console = options, console
        self._registry = Registry(REGISTRY)
        self._checker = NO_FILE if options.safety_checker == OFF else options.safety_checker
        self._host = host_of(options, console) if options.ray is None else None
        self._fetch = endpoints.Fetched(options.output / FETCHED)
        self._checked: set[str] = set()

    def inputs(self, request: Request) -> Inputs:
        """Return the graph of a request and its files, fetched where it names addresses. Raises UserError."""
        folder = self._options.input_dir
        if "workflow" in request.content:
            return with_files(graph_of_workflow(request.content, self._registry), folder)
        made = endpoints.inputs_of(request.content, self._fetch, folder, self._checker)
        found = with_files(made.graph, folder)
        return Inputs(found.graph, {**found.files, **made.files})

    def check(self, request: Request) -> None:
        """Raise UserError for a request that can't run. Which models there are is not known for other machines."""
        if "workflow" in request.content:
            inputs = self.inputs(request)
        else:
            inputs = with_files(endpoints.checked(request.content, self._checker), self._options.input_dir)
            self._check_checker(request)
            for notice in endpoints.notices_of(request.content):
                self._console.notice(f"{request.id}: {notice}")
        if self._host is None:
            return
        graph = copy.deepcopy(inputs.graph)
        for node in graph.values():
            path = inputs.files.get(str(node["inputs"].get("image")))
            node["inputs"] |= {"image": str(path)} if path is not None else {}
        with use_host(self._host):
            validate(graph, self._registry, None)

    def _check_checker(self, request: Request) -> None:
        """Raise MissingFile if a request asks for a safety checker that is not there; say so if it is off."""
        if not endpoints.asks_for_checker(request.content):
            return
        if self._checker == NO_FILE:
            self._console.notice(f"{request.id}: {UNCHECKED}")
            return
        self._checked.add(request.id)
        if self._host is not None:
            find_checker(self._checker, self._host)

    def checker_for(self, ids: Sequence[str]) -> str:
        """Return the file of the safety checker if one of these requests, which were checked, asks for it."""
        return NO_FILE if self._checked.isdisjoint(ids) else self._checker


def report_of(folder: Path, manifest: Manifest) -> dict[str, Any]:
    """Return the state of a batch."""
    counts = manifest.counts()
    return {
        "folder": str(folder),
        "total": counts.total,
        "done": counts.done,
        "failed": counts.failed,
        "waiting": counts.waiting,
        "files": counts.pictures,
        "failures": [vars(failure) for failure in manifest.failures()],
        "flagged": manifest.flagged(),
    }


def lines_of_report(report: dict[str, Any]) -> list[str]:
    """Return the state of a batch as lines: the counts, each failure, and each image that was flagged."""
    counts = f"{report['done']} of {report['total']} requests done, {report['failed']} failed"
    waiting = f", {report['waiting']} waiting" if report["waiting"] else ""
    failures = [f"{one['id']}: {one['reason']}" for one in report["failures"]]
    flagged = [f"{name}: flagged by the safety checker" for name in report["flagged"]]
    return [f"{counts}{waiting}; {report['files']} files in {report['folder']}", *failures, *flagged]


def show_status(options: argparse.Namespace, folder: Path) -> int:
    """Show how far the batch in a folder is; it may be running."""
    with contextlib.closing(Manifest(folder, must_exist=True)) as manifest:
        report = report_of(folder, manifest)
    show(options, report, lines_of_report(report))
    return OK


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder for one batch at a time. Raises BadValue if another process has it."""
    with saving(folder, "the manifest"):
        folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise BadValue(f"another process runs the batch in {folder}; wait for it, or stop it first") from None
    try:
        yield
    finally:
        lock.release()


class Progress:
    """Shows a batch's progress on stderr: a bar on a terminal, a line now and then in a pipe."""

    def __init__(self, counts: Counts, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._began = clock, clock()
        self._first, self._last_line = counts, self._began
        self._bar: Any = None
        if sys.stderr.isatty():
            from tqdm import tqdm  # type: ignore[import-untyped,unused-ignore]

            done = counts.done + counts.failed
            self._bar = tqdm(total=counts.total, initial=done, unit="request", file=sys.stderr)

    def show(self, counts: Counts) -> None:
        """Show the counts, pictures a minute, and the time left."""
        rate = self.pictures_per_minute(counts)
        if self._bar is not None:
            self._bar.set_postfix_str(
                f"{rate:.1f} pictures/min" + (f", {counts.failed} failed" if counts.failed else "")
            )
            self._bar.update(counts.done + counts.failed - self._bar.n)
        elif self._clock() - self._last_line >= LINE_SECONDS or not counts.waiting:
            self._last_line = self._clock()
            left = f", {self.seconds_left(counts) / 60:.1f} min left" if counts.waiting else ""
            print(
                f"{counts.done} of {counts.total} done, {counts.failed} failed, {rate:.1f} pictures/min{left}",
                file=sys.stderr,
                flush=True,
            )

    def pictures_per_minute(self, counts: Counts) -> float:
        """Return the rate of this run; what was done before it does not count."""
        return (counts.pictures - self._first.pictures) * 60 / max(self._clock() - self._began, 1e-9)

    def seconds_left(self, counts: Counts) -> float:
        """Return the time for the requests that wait, at the rate of this run."""
        ended = self._first.waiting - counts.waiting
        return (self._clock() - self._began) / max(ended, 1) * counts.waiting

    def notice(self, console: Console, text: str) -> None:
        """Show a notice without breaking the bar."""
        if self._bar is not None:
            self._bar.clear()
        console.notice(text)

    def close(self) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
