"""Inpainting in its three modes, step by step and as a whole: cut out, filled, encoded, sampled, pasted back."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from fooocus_stages.pipelines.functional.latents import from_uint8, to_uint8
from fooocus_stages.pipelines.host import LocalHost
from fooocus_stages.pipelines.models.handles import InpaintEngine, Model, Vae
from fooocus_stages.pipelines.models.weights.merging import Network, WeightPatch
from fooocus_stages.pipelines.stages import inpaint, vae
from fooocus_stages.pipelines.stages.sampling import sample
from fooocus_stages.pipelines.types import InpaintRegion, SamplingSettings

from . import nano, reference_inputs
from .golden import Case, assert_relative_rms, each_case

HOST = LocalHost(device="cpu")


@each_case("inpaint")
def test_the_region(case: Case) -> None:
    region, filled = prepared(case)
    assert list(region.area) == case.params["area"]
    assert torch.equal(to_uint8(region.mask)[0], case.output("interested_mask"))
    assert torch.equal(to_uint8(filled)[0], case.output("interested_fill"))


@each_case("inpaint")
def test_the_latents(case: Case) -> None:
    latent = encoded(case, model_of(case, head=True))
    known = latent["fooocus_known"]
    assert torch.equal(latent["noise_mask"], case.output("latent_mask"))
    # Encoded in float64: float32 convolutions differ between processors by 2e-4, twice the tolerance.
    assert_relative_rms(known.latents, case.output("latent_fill"))
    assert_relative_rms(known.masked, case.output("latent_inpaint"))


@each_case("inpaint")
def test_the_picture(case: Case) -> None:
    model = model_of(case, head=case.params["head"])
    sides = [
        [[case.inputs(f"{side}_cond"), {"pooled_output": case.inputs(f"{side}_pooled")}]]
        for side in ("positive", "negative")
    ]
    latent = sample.sample(
        HOST, model, *sides, encoded(case, model), settings_of(case), case.params["seed"], case.params["denoise"]
    )
    assert_relative_rms(latent["samples"], case.output("latent"))
    own = nano.sdxl().vae
    assert own is not None
    region = prepared(case)[0]
    picture, golden = to_uint8(inpaint.paste(vae.decode(HOST, own, latent), region))[0], case.output("image")
    assert torch.equal(picture[region.soft[0] == 0], golden[region.soft[0] == 0])
    assert (picture.int() - golden.int()).abs().float().mean() <= 0.01


def prepared(case: Case) -> tuple[InpaintRegion, torch.Tensor]:
    """The part of the case's picture in its working size, and filled when it is drawn anew."""
    height, width = case.params["height"], case.params["width"]
    picture = reference_inputs.picture(height, width, case.params["k"])
    mask = reference_inputs.blob_mask(height, width, case.params["mask_k"])
    image, shape = (from_uint8(torch.from_numpy(one))[None] for one in (picture, mask))
    model = replace(nano.sdxl().model, native_size=case.params["working"])
    region = inpaint.crop(HOST, image, shape, case.params["respective_field"], model)
    drawn_anew = case.params["denoise"] > inpaint.FILL_ABOVE
    return region, inpaint.fill(region.crop, region.mask) if drawn_anew else region.crop


def encoded(case: Case, model: Model) -> dict[str, Any]:
    """The latent to begin with; these cases take the mean of the autoencoder's posterior."""
    region, filled = prepared(case)
    initial = not case.params["disable_initial_latent"]
    settings, strength = settings_of(case), case.params["denoise"]
    return inpaint.encode(HOST, model, precise(), region, settings, strength, filled, initial, seed=None)


@cache
def precise() -> Vae:
    """Return the nano autoencoder in float64, whose latents are within 7e-5 of the golden ones."""
    own = nano.sdxl().vae
    assert own is not None
    return replace(own, network=Network(deepcopy(own.network.module).double()))


@pytest.fixture(scope="module", autouse=True)
def _drop_networks() -> Iterator[None]:
    yield
    precise.cache_clear()


def model_of(case: Case, head: bool) -> Model:
    """The nano model with the cases' head, no patch, and no plain model after it."""
    model = nano.sdxl().model
    if not head:
        return model
    weight = reference_inputs.tensor("inpaint_head", [64, 5, 3, 3], 0.0, 0.15)
    return replace(model, inpaint=InpaintEngine("head", weight, WeightPatch("", 1.0, {}), at=1.0))


def settings_of(case: Case) -> SamplingSettings:
    return SamplingSettings(**{name: case.params[name] for name in ("sampler", "scheduler", "steps", "cfg")})
