"""`serve` says what keeps it from starting, and what it was told."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fooocus_stages.pipelines.errors import BadValue
from fooocus_stages.serving.cli import main, parser
from fooocus_stages.serving.commands import common, serve
from fooocus_stages.serving.pool import local, ray_pool

DOCS = Path(__file__).resolve().parents[2] / "docs"


def options(*given: str) -> argparse.Namespace:
    return parser().parse_args(["serve", *given])


@pytest.mark.parametrize("more", [[], ["--ray", "local"]])
def test_it_does_not_start_without_the_checkers_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    assert main(["serve", "--models", str(tmp_path), "--state", str(tmp_path / "state"), "--port", "0", *more]) == 2
    assert "--safety-checker off" in capsys.readouterr().err
    assert not (tmp_path / "state").exists()


def test_a_state_folder_belongs_to_one_server(tmp_path: Path) -> None:
    with serve.only_one(tmp_path), pytest.raises(BadValue, match="another server uses"), serve.only_one(tmp_path):
        pass
    with serve.only_one(tmp_path):
        pass


@pytest.mark.parametrize(
    "given", [("--max-queue", "0"), ("--max-seconds", "-1"), ("--keep", "nan"), ("--public-url", "pictures.example")]
)
def test_settings_that_make_no_sense_are_refused(given: tuple[str, str]) -> None:
    with pytest.raises(BadValue):
        serve.settings_of(options(*given), True)


def test_the_settings_are_those_of_the_options(tmp_path: Path) -> None:
    given = ("--state", str(tmp_path), "--max-upload", "3", "--keep", "2", "--public-url", "https://pictures.example/")
    settings = serve.settings_of(options(*given), False)
    assert (settings.max_upload, settings.result_seconds) == (3 * 2**20, 7200)
    assert (settings.public_url, settings.safety_checker) == ("https://pictures.example", False)


@pytest.mark.parametrize(
    ("host", "loopback"), [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False)]
)
def test_only_this_machine_reaches_loopback(host: str, loopback: bool) -> None:
    assert serve.is_loopback(host) is loopback


def test_the_pocket_is_a_folder_of_the_workers(tmp_path: Path) -> None:
    settings = common.worker_settings(options("--models", "pocket"), "mine.bin")
    assert (settings.models[0] / "checkpoints").is_dir()
    assert settings.safety_checker == "mine.bin"


def test_the_workers_run_where_the_options_say(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    monkeypatch.setattr(local, "LocalPool", lambda devices, settings: made.append(devices))
    monkeypatch.setattr(ray_pool, "RayPool", lambda address, settings, workers: made.append((address, workers)))
    for given in (("--device", "cpu", "--device", "cuda:1", "--workers", "3"), ("--ray", "auto", "--workers", "2")):
        serve.pool_of(options(*given))
    assert made == [["cpu", "cuda:1", "cpu"], ("auto", 2)]


@pytest.mark.parametrize("given", [("--workers", "0"), ("--ray", "auto", "--device", "cpu")])
def test_workers_that_make_no_sense_are_refused(given: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", *given]) == 2
    assert given[0] in capsys.readouterr().err


def test_the_commands_of_the_unit_and_of_the_container_are_understood() -> None:
    unit = (DOCS / "fooocus-stages.service").read_text("utf-8")
    (started,) = re.findall(r"^ExecStart=\S+ (.+)$", unit, re.MULTILINE)
    container = (DOCS / "Containerfile").read_text("utf-8")
    (command,) = re.findall(r"^CMD (\[.+\])$", container, re.MULTILINE)
    for words in (shlex.split(started), json.loads(command)):
        given = parser().parse_args(words)
        assert given.act is serve.run_serve
        assert given.state.is_absolute()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not there")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    unit = (DOCS / "fooocus-stages.service").read_text("utf-8")
    copy = tmp_path / "fooocus-stages.service"
    copy.write_text(re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", unit, flags=re.MULTILINE), "utf-8")
    verified = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")


def test_the_server_finds_the_checker_without_the_libraries_that_run_it() -> None:
    program = (
        "import sys\n"
        "from fooocus_stages.pipelines.host import POCKET, LocalHost\n"
        "from fooocus_stages.pipelines.settings import DEFAULT_SAFETY_CHECKER\n"
        "from fooocus_stages.serving.commands.serve import found_checker\n"
        "told = []\n"
        "host = LocalHost(models=[POCKET])\n"
        "assert found_checker(DEFAULT_SAFETY_CHECKER, host, told.append) == DEFAULT_SAFETY_CHECKER\n"
        "assert 'protects nobody' in told[0]\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
