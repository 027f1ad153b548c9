"""Workers on two nodes of a Ray cluster on loopback: jobs, files, lost workers and nodes, and who is refused."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from fooocus_stages.pipelines.errors import BadValue
from fooocus_stages.serving.pool import ray_pool
from fooocus_stages.serving.pool.ray_pool import RayPool, is_loopback
from fooocus_stages.serving.pool.ray_worker import RayWorker, model_digests
from fooocus_stages.serving.pool.settings import WorkerSettings, versions
from fooocus_stages.serving.pool.types import Cancelled, Done, Failed, Job, Lost, Progress

from .watching import Watcher, one, pid_of

PACK = Path(__file__).with_name("misbehaving.py")
SETTINGS = WorkerSettings(nodes=(PACK,), preload=False)
NODE = {"num_cpus": 2, "node_ip_address": "127.0.0.1", "include_dashboard": False, "object_store_memory": 80 * 2**20}
ATTEMPTS = 5
numbers = itertools.count()
pytestmark = pytest.mark.filterwarnings("default")  # Ray's own


with_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install fooocus-stages[ray]")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head and a second node, both on loopback."""
    patch = pytest.MonkeyPatch()
    for name, value in {**ray_pool.ENVIRONMENT, **ray_pool.ON_LOOPBACK}.items():
        patch.setenv(name, value)
    from ray.cluster_utils import Cluster

    cluster = started(lambda: Cluster(initialize_head=True, head_node_args=NODE))
    cluster.second = started(lambda: cluster.add_node(**NODE))
    yield cluster
    cluster.shutdown()
    patch.undo()


def started(start: Callable[[], Any]) -> Any:
    """Start a part of a cluster; on a busy machine Ray gives up after 30 s of its own, so try again."""
    for attempt in range(ATTEMPTS):
        try:
            return start()
        except Exception as error:
            if "timed out" not in str(error) or attempt == ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


@pytest.fixture(scope="module")
def watcher(cluster: Any) -> Iterator[Watcher]:
    pool = RayPool(cluster.address, SETTINGS, grace=1.0)
    yield Watcher(pool)
    pool.close()


@pytest.fixture
def job() -> str:
    return f"job {next(numbers)}"


@with_ray
def test_a_job_runs_with_its_events(watcher: Watcher, job: str) -> None:
    done = watcher.run(job, one("Work", steps=3, seconds=0.3))
    assert done.result.notices == ("the work is done",)
    assert [event.value for event in watcher.seen if isinstance(event, Progress) and event.job == job] == [1, 2, 3]
    assert len(watcher.pool.workers()) == 2


@with_ray
@pytest.mark.parametrize(("kind", "name"), [("input", "picture.png"), ("loras", "style.safetensors")])
def test_files_travel_by_their_content(watcher: Watcher, job: str, tmp_path: Path, kind: str, name: str) -> None:
    path = tmp_path / "anything"
    for content in ("first", "second"):
        path.write_text(content, "utf-8")
        done = watcher.run(f"{job} {content}", one("Read", kind=kind, name=name), files={name: path})
        assert done.result.ui["1"]["values"] == [content]
    missing = watcher.run(job, one("Work"), files={name: tmp_path / "gone"})
    assert isinstance(missing, Failed)
    assert str(tmp_path / "gone") in missing.reason


@with_ray
def test_failures_and_limits_end_jobs_alone(watcher: Watcher, job: str) -> None:
    failed = watcher.run(job, one("Fail", how="user"))
    assert (failed.kind, failed.reason) == ("user", "node 1 (Fail): choose something else")
    slow = watcher.run(f"{job} slow", one("Work", steps=6000, seconds=600.0), seconds=0.2)
    assert slow.kind == "timeout"
    assert isinstance(watcher.run(f"{job} next", one("Work")), Done)


@with_ray
@pytest.mark.parametrize("class_type", ["Work", "Hang"])
def test_cancelling(watcher: Watcher, job: str, class_type: str) -> None:
    inputs = {"steps": 6000, "seconds": 600.0} if class_type == "Work" else {}
    watcher.pool.submit(Job(job, one(class_type, **inputs)))
    watcher.until(Progress, job)
    assert watcher.pool.cancel(job)
    assert watcher.ending(job) == Cancelled(job)
    assert isinstance(watcher.run(f"{job} next", one("Work")), Done)


@with_ray
def test_a_worker_that_is_killed_is_lost_and_replaced(watcher: Watcher, job: str) -> None:
    watcher.pool.submit(Job(job, one("Hang")))
    watcher.until(Progress, job)
    pid = next(info.pid for info in watcher.pool.workers() if info.job == job)
    os.kill(pid or 0, signal.SIGKILL)
    lost = watcher.ending(job)
    assert isinstance(lost, Lost)
    assert "lost" in lost.reason
    assert pid_of(watcher.run(f"{job} next", one("Work"))) != pid


@with_ray
def test_a_node_that_is_killed_loses_its_job_and_the_other_goes_on(watcher: Watcher, cluster: Any, job: str) -> None:
    for name in ("a", "b"):
        watcher.pool.submit(Job(f"{job} {name}", one("Hang")))
    for name in ("a", "b"):
        watcher.until(Progress, f"{job} {name}")
    cluster.remove_node(cluster.second, allow_graceful=False)
    while not (lost := [event for event in watcher.seen if isinstance(event, Lost) and event.job.startswith(job)]):
        watcher.next()
    other = f"{job} a" if lost[0].job.endswith("b") else f"{job} b"
    watcher.pool.cancel(other)
    assert watcher.ending(other) == Cancelled(other)
    assert isinstance(watcher.run(f"{job} next", one("Work")), Done)


@with_ray
def test_other_versions_are_refused_with_both_values(watcher: Watcher, cluster: Any) -> None:
    watcher.pool.close()
    pool = RayPool(cluster.address, SETTINGS, workers=1, expected=versions() | {"torch": "1.0"})
    failed = Watcher(pool).run("job", one("Work"))
    pool.close()
    assert failed.kind == "crash"
    assert f"torch is {versions()['torch']} there and 1.0 here" in failed.reason


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("auto", False),
        ("local", True),
        ("127.0.0.1:6379", True),
        ("localhost:6379", True),
        ("[::1]:6379", True),
        ("ray://127.0.0.1:10001", True),
        ("10.0.0.5:6379", False),
        ("ray.example.org:6379", False),
        ("127.0.0.1.example.org:6379", False),
    ],
)
def test_loopback_addresses(address: str, expected: bool) -> None:
    assert is_loopback(address) is expected


@with_ray
def test_a_cluster_beyond_this_machine_needs_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ray_pool.AUTHENTICATION, raising=False)
    with pytest.raises(BadValue, match="whoever reaches a Ray cluster runs any code on it"):
        RayPool("10.0.0.5:6379", SETTINGS)


def test_models_that_differ_have_other_digests(tmp_path: Path) -> None:
    path = tmp_path / "loras" / "a.safetensors"
    path.parent.mkdir()
    found = []
    for content in (b"x" * 3_000_000, b"x" * 2_999_999 + b"y", b"x" * 3_000_000):
        path.write_bytes(content)
        found.append(model_digests([tmp_path])["loras/a.safetensors"])
    assert found[0] == found[2] != found[1]


def test_a_node_refuses_damaged_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    worker = RayWorker(SETTINGS.as_json(), "cpu", "pool", 1)
    assert worker.missing(["0" * 64]) == ["0" * 64]
    with pytest.raises(ValueError, match="damaged"):
        worker.keep("0" * 64, b"content")
