"""What a killed driver leaves is ended by its recorded ids, and nothing else is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fooocus_stages.serving.pool.ray_leftovers import PROCESSES, end_leftovers, record, remove_session, started_at

DRIVER = """
import subprocess, sys
from pathlib import Path
from fooocus_stages.serving.pool.ray_leftovers import record
inner = "import subprocess, sys; print(subprocess.Popen(['sleep', '600']).pid, flush=True); sys.stdin.read()"
child = subprocess.Popen([sys.executable, "-c", inner], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
print(child.stdout.readline().strip())
record(Path(sys.argv[1]), "session_1")
print("recorded", flush=True)
sys.stdin.read()
"""
pytestmark = pytest.mark.skipif(not PROCESSES.is_dir(), reason="there is no /proc")


def test_what_a_killed_driver_left_is_ended_and_removed_and_what_a_living_one_has_is_not(tmp_path: Path) -> None:
    records, sessions = tmp_path / "records", tmp_path / "ray"
    (sessions / "session_1" / "logs").mkdir(parents=True)
    command = [sys.executable, "-c", DRIVER, str(records)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as driver:  # type: ignore[call-overload]
        grandchild = int(driver.stdout.readline())
        assert driver.stdout.readline() == "recorded\n"
        assert end_leftovers(records, sessions) == []
        assert started_at(grandchild)
        assert (sessions / "session_1").is_dir()
        driver.kill()
        driver.wait()
        assert grandchild in end_leftovers(records, sessions)
    assert not list(records.iterdir())
    assert not list(sessions.iterdir())
    assert end_leftovers(records, sessions) == []


@pytest.mark.parametrize("name", ["", "..", "mine", "session_1/..", "session_1/../../mine", "/session_1"])
def test_no_other_folder_is_removed(tmp_path: Path, name: str) -> None:
    for folder in ("mine", "ray/mine", "ray/session_1"):
        (tmp_path / folder).mkdir(parents=True)
    remove_session(name, tmp_path / "ray")
    assert all((tmp_path / folder).is_dir() for folder in ("mine", "ray/mine", "ray/session_1"))


def test_a_process_that_has_the_id_of_an_ended_one_is_left(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "600"]) as other:
        found = {"processes": [[1, "another"], [other.pid, "earlier"]], "session": ""}
        (tmp_path / "driver-1.json").write_text(json.dumps(found), "utf-8")
        assert end_leftovers(tmp_path) == []
        assert other.poll() is None
        other.kill()


def test_a_damaged_record_is_left_alone(tmp_path: Path) -> None:
    for content in ("{", "[]", '{"processes": []}'):
        (tmp_path / "driver-1.json").write_text(content, "utf-8")
        assert end_leftovers(tmp_path) == []
    assert record(tmp_path / "new").name == f"driver-{os.getpid()}.json"
