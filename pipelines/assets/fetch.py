"""Downloads files into their folders, several at a time, and resumes interrupted downloads."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TypeVar

from ..errors import BadValue, MissingFile
from .catalogue import Asset, format_bytes
from .download import Remote, download, look_up, part_of
from .http import Connection, DownloadFailed
from .needs import fetch_command

AT_ONCE = 4
TICK = 0.1  # seconds between two progress updates
RESERVED_SPACE = 512 * 2**20  # bytes that stay free on the disk
MAX_NAMED = 5

T = TypeVar("T")
Progress = Callable[[int, int], None]
"""Called repeatedly with the received bytes and the known total."""


def _ignore_progress(received: int, total: int) -> None:
    """Ignore the progress."""


def connection(timeout: float, endpoint: str | None = None) -> Connection:
    """Return a connection with a timeout in seconds without data, and a mirror in place of the hub."""
    return Connection(timeout=timeout, endpoint=endpoint)


@dataclass(frozen=True)
class Job:
    """A file to download and its target path; None for the Hugging Face cache."""

    asset: Asset
    target: Path | None


def fetch(
    jobs: Sequence[Job],
    connection: Connection | None = None,
    progress: Progress = _ignore_progress,
    at_once: int = AT_ONCE,
    folders: str = "",
) -> dict[str, Path]:
    """Download files, `at_once` (>= 1) at a time, and return their paths by id. `folders`: as in `fetch_command`.

    A file that fails does not stop the others. Raises BadValue if the disk has too little space, and MissingFile with
    counts, names, reasons and the command that resumes. KeyboardInterrupt keeps the received data for the next call.
    """
    connection = connection or Connection()
    looked_up = _run_all(jobs, lambda job: look_up(job.asset, connection), connection, at_once)
    outcomes = {job.asset.id: outcome for job, outcome in zip(jobs, looked_up, strict=True)}
    known = {name: remote for name, remote in outcomes.items() if isinstance(remote, Remote)}
    available = [job for job in jobs if job.asset.id in known]
    _check_disk_space(available, known)
    total = sum(known[job.asset.id].size or job.asset.size or 0 for job in available if job.target)
    counter = _Counter()
    downloaded = _run_all(
        available,
        lambda job: _fetch_one(job, known[job.asset.id], connection, counter.add),
        connection,
        at_once,
        lambda: progress(counter.bytes, max(total, counter.bytes)),
    )
    results = {**outcomes, **{job.asset.id: outcome for job, outcome in zip(available, downloaded, strict=True)}}
    if failed := {name: str(result) for name, result in results.items() if isinstance(result, DownloadFailed)}:
        raise MissingFile(_report([job.asset for job in jobs], failed, folders))
    return {name: result for name, result in results.items() if isinstance(result, Path)}


def offline(assets: Sequence[Asset], folders: str = "") -> MissingFile:
    """Return the error for missing files without a network."""
    names = ", ".join(f"{asset.kind}/{asset.name}" for asset in assets)
    return MissingFile(
        f"offline, and {len(assets)} file{'s are' if len(assets) > 1 else ' is'} missing: {names}; "
        f"run `{fetch_command(assets, folders)}` on a machine with a network, or copy them into the models folder"
    )


def _fetch_one(job: Job, remote: Remote, connection: Connection, on_bytes: Callable[[int], None]) -> Path:
    if job.target is None:
        from huggingface_hub import hf_hub_download

        asset, endpoint, token = job.asset, connection.endpoint, connection.token
        try:
            return Path(str(hf_hub_download(asset.repo, asset.file, endpoint=endpoint, token=token)))
        except Exception as error:  # from requests, httpx or the library itself, depending on its version
            raise DownloadFailed(" ".join(str(error).split())) from error
    try:
        download(job.asset, remote, job.target, connection, on_bytes)
    except OSError as error:
        raise DownloadFailed(f"{job.target} can't be written: {error.strerror or error}") from error
    return job.target


class _Counter:
    """Received bytes, counted by several threads."""

    def __init__(self) -> None:
        self.bytes = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self.bytes += count


def _run_all(
    jobs: Sequence[Job],
    act: Callable[[Job], T],
    connection: Connection,
    at_once: int,
    on_tick: Callable[[], None] = lambda: None,
) -> list[T | DownloadFailed]:
    """Call `act` for each job in threads; return the result or DownloadFailed of each, in order.

    `on_tick` is called every TICK seconds. The threads are daemons: Ctrl-C ends the wait at once, and the data that
    they have written is kept.
    """
    waiting: SimpleQueue[int] = SimpleQueue()
    done: SimpleQueue[tuple[int, T | BaseException]] = SimpleQueue()
    for number in range(len(jobs)):
        waiting.put(number)

    def work() -> None:
        while not connection.stop.is_set():
            try:
                number = waiting.get_nowait()
            except Empty:
                return
            try:
                done.put((number, act(jobs[number])))
            except BaseException as error:
                done.put((number, error))

    for _ in range(min(at_once, len(jobs))):
        threading.Thread(target=work, daemon=True).start()
    found: dict[int, T | BaseException] = {}
    try:
        while len(found) < len(jobs):
            found |= _next_results(done)
            on_tick()
    except BaseException:
        connection.stop.set()
        raise
    return [_outcome(found[number]) for number in range(len(jobs))]


def _next_results(done: SimpleQueue[tuple[int, T | BaseException]]) -> dict[int, T | BaseException]:
    """Wait up to TICK seconds for the next result; return it by its job's number."""
    try:
        return dict([done.get(timeout=TICK)])
    except Empty:
        return {}


def _outcome(result: T | BaseException) -> T | DownloadFailed:
    if isinstance(result, BaseException) and not isinstance(result, DownloadFailed):
        raise result
    return result


def _check_disk_space(jobs: Sequence[Job], known: Mapping[str, Remote]) -> None:
    """Raise BadValue if the remaining downloads do not fit on a disk."""
    needed: dict[int, tuple[Path, int]] = {}
    for job in jobs:
        if job.target is None:
            continue
        remote = known[job.asset.id]
        part = part_of(job.target, remote)
        remaining = (remote.size or job.asset.size or 0) - (part.stat().st_size if part.exists() else 0)
        folder = next(folder for folder in job.target.absolute().parents if folder.is_dir())
        first, sum_so_far = needed.get(folder.stat().st_dev, (job.target.parent, 0))
        needed[folder.stat().st_dev] = (first, sum_so_far + max(remaining, 0))
    for folder, count in needed.values():
        existing = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.is_dir())
        free = shutil.disk_usage(existing).free
        if count and count + RESERVED_SPACE > free:
            raise BadValue(
                f"{format_bytes(count)} would be downloaded into {folder} and {format_bytes(RESERVED_SPACE)} should "
                "stay free, "
                f"but the disk has {format_bytes(free)}: free some space, or name another folder with --to"
            )


def _report(assets: Sequence[Asset], failed: Mapping[str, str], folders: str) -> str:
    """Return the failed files with reasons, the first few by name, and the command that resumes."""
    missing = [asset for asset in assets if asset.id in failed]
    first = "; ".join(f"{asset.name} ({failed[asset.id]})" for asset in missing[:MAX_NAMED])
    more = f"; and {len(missing) - MAX_NAMED} more" if len(missing) > MAX_NAMED else ""
    return (
        f"{len(missing)} of {len(assets)} files could not be downloaded: {first}{more}; "
        f"`{fetch_command(missing, folders)}` resumes the download"
    )
