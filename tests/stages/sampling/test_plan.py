"""Performance modes, sizes, schedules and seeds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fooocus_stages.pipelines.errors import BadValue, UnknownName
from fooocus_stages.pipelines.models.handles import Model
from fooocus_stages.pipelines.models.unet import UNet
from fooocus_stages.pipelines.settings import ASPECT_RATIOS, PERFORMANCES
from fooocus_stages.pipelines.stages.sampling import plan
from fooocus_stages.pipelines.types import Lora, SamplingSettings

MODEL = Model(UNet(torch.nn.Identity()), "sdxl")
SMALL = Model(UNet(torch.nn.Identity()), "sdxl", native_size=128)
USERS = SamplingSettings(cfg=6.0, sharpness=5.0, adaptive_cfg=9.0, sampler="heun", scheduler="simple")
MINE = (Lora("mine.safetensors", 0.5),)


@pytest.mark.parametrize(("name", "steps"), [("Quality", 60), ("Speed", 30)])
def test_plain_modes_keep_the_settings(name: str, steps: int) -> None:
    settings, loras = plan.performance(name, USERS, MINE)
    assert (settings.steps, settings.performance) == (steps, name)
    assert (settings.cfg, settings.sharpness, settings.sampler, settings.scheduler) == (6.0, 5.0, "heun", "simple")
    assert loras == MINE


@pytest.mark.parametrize(
    ("name", "steps", "sampler", "scheduler", "lora", "weight"),
    [
        ("Extreme Speed", 8, "lcm", "lcm", "sdxl_lcm_lora.safetensors", 1.0),
        ("Lightning", 4, "euler", "sgm_uniform", "sdxl_lightning_4step_lora.safetensors", 1.0),
        ("Hyper-SD", 4, "dpmpp_sde_gpu", "karras", "sdxl_hyper_sd_4step_lora.safetensors", 0.8),
    ],
)
def test_distilled_modes_force_theirs(
    name: str, steps: int, sampler: str, scheduler: str, lora: str, weight: float
) -> None:
    settings, loras = plan.performance(name, USERS, MINE)
    assert settings == SamplingSettings(
        performance=name,
        steps=steps,
        sampler=sampler,
        scheduler=scheduler,
        cfg=1.0,
        sharpness=0.0,
        adaptive_cfg=1.0,
        adm_positive=1.0,
        adm_negative=1.0,
        adm_end=0.0,
    )
    assert loras == (*MINE, Lora(lora, weight, required=True))


@pytest.mark.parametrize(("overwrite", "steps"), [(-1, 30), (0, 30), (12, 12)])
def test_the_step_override_counts_when_positive(overwrite: int, steps: int) -> None:
    assert plan.performance("Speed", USERS, (), overwrite)[0].steps == steps


def test_an_unknown_mode_is_named_with_its_neighbours() -> None:
    with pytest.raises(UnknownName, match=r"unknown performance 'Sped' \(did you mean 'Speed'"):
        plan.performance("Sped", USERS, ())


@pytest.mark.parametrize("ratio", ASPECT_RATIOS)
def test_every_ratio_has_its_size_and_an_eighth_of_it_on_a_small_model(ratio: str) -> None:
    width, height = (int(side) for side in ratio.split("×"))
    latent, w, h = plan.empty_latent(ratio, 0, 0, 2, MODEL)
    assert (w, h, tuple(latent["samples"].shape)) == (width, height, (2, 4, height // 8, width // 8))
    assert plan.empty_latent(ratio, 0, 0, 1, SMALL)[1:] == (width // 8, height // 8)


@pytest.mark.parametrize("ratio", ["1024×1024", "1024x1024", "1024*1024", " 1024X1024 "])
def test_a_ratio_with_any_sign(ratio: str) -> None:
    assert plan.empty_latent(ratio, 0, 0, 1)[1:] == (1024, 1024)
    assert plan.empty_latent(" Custom", 64, 64, 1)[1:] == (64, 64)


def test_choices_in_any_spelling() -> None:
    spelled = SamplingSettings(sampler="DPMPP_2M", scheduler=" Karras")
    plainly = SamplingSettings(sampler="dpmpp_2m", scheduler="karras")
    assert torch.equal(plan.schedule(MODEL, spelled), plan.schedule(MODEL, plainly))
    assert plan.performance("extreme speed", USERS, ()) == plan.performance("Extreme Speed", USERS, ())


KARRAS_8 = [14.61464, 7.90293, 4.02774, 1.91036, 0.82887, 0.32112, 0.10720, 0.02917, 0]


@pytest.mark.parametrize(
    ("sampler", "scheduler", "levels"),
    [
        ("uni_pc", "karras", KARRAS_8),  # only dpm_2 leaves one out here
        ("dpm_2", "karras", [14.6146, 8.56, 4.7965, 2.5508, 1.2741, 0.5895, 0.2479, 0.0923, 0]),
        ("euler", "lcm", [14.61464, 7.30198, 4.08608, 2.49597, 1.61558, 1.07116, 0.69515, 0.39970, 0]),
        ("euler", "edm_playground_v2.5", KARRAS_8),
        ("euler", "turbo", [14.61464, 8.30280, 5.08776, 3.32108, 2.27646, 1.61289, 1.16058, 0.82986, 0]),
    ],
)
@pytest.mark.parametrize("as_fooocus", [False, True])
def test_the_refiners_levels_of_method_vae(sampler: str, scheduler: str, levels: list[float], as_fooocus: bool) -> None:
    settings = SamplingSettings(sampler=sampler, scheduler=scheduler, steps=8, as_fooocus=as_fooocus)
    assert plan.refiner_schedule(MODEL, settings, 1.0).tolist() == pytest.approx(levels, abs=2e-4)


@pytest.mark.parametrize(("asked", "given"), [((200, 120), (200, 120)), ((205, 127), (200, 120))])
def test_a_free_size_is_rounded_down_to_cells(asked: tuple[int, int], given: tuple[int, int]) -> None:
    assert plan.empty_latent("custom", *asked, 1, SMALL)[1:] == given


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("custom", 4, 64, 1), "4×64 pixels times 1 is too small: choose sides of 64"),
        (("1024×1000", 0, 0, 1), "unknown aspect ratio '1024×1000'"),
    ],
)
def test_wrong_sizes_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(BadValue, match=message):
        plan.empty_latent(*arguments)


@pytest.mark.parametrize(
    ("changes", "denoise", "message"),
    [
        ({"sampler": "eular"}, 1.0, r"unknown sampler 'eular' \(did you mean 'euler'"),
        ({"scheduler": "karas"}, 1.0, r"unknown scheduler 'karas' \(did you mean 'karras'"),
        ({"steps": 0}, 1.0, "steps is 0: choose 1 or more"),
        ({}, 0.0, "denoise is 0.0: choose a value above 0, up to 1"),
        ({}, 1.5, "denoise is 1.5"),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, Any], denoise: float, message: str) -> None:
    with pytest.raises(BadValue, match=message):
        plan.schedule(MODEL, SamplingSettings(**changes), denoise)


@pytest.mark.parametrize("name", PERFORMANCES)
def test_every_mode_has_a_schedule_of_its_length(name: str) -> None:
    settings, _ = plan.performance(name, SamplingSettings(), ())
    assert len(plan.schedule(MODEL, settings)) == settings.steps + 1


def test_a_batch_counts_seeds_up_and_wraps() -> None:
    latent = {"samples": torch.zeros(3, 4, 8, 8)}
    assert plan.seeds_of(latent, 2**63 - 2) == [2**63 - 2, 2**63 - 1, 0]
    assert plan.seeds_of({**latent, "batch_index": [4, 0, 1]}, 10) == [14, 10, 11]
