"""Every benchmark runs with its smallest setting and says its ratios; how large they are is not judged here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
SMALLEST = {
    "blur.py": ["--rounds", "1", "--sizes", "1"],
    "control.py": ["--rounds", "1", "--sides", "64", "--sizes", "nano", "--side", "64", "--rank", "2"],
    "image_prompt.py": ["--sizes", "nano", "--rounds", "1", "--cases", "1", "--side", "64"],
    "inpaint.py": ["--rounds", "1", "--sides", "64"],
    "load.py": ["--sizes", "nano", "--rounds", "1"],
    "lora.py": ["--rounds", "1", "--rank", "2"],
    "pool.py": ["--requests", "1", "--workers", "1", "--seconds", "0.01"],
    "prompt.py": ["--pictures", "2", "--rounds", "1"],
    "runner.py": ["--nodes", "4", "--rounds", "1"],
    "sampling.py": ["--sizes", "nano", "--steps", "1", "--rounds", "1", "--side", "64", "--cases", "1"],
    "startup.py": ["--rounds", "1", "--commands", "1"],
    "upscale.py": ["--side", "8", "--rounds", "1"],
}
ROWS = {
    "blur.py": 2,
    "control.py": 6,
    "image_prompt.py": 2,
    "inpaint.py": 5,
    "load.py": 3,
    "lora.py": 2,
    "pool.py": 7,
    "prompt.py": 5,
    "runner.py": 4,
    "sampling.py": 2,
    "startup.py": 1,
    "upscale.py": 5,
}


@pytest.mark.parametrize("name", list(SMALLEST))
def test_it_runs_and_prints_its_ratios(name: str, tmp_path: Path) -> None:
    folder = ["--folder", str(tmp_path)] if name == "load.py" else []
    command = [sys.executable, str(FOLDER / name), *SMALLEST[name], *folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    machine, *rows = done.stdout.splitlines()
    assert "torch" in machine
    assert len(rows) == ROWS[name], done.stdout
    assert all(re.search(r"\d\.\d", row) for row in rows), done.stdout
    assert not list(tmp_path.iterdir()), "what it wrote is gone"


def test_every_benchmark_is_in_the_table() -> None:
    told = (FOLDER / "README.md").read_text(encoding="utf-8")
    scripts = {path.name for path in FOLDER.glob("*.py")} - {"networks.py", "timing.py"}
    assert scripts >= set(SMALLEST)
    assert [name for name in sorted(scripts) if f"`python benchmarks/{name}" not in told] == []
