"""The start-up time of each command: the whole process, beside that of Python doing nothing.

    python benchmarks/startup.py [--rounds 7] [--with-runs]

`--with-runs` also makes a picture with the pocket model, which imports torch and all networks.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time

from timing import Ratio, machine, table

COMMANDS = (
    ["--help"],
    ["--version"],
    ["run", "--help"],
    ["nodes"],
    ["workflows"],
    ["prompt", "a red circle"],
)
RUNS = (["run", "text-to-image-extreme-speed", "--models", "pocket"],)
BARE = [sys.executable, "-c", "pass"]
TORCH = [sys.executable, "-c", "import torch, diffusers, transformers"]


def seconds(command: list[str]) -> tuple[float, float]:
    """The wall time and the processor time of a process."""
    before, start = os.times(), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, os.times()
    return wall, after.children_user + after.children_system - before.children_user - before.children_system


def row(name: str, command: list[str], rounds: int, beside: list[str] = BARE) -> tuple[str, str]:
    """Seconds on the clock and of a processor, medians, and the clock's over those of the other command in turn."""
    pairs = [(seconds(command), seconds(beside)) for _ in range(rounds + 1)][1:]
    wall, busy = (Ratio(tuple(ours[i] for ours, _ in pairs)) for i in range(2))
    over = Ratio(tuple(ours[0] / theirs[0] for ours, theirs in pairs)).median
    return name, f"{wall} s, {busy.median:.3f} s of a processor, {over:5.1f} × beside"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--commands", type=int, default=len(COMMANDS), help="how many of the commands to run")
    options.add_argument("--with-runs", action="store_true")
    given = options.parse_args()
    ours = [sys.executable, "-m", "fooocus_stages.serving.cli"]
    rows = [row(" ".join(words), [*ours, *words], given.rounds) for words in COMMANDS[: given.commands]]
    if given.with_runs:
        with tempfile.TemporaryDirectory() as folder:
            for words in RUNS:
                name = " ".join(words) + " (beside importing torch, diffusers and transformers)"
                rows.append(row(name, [*ours, *words, "-o", folder], given.rounds, TORCH))
    print(machine())
    print(table(rows))


if __name__ == "__main__":
    main()
