"""Two sides timed in turn in one process, and what is said of them: a ratio, its spread, and the machine."""

from __future__ import annotations

import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

Work = Callable[[], object]
Found = TypeVar("Found")


@dataclass(frozen=True)
class Ratio:
    """Ratios of one round each; shown as the median and the range."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    def __str__(self) -> str:
        return f"{self.median:6.3f} ({min(self.rounds):.3f} … {max(self.rounds):.3f})"


class Stopwatch:
    """Seconds between marks: on a GPU as its stream passes them, which makes nothing wait; else of the clock."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"

    def mark(self) -> torch.cuda.Event | float:
        """This moment."""
        if not self._on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between(self, start: torch.cuda.Event | float, end: torch.cuda.Event | float) -> float:
        """Seconds from one mark to another; waits for a GPU to have passed both."""
        if isinstance(start, float) or isinstance(end, float):
            return float(end) - float(start)  # type: ignore[arg-type]
        end.synchronize()
        return start.elapsed_time(end) / 1000

    def seconds(self, work: Work) -> float:
        """The duration of the work."""
        start = self.mark()
        work()
        return self.between(start, self.mark())


def in_turn(numerator: Work, denominator: Work, rounds: int, watch: Stopwatch) -> Ratio:
    """The time of one over that of the other, in turn, after one round that does not count."""
    pairs = [(watch.seconds(numerator), watch.seconds(denominator)) for _ in range(rounds + 1)]
    return Ratio(tuple(a / b for a, b in pairs[1:]))


def apart(measure: Callable[..., Found], *given: object) -> Found:
    """What a function finds in a process of its own: a copy of this one, which must have done nothing but import."""
    with multiprocessing.get_context("fork").Pool(1) as process:
        return process.apply(measure, given)


def memory(kind: str) -> int:
    """A line of this process's status in bytes: 'VmRSS' now, 'VmHWM' at its highest, 'RssFile' pages of files."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[kind].split()[0]) * 1024


def machine(device: torch.device | None = None) -> str:
    """The machine and libraries that the figures were taken on."""
    gpu = f", {torch.cuda.get_device_name()}" if device is not None and device.type == "cuda" else ""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{time.strftime('%Y-%m-%d')}, {cores} cores ({platform.machine()}), {torch.get_num_threads()} threads{gpu}, "
        f"torch {torch.__version__}, Python {platform.python_version()}"
    )


def table(rows: Sequence[tuple[str, object]]) -> str:
    """Rows of a name and what was found, in columns."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:{width}}  {found}" for name, found in rows)
