"""The cost of image prompts: what they add to the UNet at each step, and what is done once for a run.

    python benchmarks/image_prompt.py [--sizes pocket middle] [--side 256] [--rounds 15] [--device cpu]

A step with pictures over one without, in turn, both sides of guidance in one batch; float32 on a CPU, bfloat16 on a
GPU. Network and pictures are random; a picture is 16 tokens, a prompt 77. `--sizes sdxl` needs 12 GB on a CPU.
"""

from __future__ import annotations

import argparse
from functools import partial

import networks
import torch
from fooocus_stages.pipelines.models.handles import ImageHint, Model
from fooocus_stages.pipelines.models.hints import attention
from fooocus_stages.pipelines.models.protocols import Condition
from fooocus_stages.pipelines.stages.sampling import image_hints
from timing import Stopwatch, in_turn, machine, table

TOKENS = 16
CASES = (("one picture, as Fooocus", 1, True), ("four pictures, as Fooocus", 4, True), ("one, as IP-Adapter", 1, False))


def hint_for(model: Model, together: bool) -> ImageHint:
    """A picture of random numbers for every cross-attention of the model."""
    widths = attention.widths(model.network.module)
    pairs = tuple((torch.randn(1, TOKENS, width), torch.randn(1, TOKENS, width)) for width in widths)
    return ImageHint(pairs, pairs, stop_at=1.0, together=together)


def report(size: str, given: argparse.Namespace) -> None:
    device = torch.device(given.device)
    model = networks.model(size, device, torch.bfloat16 if device.type == "cuda" else torch.float32)
    x = torch.randn(1, 4, given.side // 8, given.side // 8, device=device)
    side = float(given.side)
    sides = [
        Condition(tokens.to(device), more["pooled_output"].to(device), (side, side, 0.0, 0.0, side, side))
        for tokens, more in (networks.conditioning(size, seed)[0] for seed in (1, 2))
    ]
    network = model.network
    step = partial(network.predict, x, 500.0, sides)
    watch = Stopwatch(device)
    rows: list[tuple[str, object]] = []
    for name, many, together in CASES[: given.cases]:
        hints = [hint_for(model, together)] * many
        images = image_hints.prompts_by_progress(network, size, hints, 2, 1, device)(0.0)
        ratio = in_turn(partial(step, images=images), step, given.rounds, watch)
        rows.append((f"{size}, {given.side}×{given.side}, {name}: a step over one without", ratio))
    hints = [hint_for(model, True)]
    prepare = partial(image_hints.prompts_by_progress, network, size, hints, 2, 1, device)
    once = in_turn(lambda: prepare()(0.0), step, given.rounds, watch)
    rows.append((f"{size}, {given.side}×{given.side}, once for a run, over a step", once))
    print(table(rows), flush=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--sizes", nargs="*", default=["pocket", "middle"], choices=list(networks.SIZES))
    options.add_argument("--side", type=int, default=256, help="of the picture that is sampled")
    options.add_argument("--cases", type=int, default=len(CASES))
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--device", default="cpu")
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    print(machine(torch.device(given.device)))
    for size in given.sizes:
        report(size, given)


if __name__ == "__main__":
    main()
