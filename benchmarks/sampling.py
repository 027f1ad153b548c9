"""The cost of Fooocus's sampling beside the network calls in it, and beside diffusers' own SDXL loop.

    python benchmarks/sampling.py [--sizes nano pocket] [--steps 10] [--rounds 5] [--side 512] [--compile]

The network has random weights. "over the network" is the time of a whole run over that spent inside the UNet in the
same run; "over diffusers" is the time of our run over that of StableDiffusionXLPipeline with the same UNet, steps and
latents, in turn. Both sides of guidance go through the UNet in one batch, in float32 on a CPU, bfloat16 on a GPU.
`--sizes sdxl` needs 12 GB on a CPU, and one step there is enough.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import networks
import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline
from fooocus_stages.pipelines.host import LocalHost
from fooocus_stages.pipelines.models.handles import Model
from fooocus_stages.pipelines.models.unet import UNet
from fooocus_stages.pipelines.stages.sampling import sample
from fooocus_stages.pipelines.types import SamplingSettings
from timing import Ratio, Stopwatch, in_turn, machine, table
from torch import nn

CFG = 4.0
CASES = (("euler", 2.0), ("euler", 0.0), ("dpmpp_2m_sde_gpu", 2.0))
SIDES = {"nano": 128, "pocket": 128, "middle": 512, "sdxl": 512}
SIDE_ON_GPU = 1024


class Timed(nn.Module):
    """A UNet that notes when each call of it began and ended."""

    def __init__(self, unet: nn.Module, watch: Stopwatch) -> None:
        super().__init__()
        self.unet = unet
        self.config = cast(Any, unet).config
        self.watch = watch
        self.calls: list[tuple[Any, Any]] = []

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        start = self.watch.mark()
        output = self.unet(*args, **kwargs)
        self.calls.append((start, self.watch.mark()))
        return output


EIGHTFOLD = AutoencoderKL(  # not called, but some versions derive the size of latents from it
    block_out_channels=(32,) * 4, down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4
)


@dataclass(frozen=True)
class Bench:
    """One network, one size of picture, and the two conditionings."""

    host: LocalHost
    model: Model
    positive: list[list[Any]]
    negative: list[list[Any]]
    side: int
    steps: int

    def ours(self, sampler: str, sharpness: float, model: Model | None = None) -> Callable[[], object]:
        """A whole run of the pack's sampling stage, from zeros to a latent."""
        settings = SamplingSettings(steps=self.steps, sampler=sampler, cfg=CFG, sharpness=sharpness)
        latent = {"samples": torch.zeros(1, 4, self.side // 8, self.side // 8)}
        chosen = model or self.model
        return lambda: sample.sample(self.host, chosen, self.positive, self.negative, latent, settings, 1)

    def theirs(self) -> Callable[[], object]:
        """A whole run of diffusers' loop with the same UNet, from noise to a latent."""
        pipeline = StableDiffusionXLPipeline(
            vae=EIGHTFOLD, text_encoder=None, text_encoder_2=None, tokenizer=None, tokenizer_2=None,
            unet=self.model.network.module,
            scheduler=EulerDiscreteScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012),
            add_watermarker=False,
        )  # fmt: skip
        pipeline.set_progress_bar_config(disable=True)
        parameter = next(self.model.network.module.parameters())
        embeds = {
            "prompt_embeds": self.positive[0][0],
            "negative_prompt_embeds": self.negative[0][0],
            "pooled_prompt_embeds": self.positive[0][1]["pooled_output"],
            "negative_pooled_prompt_embeds": self.negative[0][1]["pooled_output"],
            "latents": torch.randn(1, 4, self.side // 8, self.side // 8),
        }
        embeds = {name: tensor.to(parameter) for name, tensor in embeds.items()}
        options = {"num_inference_steps": self.steps, "guidance_scale": CFG, "output_type": "latent"}
        return lambda: pipeline(height=self.side, width=self.side, **embeds, **options)


def over_the_network(bench: Bench, sampler: str, sharpness: float, rounds: int, watch: Stopwatch) -> Ratio:
    """The time of a run over that inside the UNet, after one round that does not count."""
    timed = Timed(bench.model.network.module, watch)
    work = bench.ours(sampler, sharpness, replace(bench.model, network=UNet(timed)))
    found = []
    for _ in range(rounds + 1):
        timed.calls.clear()
        whole = watch.seconds(work)
        found.append(whole / sum(watch.between(start, end) for start, end in timed.calls))
    return Ratio(tuple(found[1:]))


def report(size: str, given: argparse.Namespace) -> None:
    device = torch.device(given.device)
    on_gpu = device.type == "cuda"
    model = networks.model(size, device, torch.bfloat16 if on_gpu else torch.float32)
    if given.compile:
        model.network.module.compile()
    side = given.side or (SIDE_ON_GPU if on_gpu else SIDES[size])
    sides = networks.conditioning(size, 1), networks.conditioning(size, 2)
    bench = Bench(LocalHost(device=given.device), model, *sides, side, given.steps)
    watch = Stopwatch(device)
    what = f"{size}, {side}×{side}, {given.steps} steps{', compiled' if given.compile else ''}"
    for sampler, sharpness in CASES[: given.cases]:
        ratio = over_the_network(bench, sampler, sharpness, given.rounds, watch)
        print(table([(f"{what}, {sampler}, sharpness {sharpness:g}: over the network", ratio)]), flush=True)
    for sharpness in (2.0, 0.0)[: given.cases]:
        with torch.no_grad():
            ratio = in_turn(bench.ours("euler", sharpness), bench.theirs(), given.rounds, watch)
        print(table([(f"{what}, euler, sharpness {sharpness:g}: over diffusers", ratio)]), flush=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--sizes", nargs="+", default=["nano", "pocket"], choices=list(networks.SIZES))
    options.add_argument("--steps", type=int, default=10)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--side", type=int, help="of the picture, in pixels")
    options.add_argument("--cases", type=int, default=len(CASES), help="how many of the samplers to run")
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options.add_argument("--compile", action="store_true", help="compile the UNet, for both loops")
    given = options.parse_args()
    print(machine(torch.device(given.device)))
    for size in given.sizes:
        report(size, given)


if __name__ == "__main__":
    main()
