"""Upscaling: the stage over a plain loop with the same network, tiled over whole decoding, and the most memory.

    python benchmarks/upscale.py [--side 128] [--blocks 1] [--rounds 3]

The network is of Fooocus's width (64 features, growth 32) with --blocks of its 23 blocks and random weights: blocks
take time and no memory. Memory is all that the process holds beyond what it held before, at its highest.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from fooocus_stages.pipelines.functional.tiles import feather, tile_slices
from fooocus_stages.pipelines.host import POCKET, LocalHost
from fooocus_stages.pipelines.models.upscaler import Upscaler
from fooocus_stages.pipelines.stages import load, upscale, vae
from timing import Ratio, Stopwatch, apart, in_turn, machine, memory, table
from torch import Tensor

HOST = LocalHost([POCKET], device="cpu")
FEATURES, GROWTH = 64, 32


def network(blocks: int) -> Upscaler:
    torch.manual_seed(0)
    return Upscaler(FEATURES, GROWTH, blocks, 2).eval().requires_grad_(False)


def plain_loop(upscaler: Upscaler, image: Tensor) -> Tensor:
    """Tile after tile, added up under its mask: the rule as it is written down."""
    pixels = image.movedim(-1, 1)
    scale, overlap = upscaler.scale, upscale.OVERLAP
    height, width = pixels.shape[-2:]
    total, weights = torch.zeros(1, 3, height * scale, width * scale), torch.zeros(1, 1, height * scale, width * scale)
    with torch.no_grad():
        for rows, columns in tile_slices(height, width, upscale.TILE, upscale.TILE, overlap):
            tile = upscaler(pixels[..., rows, columns])
            mask = feather(*tile.shape[-2:], overlap * scale)
            top, left = rows.start * scale, columns.start * scale
            total[..., top : top + tile.shape[-2], left : left + tile.shape[-1]] += tile * mask
            weights[..., top : top + tile.shape[-2], left : left + tile.shape[-1]] += mask
    return (total / weights).clamp(0, 1).movedim(1, -1)


def enlarging(side: int, blocks: int) -> dict[str, Callable[[], object]]:
    """Both ways to enlarge a picture."""
    upscaler, image = network(blocks), torch.rand(1, side, side, 3)
    return {
        "enlarge": lambda: upscale.enlarge(HOST, upscaler, image),
        "plain": lambda: plain_loop(upscaler, image),
    }


def decoding(side: int, blocks: int) -> dict[str, Callable[[], object]]:
    """Both ways to decode an image of the same size as the enlarged one."""
    autoencoder = load.checkpoint(HOST, "pocket")[2]
    latent = {"samples": torch.randn(1, 4, side // 2, side // 2)}
    return {
        "whole": lambda: vae.decode(HOST, autoencoder, latent),
        "tiled": lambda: vae.decode(HOST, autoencoder, latent, tiled=True),
    }


WORKS = {"enlarge": enlarging, "plain": enlarging, "whole": decoding, "tiled": decoding}


def measure(name: str, side: int, blocks: int) -> float:
    """The most memory of one piece of work in gigabytes, in a process in which nothing else has happened."""
    WORKS[name](16, blocks)[name]()  # what is set up at the first use
    work = WORKS[name](side, blocks)[name]
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    work()
    return (memory("VmHWM") - before) / 1e9


def report(side: int, blocks: int, rounds: int) -> None:
    peaks = {name: apart(measure, name, side, blocks) for name in WORKS}
    watch = Stopwatch(torch.device("cpu"))
    work = enlarging(side, blocks) | decoding(side, blocks)
    over_plain = in_turn(work["enlarge"], work["plain"], rounds, watch)
    over_whole = in_turn(work["tiled"], work["whole"], rounds, watch)
    megapixels = (4 * side) ** 2 / 1e6
    size = f"{4 * side}×{4 * side}"
    rows: list[tuple[str, object]] = [
        (f"{size}: enlarging over a plain loop", over_plain),
        (
            f"{size}: enlarging, {blocks} of 23 blocks",
            f"{megapixels / watch.seconds(work['enlarge']):.2f} megapixels/s",
        ),
        (f"{size}: memory of enlarging, of a plain loop", f"{peaks['enlarge']:.2f} GB, {peaks['plain']:.2f} GB"),
        (f"{size}: tiled decoding over whole", over_whole),
        (f"{size}: memory of tiled decoding over whole", Ratio((peaks["tiled"] / max(peaks["whole"], 1e-9),))),
    ]
    print(table(rows))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--side", type=int, default=128)
    options.add_argument("--blocks", type=int, default=1)
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    print(machine())
    report(given.side, given.blocks, given.rounds)


if __name__ == "__main__":
    main()
