"""The benchmark of ComfyUI's own models, with its smallest setting; how large its ratios are is not judged here."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from .inside import COMFYUI, PACK, PYTHON, needs_comfyui

pytestmark = needs_comfyui
SMALLEST = ("--sizes", "nano", "--steps", "2", "--rounds", "1", "--side", "64", "--device", "cpu")


def test_it_runs_and_prints_its_ratios(tmp_path: Path) -> None:
    (tmp_path / "fooocus_stages").symlink_to(PACK)
    command = [PYTHON, str(PACK / "benchmarks" / "native.py"), COMFYUI, *SMALLEST]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    rows = [line for line in done.stdout.splitlines() if "over KSampler's" in line]
    assert len(rows) == 4, done.stdout
    assert all(re.search(r"\d\.\d", row) for row in rows), done.stdout
