"""The workers of `batch` and `serve`: on this machine's devices, or on the nodes of a Ray cluster."""

from __future__ import annotations

import argparse
import subprocess
import sys
from typing import TYPE_CHECKING

from ...pipelines.errors import BadValue
from ...pipelines.settings import NO_FILE
from .common import worker_settings

if TYPE_CHECKING:
    from ..pool.protocol import Pool

ON_RAY = "--device has no effect with --ray, where every GPU of the cluster is used; leave it out"
DEVICES = (
    "import torch\n"
    "mps = torch.backends.mps.is_available()\n"
    "print(*([f'cuda:{n}' for n in range(torch.cuda.device_count())] or (['mps'] if mps else ['cpu'])))\n"
)


def add_pool_options(command: argparse.ArgumentParser) -> None:
    """Add the options that say where the work is done."""
    command.add_argument("--workers", type=int, metavar="N", help="number of workers; default: one for each device")
    command.add_argument("--device", action="append", help="cpu, cuda:0 and so on; repeatable; default: all GPUs")
    command.add_argument("--ray", metavar="auto|ADDRESS", help="run on the nodes of the Ray cluster at this address")


def check_pool_options(options: argparse.Namespace) -> None:
    """Raise BadValue for options that make no sense."""
    if options.workers is not None and options.workers < 1:
        raise BadValue(f"--workers is {options.workers}; give at least 1")
    if options.ray is not None and options.device:
        raise BadValue(ON_RAY)


def pool_of(options: argparse.Namespace, checker: str = NO_FILE) -> Pool:
    """Start the workers that the options name. Raises UserError.

    `checker`: file of the safety checker, without which none joins; over Ray, only the nodes know whether they have it.
    """
    settings = worker_settings(options, checker)
    if options.ray is not None:
        from ..pool.ray_pool import RayPool

        return RayPool(options.ray, settings, options.workers)
    from ..pool.local import LocalPool

    devices = devices_of(options)
    count = options.workers or len(devices)
    return LocalPool([devices[number % len(devices)] for number in range(count)], settings)


def devices_of(options: argparse.Namespace) -> list[str]:
    """Return the named devices, else all; they are looked for in another process, which frees its memory again."""
    if options.device:
        return list(options.device)
    done = subprocess.run([sys.executable, "-c", DEVICES], capture_output=True, text=True, check=False)
    return done.stdout.split() or ["cpu"]
