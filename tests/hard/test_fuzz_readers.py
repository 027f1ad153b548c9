"""Broken files of every kind, read in a process with bounds: they are read, or refused in words of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the bounds are told to Linux")

FEWEST_REFUSED = {"checkpoints": 10, "loras": 50, "pictures": 250, "texts": 90, "weights": 400, "workflows": 250}
OURS = {"read", "BadFile", "BadValue", "UnknownName", "MissingFile", "BadGraph", "InvalidGraph"}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, int]]:
    """What came of the files of each kind, as readers.py tells."""
    program = Path(__file__).with_name("readers.py")
    ended = subprocess.run(
        [sys.executable, str(program), str(tmp_path_factory.mktemp("broken"))],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    told: dict[str, dict[str, int]] = json.loads(ended.stdout)
    return told


@pytest.mark.parametrize("kind", FEWEST_REFUSED)
def test_a_broken_file_is_read_or_refused(kind: str, found: dict[str, dict[str, int]]) -> None:
    outcomes = found[kind]
    assert {what: count for what, count in outcomes.items() if what not in OURS} == {}
    assert outcomes["read"] > 0
    assert sum(outcomes.values()) - outcomes["read"] >= FEWEST_REFUSED[kind]
