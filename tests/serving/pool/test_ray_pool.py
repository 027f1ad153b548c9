"""Workers on two nodes of a Ray cluster on loopback: jobs, files, lost workers and nodes, and who is refused."""

from __future__ import annotations

import base64
import gc
import io
import itertools
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from fooocus_stages.pipelines.errors import BadValue
from fooocus_stages.pipelines.host import POCKET
from fooocus_stages.serving.cli import main
from fooocus_stages.serving.pool import ray_pool
from fooocus_stages.serving.pool.ray_leftovers import remove_session
from fooocus_stages.serving.pool.ray_pool import RayPool, is_loopback
from fooocus_stages.serving.pool.ray_worker import OLD_SECONDS, STORE, RayWorker, model_digests
from fooocus_stages.serving.pool.settings import WorkerSettings, versions
from fooocus_stages.serving.pool.types import Cancelled, Done, Failed, Job, Lost, Progress
from PIL import Image

from .watching import PATIENCE, Watcher, one, pid_of

PACK = Path(__file__).with_name("misbehaving.py")
SETTINGS = WorkerSettings(nodes=(PACK,), preload=False)
NODE = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "include_dashboard": False, "object_store_memory": 80 * 2**20}
SPARING = {  # a dead node is noticed after 5 checks that fail at once, and no worker is started that nobody wants
    "RAY_health_check_period_ms": "300",
    "RAY_prestart_worker_first_driver": "0",
}
ATTEMPTS = 5
TOKEN = "0123456789abcdef" * 4
CONNECT = """
import sys
from fooocus_stages.pipelines.errors import UserError
from fooocus_stages.serving.pool.ray_pool import connected
try:
    connected(sys.argv[1])
except UserError as error:
    print(type(error).__name__, error)
"""
BATCH = """
import sys
from dataclasses import replace
from fooocus_stages.serving.cli import main
from fooocus_stages.serving.commands import common, pools
pools.worker_settings = lambda *given: replace(common.worker_settings(*given), preload=False)
sys.exit(main(sys.argv[1:]))
"""  # the workflow copies pictures, for which no network is needed
CARD = POCKET.parent / "pictures" / "test_card.png"  # which the safety checker of the pocket model flags
ENLARGE = {"uov_method": "Upscale (Fast 2x)", "output_format": "png"}
numbers = itertools.count()
pytestmark = pytest.mark.filterwarnings("default")  # Ray's own


with_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install fooocus-stages[ray]")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head and a second node, both on loopback, with token authentication."""
    patch = pytest.MonkeyPatch()
    authentication = {ray_pool.AUTHENTICATION: "token", "RAY_AUTH_TOKEN": TOKEN}
    for name, value in {**ray_pool.ENVIRONMENT, **ray_pool.ON_LOOPBACK, **authentication, **SPARING}.items():
        patch.setenv(name, value)
    from ray.cluster_utils import Cluster

    cluster = started(lambda: Cluster(initialize_head=True, head_node_args=NODE))
    cluster.second = started(lambda: cluster.add_node(**NODE))
    yield cluster
    session = Path(cluster.head_node.get_session_dir_path()).name
    cluster.shutdown()
    remove_session(session)
    patch.undo()
    with warnings.catch_warnings():  # of what Ray leaves open, which would fail a later test
        warnings.simplefilter("ignore")
        gc.collect()


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
    path, sent = tmp_path / "anything", set()
    for number, content in enumerate(("first", "second", "first", "first")):
        path.write_text(f"{content} {kind}", "utf-8")
        done = watcher.run(f"{job} {number}", one("Read", kind=kind, name=name), files={name: path})
        assert done.result.ui["1"]["values"] == [f"{content} {kind}"]
        sent |= {(path, path.stat().st_mtime_ns) for path in stored(watcher) if path.read_text("utf-8").endswith(kind)}
    assert len(sent) == 2, "each content once, whichever worker of the machine needs it"
    missing = watcher.run(job, one("Work"), files={name: tmp_path / "gone"})
    assert isinstance(missing, Failed)
    assert str(tmp_path / "gone") in missing.reason


def stored(watcher: Watcher) -> list[Path]:
    """The files that jobs have brought to this machine."""
    pool = watcher.pool
    assert isinstance(pool, RayPool)
    return [path for path in (Path(tempfile.gettempdir()) / STORE / pool._id).iterdir() if path.is_file()]


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
    import ray

    until(lambda: sum(node["Alive"] for node in ray.nodes()) == 1)  # a pool made before gives that node a worker


@with_ray
def test_other_versions_are_refused_with_both_values(watcher: Watcher, cluster: Any) -> None:
    watcher.pool.close()
    failed = refused(RayPool(cluster.address, SETTINGS, workers=1, expected=versions() | {"torch": "1.0"}))
    assert f"torch is {versions()['torch']} there and 1.0 here" in failed.reason


@with_ray
def test_other_models_are_refused_with_both_values(
    watcher: Watcher, cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher.pool.close()
    (tmp_path / "style.safetensors").write_bytes(b"there")
    there = model_digests([tmp_path])
    (tmp_path / "style.safetensors").write_bytes(b"here")
    here = model_digests([tmp_path])
    monkeypatch.setattr(ray_pool, "model_digests", lambda folders: there)
    failed = refused(RayPool(cluster.address, replace(SETTINGS, models=(tmp_path,)), workers=1))
    for digests in (here, there):
        assert f"{digests['style.safetensors']} on " in failed.reason


def refused(pool: RayPool) -> Failed:
    """The end of a job on a pool whose workers are all refused."""
    failed = Watcher(pool).run("job", one("Work"))
    pool.close()
    assert isinstance(failed, Failed)
    assert failed.kind == "crash"
    return failed


@with_ray
def test_a_wrong_token_is_refused(watcher: Watcher, cluster: Any) -> None:
    watcher.pool.close()
    command = [sys.executable, "-c", CONNECT, cluster.address]
    environment = {**os.environ, "RAY_AUTH_TOKEN": TOKEN[::-1], "RAY_NUM_REDIS_GET_RETRIES": "2"}  # 20, one a second
    found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("UserError")
    assert "the same token" in found.stdout


@with_ray
def test_a_worker_without_the_safety_checker_is_refused(watcher: Watcher, cluster: Any) -> None:
    watcher.pool.close()
    failed = refused(RayPool(cluster.address, replace(SETTINGS, safety_checker="gone.bin"), workers=1))
    assert failed.reason.startswith(f"no worker can be started: node {platform.node()}: ")
    assert "'gone.bin'" in failed.reason


@with_ray
def test_a_killed_driver_leaves_the_cluster_to_the_next(
    watcher: Watcher, cluster: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    watcher.pool.close()
    Image.new("RGB", (16, 16), "teal").save(tmp_path / "mine.png")
    shutil.copy(CARD, tmp_path / "card.png")
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "mine.png"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "copy"}},
    }
    (tmp_path / "copy.json").write_text(json.dumps(graph), "utf-8")
    copies = [f"copy-{number:02}" for number in range(16)]
    lines = [{"id": id, "workflow": str(tmp_path / "copy.json")} for id in copies]
    drawing = {"prompt": "a red circle", "performance": "Extreme Speed", "output_format": "png"}
    lines.append({"id": "checked", "endpoint": "fal-ai/fooocus", "input": drawing})
    enlarge = {**ENLARGE, "uov_image_url": "card.png"}
    lines.append({"id": "flagged", "endpoint": "fal-ai/fooocus/upscale-or-vary", "input": enlarge})
    (tmp_path / "requests.jsonl").write_text("\n".join(map(json.dumps, lines)), "utf-8")
    results = tmp_path / "out"
    options = [str(tmp_path / "requests.jsonl"), "-o", str(results), "--input-dir", str(tmp_path), "--json"]
    options += ["--ray", cluster.address, "--workers", "1", "--models", "pocket"]
    command = [sys.executable, "-c", BATCH, "batch", *options]
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: killed.poll() is not None or (results / f"{copies[2]}.png").exists())
    killed.kill()
    killed.wait()
    kept = {path: path.stat().st_mtime_ns for path in results.glob("*.png")}
    assert 3 <= len(kept) < len(lines)
    assert main(["batch", *options]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["done"], report["files"], report["waiting"]) == (len(lines), len(lines), 0)
    assert sorted(path.stem for path in results.glob("*.png")) == sorted([*copies, "checked", "flagged"])
    made_again = [path for path, time_ns in kept.items() if path.stat().st_mtime_ns != time_ns]
    assert len(made_again) <= 1, "only a file whose row was not committed is made again"
    with Image.open(results / "checked.png") as image:
        assert "prompt" in image.info, "the workflow is inside"
    assert report["flagged"] == ["flagged.png"]
    assert [id for id in ("checked", "flagged") if is_black((results / f"{id}.png").read_bytes())] == ["flagged"]


@with_ray
def test_a_server_gives_its_requests_to_the_cluster(watcher: Watcher, cluster: Any, tmp_path: Path) -> None:
    watcher.pool.close()
    command = [sys.executable, "-m", "fooocus_stages.serving.cli", "serve", "--port", "0", "--models", "pocket"]
    command += ["--ray", cluster.address, "--workers", "1", "--state", str(tmp_path)]
    given = {**ENLARGE, "uov_image_url": f"data:image/png;base64,{base64.b64encode(CARD.read_bytes()).decode()}"}
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        url = server.stdout.readline().split()[-1]
        call = urllib.request.Request(
            f"{url}/fal/run/fal-ai/fooocus/upscale-or-vary",
            json.dumps(given).encode(),
            {"Content-Type": "application/json"},
        )
        with direct.open(call, timeout=PATIENCE) as reply:
            output = json.load(reply)
        with direct.open(f"{url}/ready") as reply:
            (worker,) = json.load(reply)["workers"]
        with direct.open(output["images"][0]["url"]) as reply:
            assert is_black(reply.read())
        server.terminate()
    assert output["has_nsfw_concepts"] == [True]
    assert worker["name"] == f"{platform.node()}-0"
    assert server.returncode == 0


def is_black(picture: bytes) -> bool:
    with Image.open(io.BytesIO(picture)) as image:
        return image.convert("RGB").getbbox() is None


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


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


def test_a_worker_removes_what_pools_of_earlier_days_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for name, age in (("old", OLD_SECONDS + 60), ("new", 60)):
        (tmp_path / STORE / name).mkdir(parents=True)
        os.utime(tmp_path / STORE / name, (time.time() - age,) * 2)
    RayWorker(SETTINGS.as_json(), "cpu", "pool", 1)
    assert {path.name for path in (tmp_path / STORE).iterdir()} == {"new", "pool"}
