"""PyraCanny and CPDS against their steps written plainly, and what one control-LoRA adds to the UNet at each step.

python benchmarks/control.py [--sides 1024 4096] [--sizes pocket middle] [--side 256] [--rank 128] [--rounds 5]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import networks
import numpy as np
import torch
from diffusers import ControlNetModel
from fooocus_stages.pipelines.functional.regions import Area
from fooocus_stages.pipelines.models.handles import ControlNet, Model
from fooocus_stages.pipelines.models.hints import controlnet
from fooocus_stages.pipelines.models.hints.control_lora import LowRankLayer, low_rank_sum
from fooocus_stages.pipelines.models.hints.controlnet import UNET_MODULES
from fooocus_stages.pipelines.models.protocols import Condition, Residuals
from fooocus_stages.pipelines.models.weights.tensors import Tensors
from fooocus_stages.pipelines.stages.sampling import control_hints
from fooocus_stages.preprocessors import canny, cpds
from timing import Ratio, Stopwatch, in_turn, machine, table
from torch import Tensor, nn

Picture = Any
CPU = torch.device("cpu")


class Work(Stopwatch):
    """Seconds of the processor, all threads together."""

    def mark(self) -> float:
        return time.process_time()


def plain_canny(picture: Picture) -> Picture:
    """Every step in an array of its own, colour by colour."""
    total = np.zeros(picture.shape[:2], np.float32)
    height, width = picture.shape[:2]
    for channel in range(3):
        mean = None
        for scale in canny.SCALES:
            size = (int(width * scale), int(height * scale))
            small = np.ascontiguousarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA)[..., channel])
            edges = cv2.Canny(small, 64, 128).astype(np.float32) / 255.0
            mean = edges if mean is None else cv2.resize(mean, size) * 0.75 + edges * 0.25
        total += mean
    return plain_levels(total, 1, 99)


def plain_cpds(picture: Picture) -> Picture:
    """Every step in an array of its own."""
    raw = cv2.GaussianBlur(picture, (0, 0), 0.8)
    grey, boosted = cv2.decolor(raw)
    moved = raw.astype(np.float32) - boosted.astype(np.float32)
    return plain_levels(grey.astype(np.float32) + np.sqrt(np.sum(moved**2, axis=2)), 4, 96)


def plain_levels(values: Picture, low: float, high: float) -> Picture:
    first, last = np.percentile(values, low), np.percentile(values, high)
    return ((values - first) / (last - first) * 255).clip(0, 255).astype(np.uint8)


def maps(side: int, rounds: int) -> list[tuple[str, object]]:
    """Processor time of the plain steps divided by that of the pack's."""
    coarse = np.random.RandomState(0).randint(0, 256, (side // 16, side // 16, 3)).astype(np.uint8)
    picture = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    rows: list[tuple[str, object]] = []
    cases: list[tuple[str, Callable[..., Any], Callable[..., Any]]] = [
        ("PyraCanny", plain_canny, canny.pyramid_canny),
        ("CPDS", plain_cpds, cpds.structure),
    ]
    for name, plain, ours in cases:
        assert np.array_equal(plain(picture), ours(picture)), f"{name} is not what its steps give"
        watch = Work(CPU)
        seconds = watch.seconds(partial(ours, picture))
        ratio = in_turn(partial(plain, picture), partial(ours, picture), rounds, watch)
        rows.append((f"{name}, {side}×{side}, {seconds:.2f} s: plain steps over it", ratio))
    return rows


def lora_for(unet: nn.Module, rank: int) -> ControlNet:
    """A control-LoRA of random numbers for that UNet."""
    dtype = next(unet.parameters()).dtype
    made: dict[str, Tensor] = {}
    for name, weight in unet.named_parameters():
        if name.startswith(UNET_MODULES) and weight.ndim > 1:
            tail, layer = (1,) * (weight.ndim - 2), name.removesuffix(".weight")
            r = min(rank, weight.shape[0], weight[0].numel())
            made[f"{layer}.up"] = torch.randn(weight.shape[0], r, *tail, dtype=dtype) * 0.01
            made[f"{layer}.down"] = torch.randn(r, *weight.shape[1:], dtype=dtype) * 0.01
        elif name.startswith(UNET_MODULES):
            made[name] = weight.detach().clone()
    with torch.device("meta"):
        own = ControlNetModel.from_unet(unet, load_weights_from_unet=False, conditioning_channels=3).state_dict()
    made |= {k: torch.randn(v.shape, dtype=dtype) * 0.01 for k, v in own.items() if k.startswith("controlnet_")}
    return ControlNet("random", Tensors(made), is_lora=True)


def steps(size: str, side: int, rank: int, rounds: int) -> list[tuple[str, object]]:
    """A step with one control-LoRA, and one with its weights written out, over a step without."""
    model: Model = networks.model(size, CPU, torch.float32)
    unet = model.network.module
    control = lora_for(unet, rank)
    x = torch.randn(1, 4, side // 8, side // 8)
    given = [networks.conditioning(size, seed)[0] for seed in (1, 2)]
    ids = (float(side), float(side), 0.0, 0.0, float(side), float(side))
    sides = [Condition(tokens, more["pooled_output"], ids) for tokens, more in given]
    network = controlnet.on_unet(control, unet)
    residuals = partial(controlnet.residuals, network, controlnet.embedded(network, torch.rand(1, 3, side, side)))
    step = partial(model.network.predict, x, 500.0, sides)
    watch = Work(CPU)
    with_control = in_turn(partial(step, scaled(residuals)), step, rounds, watch)
    shared = {id(parameter) for parameter in unet.parameters()}
    more = sum(p.nbytes for p in network.parameters() if id(p) not in shared)
    copied = sum(p.nbytes for name, p in unet.named_parameters() if name.startswith(UNET_MODULES))
    file = sum(p.nbytes for p in control.tensors.parameters())
    what = f"{size}, {side}×{side}, rank {rank}"
    return [
        (f"{what}: a step with control over one without", with_control),
        (f"{what}: the same with the weights written out", written_out(network, residuals, step, rounds, watch)),
        (f"{what}: memory of the control network over its file", f"{more / file:6.3f}"),
        (f"{what}: memory of its weights written out over its file", f"{copied / file:6.3f}"),
    ]


def scaled(residuals: Residuals) -> Residuals:
    """The residuals at full weight, as the sampler adds them at one noise level to the whole latent."""
    hint = control_hints.ActiveRange(lambda inputs, _: residuals(inputs), 20.0, 0.0, 1.0, 0.25)
    return lambda inputs: hint.scaled(inputs, Area(*inputs.x.shape[-2:]))


def written_out(network: nn.Module, residuals: Residuals, step: Callable[..., Any], rounds: int, watch: Work) -> Ratio:
    """The ratio with each change merged into a weight of its own beforehand: faster, and larger by the encoder."""
    for path, module in list(network.named_modules()):
        if isinstance(module, LowRankLayer):
            parent, _, leaf = path.rpartition(".")
            layer = module.layer
            layer.weight = nn.Parameter(low_rank_sum(layer.weight, module.up, module.down), requires_grad=False)
            setattr(network.get_submodule(parent), leaf, layer)
    return in_turn(partial(step, scaled(residuals)), step, rounds, watch)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--sides", type=int, nargs="*", default=[1024, 4096], help="of the pictures to be prepared")
    options.add_argument("--sizes", nargs="*", default=["pocket", "middle"], choices=list(networks.SIZES))
    options.add_argument("--side", type=int, default=256, help="of the picture that is sampled")
    options.add_argument("--rank", type=int, default=128)
    given = options.parse_args()
    print(machine())
    for side in given.sides:
        print(table(maps(side, given.rounds)), flush=True)
    for size in given.sizes:
        print(table(steps(size, given.side, given.rank, given.rounds)), flush=True)


if __name__ == "__main__":
    main()
