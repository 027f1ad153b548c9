"""The sampling settings, from the node to the noise levels of a run."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from fooocus_stages.nodes.sampling import FooocusPerformance, FooocusSamplingSettings, FooocusScheduler
from fooocus_stages.pipelines.models.handles import Model
from fooocus_stages.pipelines.models.unet import UNet
from fooocus_stages.pipelines.types import SamplingSettings

MODEL = Model(UNet(torch.nn.Identity()), "sdxl")


def settings_of(scheduler: str, **options: bool) -> SamplingSettings:
    (settings,) = FooocusSamplingSettings().run(4.0, 2.0, 7.0, 1.5, 0.8, 0.3, "euler", scheduler, **options)
    return FooocusPerformance().run("Speed", 8, settings)[0]


def levels(settings: SamplingSettings) -> torch.Tensor:
    return FooocusScheduler().run(MODEL, settings, 1.0)[0]


@pytest.mark.parametrize("scheduler", ["turbo", "align_your_steps"])
def test_as_fooocus_samples_two_schedulers_as_normal(scheduler: str) -> None:
    normal = levels(settings_of("normal"))
    assert torch.equal(levels(settings_of(scheduler, as_fooocus=True)), normal)
    assert not torch.equal(levels(settings_of(scheduler)), normal)


@pytest.mark.parametrize("scheduler", ["karras", "ddim_uniform", "lcm", "edm_playground_v2.5"])
def test_as_fooocus_leaves_the_other_schedulers_alone(scheduler: str) -> None:
    assert torch.equal(levels(settings_of(scheduler, as_fooocus=True)), levels(settings_of(scheduler)))


def test_as_fooocus_is_off_by_default() -> None:
    assert settings_of("turbo") == replace(settings_of("turbo", as_fooocus=True), as_fooocus=False)
