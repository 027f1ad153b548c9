"""A batch over a fake pool: one committed result each, what is tried again, and going on after an interruption."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fooocus_stages.pipelines.errors import BadFile, MissingFile, UserError
from fooocus_stages.serving.batch import manifest as manifests
from fooocus_stages.serving.batch.drive import Drive, NoWorkers
from fooocus_stages.serving.batch.lines import Inputs, Request
from fooocus_stages.serving.batch.manifest import Counts, Failure, Manifest
from fooocus_stages.serving.batch.sheet import write_sheets
from fooocus_stages.serving.pool.local import LocalPool
from fooocus_stages.serving.pool.settings import WorkerSettings
from PIL import Image

from ..pool.fake import FakePool, picture
from ..pool.watching import one

PACK = Path(__file__).parents[1] / "pool" / "misbehaving.py"


@pytest.fixture(autouse=True)
def _closed_manifests(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    opened: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def connecting(*arguments: Any, **settings: Any) -> sqlite3.Connection:
        opened.append(connect(*arguments, **settings))
        return opened[-1]

    monkeypatch.setattr(manifests.sqlite3, "connect", connecting)
    yield
    for connection in opened:
        connection.close()


def requests_of(*ids: str, digest: str = "same") -> list[Request]:
    return [Request(id, number, digest, {}) for number, id in enumerate(ids, start=1)]


def no_inputs(request: Request) -> Inputs:
    return Inputs({}, {})


def run(folder: Path, *ids: str, pool: FakePool | None = None, **settings: Any) -> tuple[Manifest, FakePool]:
    pool = pool or FakePool()
    manifest = Manifest(folder)
    requests = requests_of(*ids)
    manifest.add(requests)
    manifest.clean()
    try:
        Drive(pool, manifest, requests, no_inputs, **settings).run()
    finally:
        pool.close()
    return manifest, pool


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def results_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith(manifests.NAME))


def test_every_request_has_one_result_by_its_id(tmp_path: Path) -> None:
    manifest, _ = run(tmp_path, "a", "two-b", "c")
    assert results_in(tmp_path) == ["a.png", "c.png", "two-b.png", "two-b~2.png"]
    assert manifest.counts() == Counts(total=3, done=3, failed=0, pictures=4)
    assert size_of(tmp_path / "a.png") == (12, 8)
    assert manifest.outputs_of("a") == {"1": {"seed": [7]}}
    assert manifest.results() == [("a", ["a.png"]), ("two-b", ["two-b.png", "two-b~2.png"]), ("c", ["c.png"])]


def test_a_finished_batch_does_nothing(tmp_path: Path) -> None:
    run(tmp_path, "a", "bad-b")
    _, pool = run(tmp_path, "a", "bad-b")
    assert pool.submitted == []


def test_a_lost_worker_means_one_retry_and_an_error_none(tmp_path: Path) -> None:
    notices: list[tuple[str, str]] = []
    manifest, pool = run(
        tmp_path, "once-a", "poison-b", "bad-c", "slow-d", "e", on_notice=lambda id, text: notices.append((id, text))
    )
    assert pool.runs == {"once-a": 2, "poison-b": 2, "bad-c": 1, "slow-d": 1, "e": 1}
    assert manifest.counts() == Counts(5, done=2, failed=3, pictures=2)
    assert manifest.failures() == [
        Failure("poison-b", "crash", "2 workers were lost while running it; the last: the worker was killed by the "
                "signal SIGSEGV"),
        Failure("bad-c", "user", "node 1 (Fail): choose something else"),
        Failure("slow-d", "timeout", "the job was stopped after its limit"),
    ]  # fmt: skip
    assert {id for id, _ in notices} == {"once-a", "poison-b"}


@pytest.mark.parametrize("retries", [0, 3])
def test_the_number_of_retries(tmp_path: Path, retries: int) -> None:
    _, pool = run(tmp_path, "poison-a", retries=retries)
    assert pool.runs["poison-a"] == retries + 1


def test_a_request_that_kills_two_processes_is_failed_and_the_next_one_runs(tmp_path: Path) -> None:
    graphs = {"poison": one("Crash"), "next": one("Work")}
    manifest, requests = Manifest(tmp_path), requests_of(*graphs)
    manifest.add(requests)
    with contextlib.closing(LocalPool(["cpu"], WorkerSettings(nodes=(PACK,), preload=False))) as pool:
        Drive(pool, manifest, requests, lambda request: Inputs(graphs[request.id], {})).run()
    (failure,) = manifest.failures()
    assert (failure.id, failure.kind) == ("poison", "crash")
    assert failure.reason.startswith("2 workers were lost while running it; the last: the worker was killed by the ")
    assert manifest.results() == [("next", [])]


def test_lost_workers_are_counted_over_several_runs(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    manifest.add(requests_of("poison-a"))
    assert manifest.lost("poison-a") == 1
    manifest, pool = run(tmp_path, "poison-a")
    assert pool.runs["poison-a"] == 1
    assert manifest.counts().failed == 1


def test_failed_requests_run_again_when_told(tmp_path: Path) -> None:
    manifest, _ = run(tmp_path, "bad-a", "b")
    manifest.wait_again()
    assert manifest.waiting() == ["bad-a"]


def test_new_lines_are_added_and_changed_ones_refused(tmp_path: Path) -> None:
    manifest, _ = run(tmp_path, "a")
    assert manifest.problems(requests_of("a", "b")) == []
    (problem,) = manifest.problems(requests_of("a", digest="other"))
    assert problem == "line 1: id 'a' was another request when this batch began; choose another id or folder"


def test_no_file_of_others_is_overwritten_or_removed(tmp_path: Path) -> None:
    (tmp_path / "A.png").write_bytes(b"mine")
    (tmp_path / "b.txt").write_bytes(b"mine")
    manifest = Manifest(tmp_path)
    problems = manifest.problems(requests_of("a", "b", "c"))
    assert [problem.partition(":")[0] for problem in problems] == ["line 1", "line 2"]
    manifest.add(requests_of("c"))
    manifest.clean()
    assert results_in(tmp_path) == ["A.png", "b.txt"]


def test_what_an_interruption_left_is_removed(tmp_path: Path) -> None:
    manifest, _ = run(tmp_path, "a")
    manifest.add(requests_of("a", "b"))
    for name in ("b.png", "b~2.png", ".0123.tmp", "b.txt", "bb.png"):
        (tmp_path / name).write_bytes(b"half")
    manifest.clean()
    assert results_in(tmp_path) == ["a.png", "b.txt", "bb.png"]


@pytest.mark.parametrize("step", ["write", "rename", "commit"])
def test_a_stop_at_any_step_of_a_commit_leaves_one_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        if step == "write":
            patched.setattr("fooocus_stages.pipelines.files.NewFile.write", killed)
        elif step == "rename":
            patched.setattr("fooocus_stages.pipelines.files.os.fsync", killed)
        else:
            patched.setattr(manifests.json, "dumps", killed)
        with pytest.raises(Killed):
            run(tmp_path, "a")
    manifest, pool = run(tmp_path, "a")
    assert [job.id for job in pool.submitted] == ["a"]
    assert results_in(tmp_path) == ["a.png"]
    assert manifest.counts() == Counts(1, 1, 0, 1)


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_stops_the_batch_and_fails_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, "first")
    with monkeypatch.context() as patched:
        patched.setattr("fooocus_stages.pipelines.files.os.fsync", full)
        with pytest.raises(UserError, match="No space left on device; make room"):
            run(tmp_path, "first", "a", "b")
    manifest, _ = run(tmp_path, "first", "a", "b")
    assert manifest.counts() == Counts(3, 3, 0, 3)
    assert results_in(tmp_path) == ["a.png", "b.png", "first.png"]


def test_a_really_full_disk_stops_the_batch_and_fails_nobody(disk: Path) -> None:
    run(disk, "first")
    with contextlib.suppress(OSError), (disk / "full").open("wb") as file:
        while True:
            file.write(bytes(4096))
    with pytest.raises(UserError, match=r"No space left on device|disk is full"):
        run(disk, "first", "a", "b")
    (disk / "full").unlink()
    manifest, _ = run(disk, "first", "a", "b")
    assert manifest.counts() == Counts(3, 3, 0, 3)
    assert results_in(disk) == ["a.png", "b.png", "first.png"]


def test_a_full_database_is_told(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    manifest._base.execute("pragma max_page_count = 3")
    with pytest.raises(UserError, match=r"manifest\.sqlite can't be used: database or disk is full"):
        manifest.add(requests_of(*(f"request-{number}" for number in range(5000))))


def test_without_workers_the_batch_ends_and_the_requests_wait(tmp_path: Path) -> None:
    with pytest.raises(NoWorkers, match="there is no GPU; run the same command again"):
        run(tmp_path, "crash-a", "b")
    assert "crash-a" in Manifest(tmp_path).waiting()


def test_a_pool_that_is_closed_ends_the_batch(tmp_path: Path) -> None:
    pool = FakePool()
    manifest = Manifest(tmp_path)
    manifest.add(requests_of("hang-a"))
    drive = Drive(pool, manifest, requests_of("hang-a"), no_inputs, on_end=lambda id: None)
    threading.Timer(0.1, pool.close).start()
    with pytest.raises(NoWorkers, match="run the same command again"):
        drive.run()
    assert manifest.waiting() == ["hang-a"]


def test_few_requests_wait_in_the_pool(tmp_path: Path) -> None:
    pool = FakePool(workers=1)
    manifest = Manifest(tmp_path)
    requests = requests_of(*(f"hang-{number}" for number in range(50)))
    manifest.add(requests)
    Drive(pool, manifest, requests, no_inputs)._fill()
    pool.close()
    assert len(pool.submitted) == 2


def test_a_manifest_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="holds no batch"):
        Manifest(tmp_path, must_exist=True)
    (tmp_path / manifests.NAME).write_bytes(b"something else that is long enough to be read")
    with pytest.raises(UserError, match="can't be used"):
        Manifest(tmp_path)
    (tmp_path / "newer").mkdir()
    base = sqlite3.connect(tmp_path / "newer" / manifests.NAME)
    base.execute("pragma user_version = 99")
    base.close()
    with pytest.raises(BadFile, match="version 99, expected 1"):
        Manifest(tmp_path / "newer")


def test_contact_sheets_show_all_results(tmp_path: Path) -> None:
    results = []
    for number in range(90):
        (tmp_path / f"{number}.png").write_bytes(picture().data)
        results.append((f"{number}", [f"{number}.png"]))
    (tmp_path / "89.png").write_bytes(b"no picture")
    notices: list[str] = []
    for _ in range(2):
        sheets = write_sheets(tmp_path, results, notices.append)
    assert [path.name for path in sheets] == ["sheet-001.jpg", "sheet-002.jpg"]
    assert notices[0].startswith("89.png is not on the contact sheet")
    assert [size_of(path) for path in sheets] == [(8 * 168 + 8, 10 * 184 + 8), (8 * 168 + 8, 2 * 184 + 8)]
    assert write_sheets(tmp_path, [], notices.append) == []
