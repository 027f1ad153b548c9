"""`batch`: what it checks before it runs, what it reports, and a kill of the driver in the middle."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from fooocus_stages.pipelines.settings import DEFAULT_SAFETY_CHECKER, NO_FILE
from fooocus_stages.serving.batch.manifest import Counts
from fooocus_stages.serving.cli import main
from fooocus_stages.serving.commands import batch
from fooocus_stages.serving.commands.batch import Progress
from fooocus_stages.serving.console import Console
from PIL import Image

from .pool.fake import CHECKER, FakePool
from .pool.watching import PATIENCE

WITHOUT_PRELOADING = """
import sys
from fooocus_stages.serving.cli import main
from fooocus_stages.serving.commands import batch
from fooocus_stages.serving.pool.local import LocalPool
from fooocus_stages.serving.pool.settings import WorkerSettings
batch.pool_of = lambda options, checker: LocalPool(["cpu"], WorkerSettings(preload=False))
sys.exit(main(sys.argv[1:]))
"""  # the workflow copies pictures, for which no network is needed
WORKFLOW = "text-to-image-extreme-speed"


def write(path: Path, *lines: Any) -> str:
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines), "utf-8")
    return str(path)


def drawing(id: str, **settings: Any) -> dict[str, Any]:
    return {"id": id, "workflow": WORKFLOW, "set": settings}


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> list[FakePool]:
    """The fake pools on which the command runs."""
    made: list[FakePool] = []

    def make(options: Any, checker: str) -> FakePool:
        made.append(FakePool(checker=checker))
        return made[-1]

    monkeypatch.setattr(batch, "pool_of", make)
    return made


def run(folder: Path, *options: str) -> int:
    return main(["batch", str(folder / "requests.jsonl"), "-o", str(folder / "out"), "--models", "pocket", *options])


def test_results_are_named_by_id_and_reported(
    tmp_path: Path, pools: list[FakePool], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [drawing("fox", **{"FooocusPrompt.seed": 3}), drawing("bad-owl"), drawing("notice-cat")]
    write(tmp_path / "requests.jsonl", *lines)
    assert run(tmp_path, "--json", "--sheet") == 1
    shown = capsys.readouterr()
    report = json.loads(shown.out)
    assert {key: report[key] for key in ("total", "done", "failed", "waiting", "files")} == {
        "total": 3, "done": 2, "failed": 1, "waiting": 0, "files": 2,
    }  # fmt: skip
    assert report["failures"] == [{"id": "bad-owl", "kind": "user", "reason": "node 1 (Fail): choose something else"}]
    assert report["notices"] == ["a notice"]
    assert report["sheets"] == [str(tmp_path / "out" / "sheets" / "sheet-001.jpg")]
    assert "2 of 3 done, 1 failed" in shown.err
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {"fox.png", "notice-cat.png"}
    graph = next(job.graph for job in pools[0].submitted if job.id == "fox")
    assert next(n["inputs"]["seed"] for n in graph.values() if n["class_type"] == "FooocusPrompt") == 3


def test_the_same_command_does_nothing_and_then_what_is_new(tmp_path: Path, pools: list[FakePool]) -> None:
    write(tmp_path / "requests.jsonl", drawing("a"), drawing("bad-b"))
    assert run(tmp_path) == 1
    assert run(tmp_path) == 1
    assert len(pools) == 1
    write(tmp_path / "requests.jsonl", drawing("a"), drawing("bad-b"), drawing("c"))
    assert run(tmp_path) == 1
    assert [job.id for job in pools[1].submitted] == ["c"]
    assert run(tmp_path, "--retry-failed") == 1
    assert [job.id for job in pools[2].submitted] == ["bad-b"]


def test_all_broken_lines_are_told_before_anything_runs(
    tmp_path: Path, pools: list[FakePool], capsys: pytest.CaptureFixture[str]
) -> None:
    write(
        tmp_path / "requests.jsonl",
        drawing("fine"),
        "broken",
        drawing("a", **{"FooocusPrompt.sed": 3}),
        drawing("b", **{"FooocusSampler.denoise": 7}),
        {"id": "c", "workflow": "upscale-fast-2x", "set": {"LoadImage.image": "gone.png"}},
        drawing("d", **{"FooocusLoadCheckpoint.ckpt_name": "gone.safetensors"}),
        {"id": "e", "endpoint": "fal-ai/fooocus", "input": {"guidance_scale": 99}},
        {"id": "f", "endpoint": "fal-ai/foocus", "input": {}},
    )
    assert run(tmp_path) == 2
    told = capsys.readouterr().err
    for number in range(2, 9):
        assert f"line {number}: " in told
    assert "line 1: " not in told
    assert "7 problems; nothing was run" in told
    assert pools == []
    assert not (tmp_path / "out").exists()


def test_what_a_request_asks_in_vain_is_told(
    tmp_path: Path, pools: list[FakePool], capsys: pytest.CaptureFixture[str]
) -> None:
    line = {"id": "a", "endpoint": "fal-ai/fooocus", "input": {"prompt": "a cat", "colour": "red"}}
    unchecked = {**line, "id": "b", "input": {"prompt": "a cat", "enable_safety_checker": False}}
    write(tmp_path / "requests.jsonl", line, unchecked)
    assert run(tmp_path, "--json", "--safety-checker", "off") == 0
    notices = json.loads(capsys.readouterr().out)["notices"]
    assert [text for text in notices if text.startswith("a: ") and "colour" in text]
    assert [text for text in notices if text.startswith("a: ") and "not checked" in text]
    assert not [text for text in notices if text.startswith("b: ")]
    assert checkers_of(pools[0]) == {"a": [], "b": []}


def checkers_of(pool: FakePool) -> dict[str, list[str]]:
    """The files of the safety checks of each job."""
    return {
        job.id: [node["inputs"]["checker_name"] for node in job.graph.values() if node["class_type"] == CHECKER]
        for job in pool.submitted
    }


@pytest.mark.parametrize("options", [[], ["--ray", "local"]])
def test_requests_that_ask_for_it_are_checked(
    tmp_path: Path, pools: list[FakePool], capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    lines = [
        {"id": id, "endpoint": "fal-ai/fooocus", "input": {"prompt": "a cat", "enable_safety_checker": asks}}
        for id, asks in (("flagged-a", True), ("two-b", False))
    ]
    write(tmp_path / "requests.jsonl", *lines)
    assert run(tmp_path, "--json", *options) == 0
    assert pools[0].checker == DEFAULT_SAFETY_CHECKER
    assert checkers_of(pools[0]) == {"flagged-a": [DEFAULT_SAFETY_CHECKER], "two-b": []}
    assert all("nsfw" in job.outputs for job in pools[0].submitted)
    assert json.loads(capsys.readouterr().out)["flagged"] == ["flagged-a.png"]
    assert main(["batch", "--status", str(tmp_path / "out")]) == 0
    assert "flagged-a.png: flagged by the safety checker" in capsys.readouterr().out


def test_a_request_is_refused_whose_safety_checker_is_missing(
    tmp_path: Path, pools: list[FakePool], capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "requests.jsonl", {"id": "a", "endpoint": "fal-ai/fooocus", "input": {"prompt": "a cat"}})
    assert run(tmp_path, "--safety-checker", "gone.bin") == 2
    told = capsys.readouterr().err
    assert "line 1: " in told
    assert "gone.bin" in told
    assert pools == []


def test_nothing_is_drawn_over_ray_where_no_worker_has_the_safety_checker(
    tmp_path: Path, pools: list[FakePool], capsys: pytest.CaptureFixture[str]
) -> None:
    asks = {"id": "a", "endpoint": "fal-ai/fooocus", "input": {"prompt": "a cat"}}
    write(tmp_path / "requests.jsonl", drawing("b"), asks)
    options = ["--ray", "local", "--safety-checker", "gone.bin"]
    assert run(tmp_path, *options) == 1
    assert "gone.bin is missing" in capsys.readouterr().err
    assert not pools[0].runs
    assert main(["batch", "--status", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.startswith("0 of 2 requests done, 0 failed, 2 waiting")
    write(tmp_path / "requests.jsonl", drawing("b"))
    assert run(tmp_path, *options) == 0
    assert pools[1].checker == NO_FILE, "no request asks for it"


def test_requests_by_endpoint_run_on_the_workflow_of_their_mode(tmp_path: Path, pools: list[FakePool]) -> None:
    picture = tmp_path / "mine.png"
    Image.new("RGB", (16, 16), "teal").save(picture)
    enlarge = {"uov_image_url": "mine.png", "uov_method": "Upscale (Fast 2x)"}
    inline = enlarge | {"uov_image_url": data(picture)}
    write(
        tmp_path / "requests.jsonl",
        {"id": "text", "endpoint": "fal-ai/fooocus", "input": {"prompt": "a red circle", "seed": 5}},
        {"id": "large", "endpoint": "fal-ai/fooocus/upscale-or-vary", "input": enlarge},
        {"id": "inline", "endpoint": "fal-ai/fooocus/upscale-or-vary", "input": inline},
    )
    assert run(tmp_path, "--input-dir", str(tmp_path)) == 0
    jobs = {job.id: job for job in pools[0].submitted}
    assert [n["inputs"]["seed"] for n in jobs["text"].graph.values() if n["class_type"] == "FooocusPrompt"] == [5]
    assert jobs["large"].files == {"mine.png": picture}
    ((name, path),) = jobs["inline"].files.items()
    assert [n["inputs"]["image"] for n in jobs["inline"].graph.values() if n["class_type"] == "LoadImage"] == [name]
    assert path.parent == tmp_path / "out" / "inputs"
    assert not path.exists(), "what was fetched is gone with the end of the batch"


@pytest.mark.parametrize(("colour", "paints"), [("black", False), ("white", True)])
def test_a_mask_that_paints_nothing_is_left_out(
    tmp_path: Path, pools: list[FakePool], colour: str, paints: bool
) -> None:
    Image.new("RGB", (64, 64), "teal").save(tmp_path / "mine.png")
    Image.new("RGB", (64, 64), colour).save(tmp_path / "mask.png")
    given = {"prompt": "a cat", "inpaint_image_url": "mine.png", "mask_image_url": data(tmp_path / "mask.png")}
    write(tmp_path / "requests.jsonl", {"id": "a", "endpoint": "fal-ai/fooocus/inpaint", "input": given})
    assert run(tmp_path, "--input-dir", str(tmp_path)) == 0
    classes = {node["class_type"] for node in pools[0].submitted[0].graph.values()}
    assert ("FooocusInpaint" in classes) is paints


def test_an_address_that_is_refused_fails_its_request_alone(tmp_path: Path, pools: list[FakePool]) -> None:
    enlarge = {"uov_image_url": "http://127.0.0.1:9/a.png", "uov_method": "Upscale (Fast 2x)"}
    write(
        tmp_path / "requests.jsonl",
        {"id": "refused", "endpoint": "fal-ai/fooocus/upscale-or-vary", "input": enlarge},
        drawing("fine"),
    )
    assert run(tmp_path) == 1
    assert [job.id for job in pools[0].submitted] == ["fine"]


def data(path: Path) -> str:
    import base64

    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def test_one_batch_in_a_folder_at_a_time(
    tmp_path: Path, pools: list[FakePool], capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "requests.jsonl", drawing("a"))
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / batch.LOCK):
        assert run(tmp_path) == 2
    assert "another process runs the batch" in capsys.readouterr().err
    assert run(tmp_path) == 0


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ([], "needs a file of requests and -o DIR"),
        (["x.jsonl"], "needs a file of requests and -o DIR"),
        (["x.jsonl", "-o", "out", "--workers", "0"], "--workers is 0"),
        (["x.jsonl", "-o", "out", "--time-limit", "-1"], "--time-limit is -1"),
        (["x.jsonl", "-o", "out", "--ray", "auto", "--device", "cpu"], "--device has no effect with --ray"),
        (["--status", "nowhere"], "holds no batch"),
    ],
)
def test_wrong_options(options: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["batch", *options]) == 2
    assert part in capsys.readouterr().err


def test_status_of_a_batch(tmp_path: Path, pools: list[FakePool], capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "requests.jsonl", drawing("a"), drawing("bad-b"))
    run(tmp_path)
    capsys.readouterr()
    assert main(["batch", "--status", str(tmp_path / "out")]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"1 of 2 requests done, 1 failed; 1 files in {tmp_path / 'out'}"
    assert second == "bad-b: node 1 (Fail): choose something else"


def test_rates_count_this_run_alone() -> None:
    now = [100.0]
    progress = Progress(Counts(total=100, done=50, failed=0, pictures=80), clock=lambda: now[0])
    now[0] += 30.0
    counts = Counts(total=100, done=58, failed=2, pictures=90)
    assert progress.pictures_per_minute(counts) == 20
    assert progress.seconds_left(counts) == 30.0 / 10 * 40


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    progress = Progress(Counts(total=4, done=1, failed=0, pictures=1))
    progress.show(Counts(total=4, done=2, failed=1, pictures=2))
    progress.notice(Console(), "a notice")
    progress.close()
    last = terminal.getvalue().split("\r")[-1]
    assert " 3/4 " in last
    assert "pictures/min, 1 failed" in last
    assert "note: a notice" in terminal.getvalue()


def test_a_killed_driver_goes_on_where_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (16, 16), "teal").save(tmp_path / "mine.png")
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "mine.png"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "copy"}},
    }
    workflow = write(tmp_path / "copy.json", graph)
    ids = [f"copy-{number:02}" for number in range(40)]
    requests = write(tmp_path / "requests.jsonl", *({"id": id, "workflow": workflow} for id in ids))
    options = [requests, "-o", str(tmp_path / "out"), "--device", "cpu", "--input-dir", str(tmp_path), "--json"]
    command = [sys.executable, "-c", WITHOUT_PRELOADING, "batch", *options]
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + PATIENCE
    while not (tmp_path / "out" / "copy-00.png").exists():
        assert killed.poll() is None, "the batch has ended by itself"
        assert time.monotonic() < deadline, "there is no result"
        time.sleep(0.005)
    assert main(["batch", "--status", str(tmp_path / "out")]) == 0, "while it runs"
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert " of 40 requests done, 0 failed, " in capsys.readouterr().out
    left = [id for id in ids if not (tmp_path / "out" / f"{id}.png").exists()]
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.png")}
    assert left
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["done"], report["files"], report["waiting"]) == (40, 40, 0)
    assert sorted(path.stem for path in (tmp_path / "out").glob("*.png")) == ids
    drawn_again = [path for path, time_ns in times.items() if path.stat().st_mtime_ns != time_ns]
    assert len(drawn_again) <= 1, "only a file whose row was not committed is made again"
    assert not list((tmp_path / "out").glob(".*.tmp"))
