"""One forward of each UNet, from files in published layout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from fooocus_stages.pipelines.functional.model_sampling import ModelSampling, sigma_table
from fooocus_stages.pipelines.models.protocols import Condition, DenoisingNetwork, Run
from torch import Tensor, nn

from . import nano
from .golden import Case, assert_near, each_case

CHECKPOINTS = {"sdxl": nano.sdxl, "refiner": nano.refiner, "sd15": nano.sd15}
POOLED = 1280


class Raw(ModelSampling):
    """A schedule that shows a network's input and output as they are; noise levels are timesteps."""

    def scaled_input(self, x: Tensor, sigma: float) -> Tensor:
        return x

    def timestep(self, sigma: float) -> float:
        return sigma

    def denoised(self, x: Tensor, output: Tensor, sigma: float) -> Tensor:
        return output


RAW = Raw(sigma_table())


def outputs_of(network: DenoisingNetwork, x: Tensor, timestep: float, sides: list[Condition]) -> list[Tensor]:
    """The network's output for each side."""
    with network.running(lambda *_: x.device, Run(tuple(x.shape), torch.tensor([timestep, 0.0]), RAW)):
        return network.denoised(x, timestep, RAW, sides)


@each_case("unet")
def test_forward(case: Case) -> None:
    network = CHECKPOINTS[case.params["model"]]().model.network
    y = case.inputs("y") if "y" in case.input_names else None
    sides = [condition(case.inputs("context")[i : i + 1], None if y is None else y[i]) for i in range(2)]
    with embedded_ids(network):
        outputs = [
            outputs_of(network, x, case.params["timestep"], [side])[0]
            for x, side in zip(case.inputs("x").split(1), sides, strict=True)
        ]
    # The cases give y by formula, so no size ids embed to it: they enter behind that embedding, which `adm` compares.
    assert_near(torch.cat(outputs), case.output("eps"), of_max=1e-4)


@each_case("unet")
def test_both_sides_in_one_call_are_what_each_is_alone(case: Case) -> None:
    network = CHECKPOINTS[case.params["model"]]().model.network
    x, context, t = case.inputs("x")[:1], case.inputs("context"), case.params["timestep"]
    ids = (1344.0, 1728.0, 0.0, 0.0, 896.0, 1152.0)[: 5 if case.params["model"] == "refiner" else 6]
    sides = [
        Condition(tokens, torch.full((1, POOLED), 0.1), ids)
        for tokens in (context[:1], torch.cat([context[1:], context[:1] * 0.5], dim=1))
    ]
    together = outputs_of(network, x, t, sides)
    for output, side in zip(together, sides, strict=True):
        assert_near(output, outputs_of(network, x, t, [side])[0], of_max=1e-4)


def condition(tokens: torch.Tensor, y: torch.Tensor | None) -> Condition:
    """A side whose sizes are given embedded, as the cases have them."""
    return Condition(tokens) if y is None else Condition(tokens, y[None, :POOLED], tuple(y[POOLED:].tolist()))


@contextmanager
def embedded_ids(network: DenoisingNetwork) -> Iterator[None]:
    """While it lasts the UNet takes the size ids for their own embedding."""
    patcher: Any = network.patcher
    owner, name = (network.module, "add_time_proj") if patcher is None else (patcher.model, "embedder")
    before = getattr(owner, name, None)
    try:
        if before is not None:
            setattr(owner, name, nn.Identity())
        yield
    finally:
        if before is not None:
            setattr(owner, name, before)
