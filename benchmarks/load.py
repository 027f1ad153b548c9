"""Loading a checkpoint: time over that of reading the file, and the most memory over that of the weights.

    python benchmarks/load.py [--sizes pocket middle sdxl] [--rounds 3] [--dtype float16]

The file lies in the system's cache, and both sides end with its bytes in memory of their own. Memory is all that the
process holds (pages of the file included) beyond what it held before, at its highest; the weights are those of the
loaded networks, each in its own dtype (text encoders and VAE float32).
`sdxl` writes a file of 6.9 GB below --folder and takes it away again.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from fooocus_stages.pipelines.host import POCKET
from fooocus_stages.pipelines.models.checkpoint import Checkpoint, load_checkpoint
from fooocus_stages.pipelines.settings import DEFAULT_CHECKPOINT
from networks import SIZES, checkpoint_shapes, write_checkpoint
from timing import Ratio, Stopwatch, apart, in_turn, machine, memory, table

POCKET_FILE = POCKET / "checkpoints" / DEFAULT_CHECKPOINT


def read_whole(path: Path) -> torch.Tensor:
    """The bytes of the file, in memory of their own."""
    content = torch.empty(path.stat().st_size, dtype=torch.uint8)
    with path.open("rb") as file:
        file.readinto(content.numpy())
    return content


def load(path: Path, dtype: torch.dtype) -> Checkpoint:
    return load_checkpoint(path, dtype, torch.float32)


def bytes_of(loaded: Checkpoint) -> int:
    """The size of the networks' weights."""
    assert loaded.clip is not None
    assert loaded.vae is not None
    networks = [loaded.model.network, loaded.vae.network, *(encoder.network for encoder in loaded.clip.encoders)]
    return sum(p.numel() * p.element_size() for network in networks for p in network.module.parameters())


@dataclass(frozen=True)
class Found:
    """Times over reading the file by round, seconds of a load, memory over the weights, and the weights in bytes."""

    times: Ratio
    seconds: float
    peak: float
    after: float
    weights: int


def measure(path: Path, dtype: torch.dtype, rounds: int) -> Found:
    """Both ratios, in a process in which nothing else has happened."""
    load(POCKET_FILE, dtype)  # what is imported at the first use
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the highest from now on
    loaded = load(path, dtype)
    peak, weights, held = memory("VmHWM") - before, bytes_of(loaded), memory("VmRSS") - before
    del loaded
    times = in_turn(lambda: load(path, dtype), lambda: read_whole(path), rounds, Stopwatch(torch.device("cpu")))
    seconds = Stopwatch(torch.device("cpu")).seconds(lambda: load(path, dtype))
    return Found(times, seconds, peak / weights, held / weights, weights)


def write(path: Path, size: str) -> None:
    write_checkpoint(path, checkpoint_shapes(size))


def report(size: str, folder: Path, dtype: str, rounds: int) -> None:
    path, written = POCKET_FILE, None
    if size != "pocket":
        path = written = folder / f"benchmark-{size}.safetensors"
        apart(write, path, size)
    try:
        found = apart(measure, path, getattr(torch, dtype), rounds)
    finally:
        if written:
            written.unlink()
            shutil.rmtree(written.with_suffix(".tokenizer"))
    what = f"{size}, {found.weights / 1e9:.2f} GB as {dtype}"
    rows = [
        (f"{what}: time over reading the file", f"{found.times}   {found.seconds:.2f} s"),
        (f"{what}: most memory over the weights", f"{found.peak:6.3f}"),
        (f"{what}: memory kept over the weights", f"{found.after:6.3f}"),
    ]
    print(table(rows), flush=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--sizes", nargs="+", default=["pocket", "middle"], choices=list(SIZES))
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--dtype", default="float16", choices=["float16", "bfloat16", "float32"])
    options.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    given = options.parse_args()
    print(machine())
    for size in given.sizes:
        report(size, given.folder, given.dtype, given.rounds)


if __name__ == "__main__":
    main()
