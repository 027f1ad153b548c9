"""Whole runs with control-LoRAs: alone and chained, softened, ending early."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest
import torch
from fooocus_stages.pipelines.host import LocalHost
from fooocus_stages.pipelines.models.handles import ControlHint, ControlNet
from fooocus_stages.pipelines.models.hints.controlnet import load_controlnet
from fooocus_stages.pipelines.stages.sampling import sample
from safetensors.torch import save_file

from . import nano
from .golden import Case, assert_relative_rms, each_case
from .test_text_to_image import settings_of, sides_of, start_of

HOST = LocalHost(device="cpu")


@cache
def control_net(name: str) -> ControlNet:
    """A control-LoRA in the published layout, written to a file and read again."""
    path = nano.folder() / f"{name}.safetensors"
    save_file({**nano.untagged(f"nano-{name}"), "lora_controlnet": torch.zeros(0)}, path)
    return load_controlnet(path, torch.float32)


@pytest.fixture(scope="module", autouse=True)
def _drop_networks() -> Iterator[None]:
    yield
    control_net.cache_clear()


def hints_of(case: Case) -> tuple[ControlHint, ...]:
    return tuple(
        ControlHint(
            control_net(one["net"]),
            case.inputs(f"hint{i}_logit").sigmoid(),
            weight=one["weight"],
            stop_at=one["stop"],
            softness=case.params["softness"],
        )
        for i, one in enumerate(case.params["chain"])
    )


def run(case: Case, hints: tuple[ControlHint, ...]) -> torch.Tensor:
    model, settings, seed = nano.sdxl().model, settings_of(case), case.params["seed"]
    result = sample.sample(HOST, model, *sides_of(case), start_of(case), settings, seed, control=hints)
    return result["samples"]


@each_case("control")
def test_from_conditionings_and_hints(case: Case) -> None:
    assert_relative_rms(run(case, hints_of(case)), case.output("latent"))
