"""What a killed driver leaves is ended by its recorded ids, and nothing else is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fooocus_stages.serving.pool.ray_leftovers import PROCESSES, end_leftovers, record, started_at

DRIVER = """
import subprocess, sys
from pathlib import Path
from fooocus_stages.serving.pool.ray_leftovers import record
inner = "import subprocess, sys; print(subprocess.Popen(['sleep', '600']).pid, flush=True); sys.stdin.read()"
child = subprocess.Popen([sys.executable, "-c", inner], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
print(child.stdout.readline().strip())
record(Path(sys.argv[1]))
print("recorded", flush=True)
sys.stdin.read()
"""
pytestmark = pytest.mark.skipif(not PROCESSES.is_dir(), reason="there is no /proc")


def test_the_processes_of_a_killed_driver_are_ended_and_those_of_a_living_one_are_not(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DRIVER, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as driver:  # type: ignore[call-overload]
        grandchild = int(driver.stdout.readline())
        assert driver.stdout.readline() == "recorded\n"
        assert end_leftovers(tmp_path) == []
        assert started_at(grandchild)
        driver.kill()
        driver.wait()
        assert grandchild in end_leftovers(tmp_path)
    assert not list(tmp_path.iterdir())
    assert end_leftovers(tmp_path) == []


def test_a_process_that_has_the_id_of_an_ended_one_is_left(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "600"]) as other:
        (tmp_path / "driver-1.json").write_text(json.dumps([[1, "another"], [other.pid, "earlier"]]), "utf-8")
        assert end_leftovers(tmp_path) == []
        assert other.poll() is None
        other.kill()


def test_a_damaged_record_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "driver-1.json").write_text("{", "utf-8")
    assert end_leftovers(tmp_path) == []
    assert record(tmp_path / "new").name == f"driver-{os.getpid()}.json"
