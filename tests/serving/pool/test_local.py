"""Worker processes: what ends a job, what ends a worker, and that the next job finds a fresh one."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fooocus_stages.pipelines.errors import BadValue
from fooocus_stages.serving.pool.local import LocalPool
from fooocus_stages.serving.pool.settings import WorkerSettings
from fooocus_stages.serving.pool.types import Cancelled, Done, Failed, Job, Log, Lost, Progress, Started

from .watching import PATIENCE, Watcher, one, pid_of

PACK = Path(__file__).with_name("misbehaving.py")
SETTINGS = WorkerSettings(nodes=(PACK,), preload=False)
numbers = itertools.count()


@pytest.fixture(scope="module")
def watcher() -> Iterator[Watcher]:
    pool = LocalPool(["cpu"], SETTINGS, grace=0.5)
    yield Watcher(pool)
    pool.close()


@pytest.fixture
def job() -> str:
    return f"job {next(numbers)}"


def test_a_job_reports_what_it_does(watcher: Watcher, job: str) -> None:
    done = watcher.run(job, one("Work", steps=3, seconds=0.3))
    events = [event for event in watcher.seen if event.job == job]
    assert events[0] == Started(job, "worker-0")
    assert [event for event in events if isinstance(event, Progress)] == [
        Progress(job, step, 3, "1") for step in (1, 2, 3)
    ]
    logs = [(event.level, event.message) for event in events if isinstance(event, Log)]
    assert logs == [("info", "node 1 (Work)"), ("warning", "the work is done")]
    assert done.result.notices == ("the work is done",)
    assert done.result.seconds["total"] >= done.result.seconds["1"] >= 0.3


def test_the_requested_outputs_come_back(watcher: Watcher, job: str) -> None:
    done = watcher.run(job, one("Numbered", seed=7), outputs=("seed", "image"))
    assert done.result.outputs == {"1": {"seed": [7], "image": []}}


@pytest.mark.parametrize(
    ("class_type", "reason"),
    [("Crash", "SIGKILL"), ("Crash", "the last words of the worker"), ("Exit", "exit code 7")],
)
def test_a_worker_that_dies_is_replaced(watcher: Watcher, job: str, class_type: str, reason: str) -> None:
    before = pid_of(watcher.run(f"{job} before", one("Work")))
    lost = watcher.run(job, one(class_type))
    assert isinstance(lost, Lost)
    assert reason in lost.reason
    assert pid_of(watcher.run(f"{job} after", one("Work"))) != before


def test_a_worker_killed_from_outside_loses_its_job_alone(watcher: Watcher, job: str) -> None:
    watcher.pool.submit(Job(job, one("Hang")))
    watcher.pool.submit(Job(f"{job} next", one("Work")))
    watcher.until(Progress, job)
    info = watcher.pool.workers()[0]
    assert (info.state, info.job) == ("busy", job)
    assert info.pid is not None
    os.kill(info.pid, signal.SIGKILL)
    assert isinstance(watcher.ending(job), Lost)
    assert isinstance(watcher.ending(f"{job} next"), Done)


def test_cancelling_a_job_that_works_keeps_its_worker(watcher: Watcher, job: str) -> None:
    before = pid_of(watcher.run(f"{job} before", one("Work")))
    watcher.pool.submit(Job(job, one("Work", steps=6000, seconds=600.0)))
    watcher.until(Progress, job)
    assert watcher.pool.cancel(job)
    assert watcher.ending(job) == Cancelled(job)
    assert not watcher.pool.cancel(job)
    assert pid_of(watcher.run(f"{job} after", one("Work"))) == before


def test_cancelling_a_job_that_hangs_kills_its_worker(watcher: Watcher, job: str) -> None:
    before = pid_of(watcher.run(f"{job} before", one("Work")))
    watcher.pool.submit(Job(job, one("Hang")))
    watcher.until(Progress, job)
    watcher.pool.cancel(job)
    assert watcher.ending(job) == Cancelled(job)
    assert pid_of(watcher.run(f"{job} after", one("Work"))) != before


def test_a_waiting_job_is_cancelled_before_it_starts(watcher: Watcher, job: str) -> None:
    watcher.pool.submit(Job(f"{job} first", one("Work", steps=6000, seconds=600.0)))
    watcher.pool.submit(Job(job, one("Work")))
    assert watcher.pool.cancel(job)
    assert watcher.ending(job) == Cancelled(job)
    watcher.pool.cancel(f"{job} first")
    watcher.ending(f"{job} first")
    assert Started(job, "worker-0") not in watcher.seen
    assert not watcher.pool.cancel("unknown")


@pytest.mark.parametrize(("class_type", "stays"), [("Work", True), ("Hang", False)])
def test_a_job_ends_at_its_limit(watcher: Watcher, job: str, class_type: str, stays: bool) -> None:
    before = pid_of(watcher.run(f"{job} before", one("Work")))
    inputs = {"steps": 6000, "seconds": 600.0} if class_type == "Work" else {}
    failed = watcher.run(job, one(class_type, **inputs), seconds=0.2)
    assert failed == Failed(job, "the job was stopped after its limit of 0.2 s", "timeout")
    assert (pid_of(watcher.run(f"{job} after", one("Work"))) == before) is stays


@pytest.mark.parametrize(
    ("how", "kind", "stays"),
    [("user", "user", True), ("node", "node", True), ("memory", "memory", True), ("device", "node", False)],
)
def test_failures_have_kinds(watcher: Watcher, job: str, how: str, kind: str, stays: bool) -> None:
    before = pid_of(watcher.run(f"{job} before", one("Work")))
    failed = watcher.run(job, one("Fail", how=how))
    assert isinstance(failed, Failed)
    assert failed.kind == kind
    assert failed.reason.startswith("node 1 (Fail): ")
    assert (pid_of(watcher.run(f"{job} after", one("Work"))) == before) is stays


def test_an_invalid_graph_is_the_users_error(watcher: Watcher, job: str) -> None:
    failed = watcher.run(job, one("Wrok"))
    assert isinstance(failed, Failed)
    assert failed.kind == "user"
    assert "'Wrok'" in failed.reason


@pytest.mark.parametrize(("kind", "name"), [("input", "picture.png"), ("loras", "style.safetensors")])
def test_files_are_found_under_the_name_in_the_graph(
    watcher: Watcher, job: str, tmp_path: Path, kind: str, name: str
) -> None:
    for content in ("first", "second"):
        path = tmp_path / f"{content}.data"
        path.write_text(content, "utf-8")
        done = watcher.run(f"{job} {content}", one("Read", kind=kind, name=name), files={name: path})
        assert done.result.ui["1"]["values"] == [content]
    assert isinstance(watcher.run(job, one("Read", kind=kind, name=name)), Failed)


@pytest.mark.parametrize("name", ["../escaped.png", "/etc/escaped.png", "a/../../escaped.png", "."])
def test_a_file_name_stays_in_its_folder(watcher: Watcher, job: str, tmp_path: Path, name: str) -> None:
    path = tmp_path / "file"
    path.write_text("content", "utf-8")
    failed = watcher.run(job, one("Work"), files={name: path})
    assert isinstance(failed, Failed)
    assert failed.kind == "user"
    assert repr(name) in failed.reason


def test_a_missing_file_is_named(watcher: Watcher, job: str, tmp_path: Path) -> None:
    failed = watcher.run(job, one("Work"), files={"a.png": tmp_path / "gone"})
    assert isinstance(failed, Failed)
    assert str(tmp_path / "gone") in failed.reason


def test_higher_priority_first_and_then_the_order_of_submission(watcher: Watcher, job: str) -> None:
    watcher.pool.submit(Job(f"{job} blocks", one("Work", steps=6000, seconds=600.0)))
    for name, priority in (("a", 0), ("b", 0), ("c", 1), ("d", -1), ("e", 1)):
        watcher.pool.submit(Job(f"{job} {name}", one("Work"), priority=priority))
    watcher.pool.cancel(f"{job} blocks")
    for name in "abcde":
        watcher.ending(f"{job} {name}")
    started = [event.job for event in watcher.seen if isinstance(event, Started) and event.job.startswith(f"{job} ")]
    assert started == [f"{job} {name}" for name in ("blocks", "c", "e", "a", "b", "d")]


def test_ids_of_unfinished_jobs_are_unique(watcher: Watcher, job: str) -> None:
    watcher.pool.submit(Job(job, one("Work")))
    with pytest.raises(BadValue, match=job):
        watcher.pool.submit(Job(job, one("Work")))
    watcher.ending(job)


def test_closing_cancels_and_ends_the_events() -> None:
    pool = LocalPool(["cpu"], SETTINGS)
    watcher = Watcher(pool)
    pool.submit(Job("runs", one("Hang")))
    watcher.until(Progress, "runs")
    pool.submit(Job("waits", one("Work")))
    pid = pool.workers()[0].pid
    pool.close()
    pool.close()
    assert [watcher.ending(name) for name in ("runs", "waits")] == [Cancelled("runs"), Cancelled("waits")]
    assert watcher.next() is None
    assert list(pool.events()) == []
    assert pool.workers()[0].state == "closed"
    with pytest.raises(BadValue, match="closed"):
        pool.submit(Job("late", one("Work")))
    with pytest.raises(ProcessLookupError):
        os.kill(pid or 0, 0)


def test_two_workers_share_the_jobs() -> None:
    pool = LocalPool(["cpu", "cpu"], SETTINGS)
    watcher = Watcher(pool)
    for name in ("a", "b"):
        pool.submit(Job(name, one("Hang")))
    for name in ("a", "b"):
        watcher.until(Started, name)
    assert {info.job for info in pool.workers()} == {"a", "b"}
    pool.close()


@pytest.mark.parametrize(
    ("device", "settings", "part"),
    [
        ("cuda:99", WorkerSettings(), "'cuda:99' is not available"),
        ("cpu", WorkerSettings(models=(Path("/nowhere"),)), "/nowhere does not exist"),
        ("cpu", WorkerSettings(nodes=(Path("/nowhere"),)), "/nowhere"),
        ("cpu", WorkerSettings(safety_checker="gone.bin"), "gone.bin"),
    ],
)
def test_a_worker_that_can_not_start_fails_the_jobs(device: str, settings: WorkerSettings, part: str) -> None:
    pool = LocalPool([device], settings)
    failed = Watcher(pool).run("job", one("Work"))
    info = pool.workers()[0]
    pool.close()
    assert isinstance(failed, Failed)
    assert failed.kind == "crash"
    assert part in failed.reason
    assert (info.state, info.pid) == ("broken", None)
    assert part in info.reason


PARENT = """
import os, signal, sys
from pathlib import Path
from fooocus_stages.serving.pool.local import LocalPool
from fooocus_stages.serving.pool.settings import WorkerSettings
from fooocus_stages.serving.pool.types import Job, Progress
pool = LocalPool(["cpu"], WorkerSettings(nodes=(Path(sys.argv[1]),), preload=False))
pool.submit(Job("job", {"1": {"class_type": "Hang", "inputs": {}}}))
next(event for event in pool.events() if isinstance(event, Progress))
print(pool.workers()[0].pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_worker_ends_with_its_parent_and_leaves_no_folder(tmp_path: Path) -> None:
    command, environment = [sys.executable, "-c", PARENT, str(PACK)], {**os.environ, "TMPDIR": str(tmp_path)}
    parent = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    pid = int(parent.stdout)
    deadline = time.monotonic() + PATIENCE
    while is_running(pid):
        assert time.monotonic() < deadline, "the worker outlives its parent"
        time.sleep(0.05)
    assert not list(tmp_path.iterdir())


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
