"""Whole runs: from conditionings, and from words, to latents and pictures; with FreeU; and batches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from fooocus_stages.pipelines.functional.latents import to_uint8
from fooocus_stages.pipelines.host import LocalHost
from fooocus_stages.pipelines.models.handles import Model
from fooocus_stages.pipelines.stages import load, vae
from fooocus_stages.pipelines.stages.prompts import encode
from fooocus_stages.pipelines.stages.sampling import plan, sample
from fooocus_stages.pipelines.types import FreeU, Prompt, SamplingSettings

from . import nano
from .golden import Case, assert_relative_rms, assert_same_picture, cases, each_case

HOST = LocalHost(device="cpu")


@each_case("text_to_image")
def test_from_conditionings(case: Case) -> None:
    latent = run(case)
    assert_relative_rms(latent, case.output("latent"))
    assert_same_picture(picture(latent), case.output("image"))


@each_case("freeu")
def test_with_freeu(case: Case) -> None:
    gains = FreeU(*(case.params[name] for name in ("b1", "b2", "s1", "s2")))
    assert_relative_rms(run(case, load.with_freeu(nano.sdxl().model, gains)), case.output("latent"))


@each_case("prompt_to_image")
def test_from_words(case: Case) -> None:
    checkpoint = nano.sdxl()
    positive, negative = tuple(case.params["positive"]), tuple(case.params["negative"])
    prompt = Prompt(positive, negative, len(positive), len(negative), case.params["seed"])
    settings = settings_of(case)
    sides = encode.encode(HOST, nano.sdxl_clip(), prompt, settings)
    latent = sample.sample(HOST, checkpoint.model, *sides, start_of(case), settings, case.params["seed"])["samples"]
    assert_relative_rms(latent, case.output("latent"))
    assert_same_picture(picture(latent), case.output("image"))


@pytest.mark.parametrize("sampler", ["dpmpp_2m_sde_gpu", "euler_ancestral", "uni_pc"])
@each_case("text_to_image", lambda case: case == cases("text_to_image")[0])
def test_a_picture_of_a_batch_is_what_it_is_alone(case: Case, sampler: str) -> None:
    settings = replace(settings_of(case), sampler=sampler, steps=3)
    sides = sides_of(case)
    model = nano.sdxl().model
    together = sample.sample(HOST, model, *sides, start_of(case, batch=3), settings, 7)["samples"]
    for i in range(3):
        alone = sample.sample(HOST, model, *sides, start_of(case), settings, 7 + i)["samples"]
        assert_relative_rms(together[i : i + 1], alone)


def run(case: Case, model: Model | None = None) -> torch.Tensor:
    """The case's latent on the nano model."""
    model = model or nano.sdxl().model
    result = sample.sample(HOST, model, *sides_of(case), start_of(case), settings_of(case), case.params["seed"])
    return result["samples"]


def sides_of(case: Case) -> list[list[list[Any]]]:
    return [
        [[case.inputs(f"{side}_cond"), {"pooled_output": case.inputs(f"{side}_pooled")}]]
        for side in ("positive", "negative")
    ]


def start_of(case: Case, batch: int = 1) -> dict[str, Any]:
    return plan.empty_latent("custom", case.params["width"], case.params["height"], batch)[0]


def settings_of(case: Case) -> SamplingSettings:
    names = ("sampler", "scheduler", "steps", "cfg", "sharpness")
    given = {name: case.params[name] for name in names if name in case.params}
    if adm := case.params.get("adm"):
        given |= dict(zip(("adm_positive", "adm_negative", "adm_end"), adm, strict=True))
    return SamplingSettings(**given)


def picture(latent: torch.Tensor) -> torch.Tensor:
    """The latent decoded: uint8 (H, W, 3)."""
    own = nano.sdxl().vae
    assert own is not None
    return to_uint8(vae.decode(HOST, own, {"samples": latent}))[0]
