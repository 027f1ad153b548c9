"""A step of the pack's sampler on ComfyUI's own MODEL over one of ComfyUI's KSampler with the same MODEL.

    PYTHONPATH=folder python benchmarks/native.py /path/to/ComfyUI [--sizes pocket middle] [--steps 10] [--rounds 5]

Run it in ComfyUI's Python; `folder` holds the pack under the name fooocus_stages. The network has random weights. A
step is the time from one call of the sampler's callback to the next, the mean of a run; "whole run" also has what comes
before and after. Without sharpness both compute plain guidance; with it the KSampler has Fooocus Model Patch. In
float32 on a CPU, else in the dtype that ComfyUI chooses.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import networks
import torch
from fooocus_stages.pipelines.host import LocalHost, Preview
from fooocus_stages.pipelines.models.handles import Model
from fooocus_stages.pipelines.stages.sampling import sample
from fooocus_stages.pipelines.types import SamplingSettings
from fooocus_stages.pocket.training import published_names
from timing import Ratio, Stopwatch, machine, table

PREFIX = "model.diffusion_model."
CFG = 4.0
SIDES = {"nano": 128, "pocket": 256, "middle": 512, "sdxl": 512}
PLAIN = SamplingSettings(
    sampler="euler", cfg=CFG, sharpness=0.0, adaptive_cfg=CFG, adm_positive=1.0, adm_negative=1.0, adm_end=0.0
)
CASES = (("plain guidance", PLAIN), ("sharpness 2", SamplingSettings(sampler="euler", cfg=CFG)))


class Marking(LocalHost):
    """A host that notes when each step reports its progress."""

    def __init__(self, watch: Stopwatch, device: str) -> None:
        super().__init__(device=device)
        self.watch = watch
        self.marks: list[Any] = []

    def progress(self, value: int, total: int, preview: Preview | None = None) -> None:
        self.marks.append(self.watch.mark())


@dataclass
class Timed:
    """Runs of one side: the seconds of a step in each, and of the whole."""

    steps: list[float] = field(default_factory=list)
    runs: list[float] = field(default_factory=list)


def native_model(size: str, device: torch.device) -> Any:
    """A MODEL of ComfyUI in that size, with the weights of the benchmarks' networks."""
    import comfy.model_base
    import comfy.model_detection
    import comfy.model_management
    import comfy.model_patcher
    import comfy.supported_models

    ours = networks.model(size, torch.device("cpu"), torch.float32)
    state = published_names.unet_state_to_ldm(ours.network.module.state_dict())
    config = comfy.supported_models.SDXL(comfy.model_detection.detect_unet_config(state, PREFIX))
    config.unet_config |= comfy.supported_models.SDXL.unet_extra_config
    dtype = torch.float32 if device.type == "cpu" else comfy.model_management.unet_dtype()
    config.set_inference_dtype(dtype, None)
    model = comfy.model_base.SDXL(config)
    model.load_model_weights(state, PREFIX)
    return comfy.model_patcher.ModelPatcher(model, device, torch.device("cpu"))


def one_run(work: Callable[[], object], marks: list[Any], watch: Stopwatch, into: Timed) -> None:
    """Time one run, whose callback appends to `marks`."""
    marks.clear()
    into.runs.append(watch.seconds(work))
    into.steps.append(watch.between(marks[0], marks[-1]) / (len(marks) - 1))


def report(size: str, given: argparse.Namespace, device: torch.device) -> None:
    import comfy.sample
    from fooocus_stages.nodes.comfy.host import ComfyHost
    from fooocus_stages.nodes.comfy.native import adoption, guidance

    patcher, side, watch = native_model(size, device), given.side or SIDES[size], Stopwatch(device)
    host, marks = Marking(watch, str(device)), []  # type: tuple[Marking, list[Any]]
    sides = networks.conditioning(size, 1), networks.conditioning(size, 2)
    latent = {"samples": torch.zeros(1, 4, side // 8, side // 8)}
    noise = comfy.sample.prepare_noise(latent["samples"], 1)
    for name, chosen in CASES:
        settings = replace(chosen, steps=given.steps)
        model: Model = adoption.model_of(patcher, ComfyHost())
        theirs = patcher if chosen is PLAIN else guidance.patched(patcher, settings)

        def ours(model: Model = model, settings: SamplingSettings = settings) -> object:
            return sample.sample(host, model, *sides, latent, settings, 1)

        def ksampler(theirs: Any = theirs) -> object:
            return comfy.sample.sample(
                theirs, noise, given.steps, CFG, "euler", "karras", *sides, latent["samples"], seed=1,
                callback=lambda *_: marks.append(watch.mark()), disable_pbar=True,
            )  # fmt: skip

        pair = Timed(), Timed()
        for _ in range(given.rounds + 1):
            one_run(ours, host.marks, watch, pair[0])
            one_run(ksampler, marks, watch, pair[1])
        what = f"{size}, {side}×{side}, {given.steps} steps, {name}"
        for label, kind in (("a step", "steps"), ("whole run", "runs")):
            first, second = (getattr(one, kind)[1:] for one in pair)
            ratio = Ratio(tuple(a / b for a, b in zip(first, second, strict=True)))
            print(table([(f"{what}: {label} over KSampler's", ratio)]), flush=True)


def import_comfyui(folder: Path, cpu: bool) -> None:
    """Make ComfyUI's modules importable, as its own start does."""
    sys.path.insert(0, str(folder))
    arguments, sys.argv = sys.argv, ["main.py", *(["--cpu"] if cpu else [])]
    try:
        import comfy.options

        comfy.options.enable_args_parsing()
        import comfy.cli_args
    finally:
        sys.argv = arguments


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("comfyui", type=Path, help="a checkout of ComfyUI")
    options.add_argument("--sizes", nargs="+", default=["pocket", "middle"], choices=list(networks.SIZES))
    options.add_argument("--steps", type=int, default=10)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--side", type=int, help="of the picture, in pixels")
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = options.parse_args()
    device = torch.device(given.device)
    import_comfyui(given.comfyui, device.type == "cpu")
    print(machine(device))
    with torch.inference_mode():
        for size in given.sizes:
            report(size, given, device)


if __name__ == "__main__":
    main()
