"""What Fooocus's sampling costs beside the bare network: ratios, both sides timed in turn in one run.

    python benchmarks/sampling.py [--steps 10] [--rounds 5] [--width 144 --height 112]

On the pocket model; the ratio falls as the network grows.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from fooocus_stages.pipelines.host import LocalHost
from fooocus_stages.pipelines.models import unet
from fooocus_stages.pipelines.stages import encode, load, plan, sample
from fooocus_stages.pipelines.types import Prompt, SamplingSettings


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--steps", type=int, default=10)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--width", type=int, default=144)
    options.add_argument("--height", type=int, default=112)
    given = options.parse_args()

    host = LocalHost()
    model, clip, _ = load.checkpoint(host, "pocket")
    prompt = Prompt(("a red circle on a blue background",), ("",), 1, 1, 0)
    sides = encode.encode(host, clip, prompt, SamplingSettings())
    latent, _, _ = plan.empty_latent("custom", given.width, given.height, 1)
    settings = SamplingSettings(steps=given.steps, sampler="euler")
    conditions = [
        unet.Condition(side[0][0], side[0][1]["pooled_output"], (128.0, 128.0, 0, 0, 128, 128)) for side in sides
    ]

    def bare() -> None:
        for _ in range(given.steps):
            unet.predict(model.network.module, latent["samples"], 500.0, conditions)

    def whole(settings: SamplingSettings) -> Callable[[], object]:
        return lambda: sample.sample(host, model, *sides, latent, settings, 1)

    cases = {
        "euler, sharpness 2": whole(settings),
        "euler, sharpness 0": whole(SamplingSettings(steps=given.steps, sampler="euler", sharpness=0.0)),
        "dpmpp_2m_sde_gpu, sharpness 2": whole(SamplingSettings(steps=given.steps)),
    }
    for work in (bare, *cases.values()):
        work()
    threads = torch.get_num_threads()
    print(f"{given.steps} steps at {given.width}×{given.height}, torch {torch.__version__}, {threads} threads")
    for name, work in cases.items():
        ratios = [seconds(work) / seconds(bare) for _ in range(given.rounds)]
        print(f"{name:32} {statistics.median(ratios):.3f} × the bare network ({min(ratios):.3f} … {max(ratios):.3f})")


if __name__ == "__main__":
    main()
