"""Every benchmark runs with its smallest setting and says its ratios; how large they are is not judged here."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
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
    "pool.py": 9,
    "prompt.py": 5,
    "runner.py": 4,
    "sampling.py": 2,
    "startup.py": 1,
    "upscale.py": 5,
}


FORKS = """
import gc, json, os, runpy, sys, traceback
sys.path.insert(0, sys.argv[1])
import networks  # and with it torch, diffusers and transformers, which takes longer than most benchmarks
gc.freeze()  # a collection would copy the memory that the processes share
for line in sys.stdin:
    arguments, out, err = json.loads(line)
    child = os.fork()
    if child == 0:
        for number, path in ((1, out), (2, err)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
        sys.argv, code = arguments, 0
        try:
            runpy.run_path(arguments[0], run_name="__main__")
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        os._exit(code)  # taking all modules apart takes seconds
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
os._exit(0)
"""
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Runs programs, each in a copy of one process that has imported the libraries: (code, stdout, stderr)."""
    folder = tmp_path_factory.mktemp("streams")
    command = [sys.executable, "-c", FORKS, str(FOLDER)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:

        def act(*arguments: str) -> tuple[int, str, str]:
            streams = [folder / f"{Path(arguments[0]).stem}.{number}" for number in (1, 2)]
            assert server.stdin is not None
            assert server.stdout is not None
            print(json.dumps([arguments, *map(str, streams)]), file=server.stdin, flush=True)
            code = int(server.stdout.readline())
            out, err = (path.read_text("utf-8") for path in streams)
            return code, out, err

        yield act


@pytest.mark.parametrize("name", list(SMALLEST))
def test_it_runs_and_prints_its_ratios(run: Run, name: str, tmp_path: Path) -> None:
    folder = ["--folder", str(tmp_path)] if name == "load.py" else []
    code, out, err = run(str(FOLDER / name), *SMALLEST[name], *folder)
    assert code == 0, err
    machine, *rows = out.splitlines()
    assert "torch" in machine
    assert len(rows) == ROWS[name], out
    assert all(re.search(r"\d\.\d", row) for row in rows), out
    assert not list(tmp_path.iterdir()), "what it wrote is gone"


def test_every_benchmark_is_in_the_table() -> None:
    told = (FOLDER / "README.md").read_text(encoding="utf-8")
    scripts = {path.name for path in FOLDER.glob("*.py")} - {"networks.py", "timing.py"}
    assert scripts >= set(SMALLEST)
    assert [name for name in sorted(scripts) if f"`python benchmarks/{name}" not in told] == []
