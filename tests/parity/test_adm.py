"""The size vectors that base and refiner are given during a run, captured where the network embeds them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
import torch
from fooocus_stages.pipelines.host import LocalHost
from fooocus_stages.pipelines.models.handles import Model
from fooocus_stages.pipelines.stages.sampling import denoiser
from fooocus_stages.pipelines.types import SamplingSettings
from torch import nn

from . import nano
from .golden import Case, each_case

HOST = LocalHost(device="cpu")


class Captured(Exception):
    """Ends a forward pass once the vector is known."""


@each_case("adm")
def test_adm(case: Case) -> None:
    base, refiner = nano.sdxl().model, nano.refiner().model
    emphasised, consistent = given(case, base, 999, adm_end=1.0), given(case, base, 999, adm_end=0.0)
    assert_same(emphasised, case.output("adm")[:, : emphasised.vector.shape[1]])
    assert_same(consistent, case.output("adm")[:, emphasised.vector.shape[1] :])
    assert_same(given(case, refiner, 999), case.output("refiner_adm"))
    for name in case.output_names:
        if name.startswith("at_"):
            assert_same(given(case, base, float(name.removeprefix("at_"))), case.output(name))


class Given(NamedTuple):
    """What a network is given: ids (n,), and the vector (1, 1280 + 256·n) of pooled text and embedded ids."""

    ids: torch.Tensor
    vector: torch.Tensor


def assert_same(ours: Given, golden: torch.Tensor) -> None:
    """Assert a difference of at most 1e-5, plus one bit of the frequency f in cos(v·f) and sin(v·f) for an id v.

    torch's float32 `exp` rounds f differently on different processors (see the README of the reference outputs).
    """
    frequency = torch.exp(-math.log(10000) * torch.arange(128, dtype=torch.float64) / 128).repeat(2)
    last_bit = (ours.ids.double()[:, None] * frequency * 2**-23).flatten()
    allowed = 1e-5 + torch.cat([torch.zeros(golden.shape[1] - len(last_bit)), last_bit])
    assert ours.vector.shape == golden.shape
    assert ((ours.vector - golden).abs()[0] <= allowed).all()


def given(case: Case, model: Model, timestep: float, **changes: Any) -> Given:
    """What the case's side of guidance is given at a timestep, as the model's denoiser makes it."""
    network = model.network
    scales = {"adm_positive": case.params["positive_scale"], "adm_negative": case.params["negative_scale"]}
    settings = SamplingSettings(**{**scales, "adm_end": case.params["end"], **changes})
    side = [[torch.zeros(1, 77, network.token_width), {"pooled_output": case.inputs("pooled")}]]
    shape = torch.Size((1, 4, case.params["height"] // 8, case.params["width"] // 8))
    sigma = float(denoiser.model_sampling(model, settings).sigmas_at(torch.tensor(timestep)))
    denoise = denoiser.guided(HOST, model, side, side, settings, shape, torch.device("cpu"))
    row = ["positive", "negative"].index(case.params["prompt"])
    with captured(model.network.module) as (ids, vectors), pytest.raises(Captured):
        denoise(torch.zeros(shape), sigma)
    return Given(ids[0].view(2, -1)[row], vectors[0][row : row + 1])


@contextmanager
def captured(unet: nn.Module) -> Iterator[tuple[list[torch.Tensor], list[torch.Tensor]]]:
    """The inputs of the layers that embed the ids, and the vector, in the next forward pass, which ends there."""
    ids: list[torch.Tensor] = []
    vectors: list[torch.Tensor] = []

    def capture(_: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        vectors.append(inputs[0])
        raise Captured

    hooks = [
        unet.get_submodule("add_time_proj").register_forward_pre_hook(lambda _, inputs: ids.append(inputs[0])),
        unet.get_submodule("add_embedding").register_forward_pre_hook(capture),
    ]
    try:
        yield ids, vectors
    finally:
        for hook in hooks:
            hook.remove()
