"""Inpainting and outpainting beside image prompts, faces and control images, and with a refiner of another family."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from fooocus_stages.pipelines.host import POCKET, LocalHost
from fooocus_stages.pipelines.models.handles import Hint, Model, Vae
from fooocus_stages.pipelines.settings import (
    DEFAULT_CLIP_VISION,
    DEFAULT_CONTROL,
    DEFAULT_CPDS,
    DEFAULT_FACE_PROMPT,
    DEFAULT_IMAGE_PROMPT,
    INPAINT_MODES,
    InpaintMode,
)
from fooocus_stages.pipelines.stages import control, image_prompt, inpaint, vae
from fooocus_stages.pipelines.stages.sampling import refiner as refiners
from fooocus_stages.pipelines.stages.sampling import sample
from fooocus_stages.pipelines.types import SamplingSettings
from torch import Tensor

from ..conftest import Pocket

HOST = LocalHost([POCKET], device="cpu", on_notice=lambda _: None)
QUICK = SamplingSettings(steps=8, sampler="euler", scheduler="simple", cfg=1.0)
DEFAULT, DETAIL, MODIFY = INPAINT_MODES
PICTURE = torch.rand(1, 96, 112, 3, generator=torch.Generator().manual_seed(0))
MASK = torch.zeros(1, 96, 112)
MASK[:, 40:64, 40:80] = 1
KINDS = ("PyraCanny", "CPDS", "ImagePrompt", "FaceSwap")


def drawn(colour: tuple[float, float, float] = (0.1, 0.2, 0.6)) -> Tensor:
    """A picture with something to see in it: a square on a light ground."""
    picture = torch.full((1, 80, 80, 3), 0.9)
    picture[:, 20:60, 30:70] = torch.tensor(colour)
    return picture


@cache
def hint(kind: str, stop_at: float = 1.0) -> tuple[Hint, ...]:
    """One picture beside the prompt, read as its node reads it."""
    if kind == "PyraCanny":
        return control.hint(control.load(HOST, DEFAULT_CONTROL), control.pyra_canny(drawn()), 1.0, stop_at=stop_at)
    if kind == "CPDS":
        return control.hint(control.load(HOST, DEFAULT_CPDS), control.cpds(drawn()), 1.5, stop_at=stop_at)
    adapter, picture = DEFAULT_IMAGE_PROMPT, drawn()
    if kind == "FaceSwap":
        adapter, picture = DEFAULT_FACE_PROMPT, control.cropped_faces(HOST, drawn((0.7, 0.1, 0.1)))
    return image_prompt.prompt(HOST, image_prompt.load(HOST, adapter, DEFAULT_CLIP_VISION), picture, 1.8, stop_at)


def painted(
    pocket: Pocket,
    hints: tuple[Hint, ...] = (),
    mode: str = DEFAULT,
    sides: tuple[str, ...] = (),
    models: tuple[Model, Vae] | None = None,
    override: InpaintMode | None = None,
) -> tuple[Tensor, Tensor]:
    """The whole new picture, and where (1, H, W) the old one must be left as it was."""
    model, autoencoder = models or (pocket.model, pocket.vae)
    done = inpaint.inpaint(HOST, PICTURE, MASK, model, autoencoder, QUICK, mode, override, sides, seed=3)
    made = sample.sample(
        HOST, done.model, pocket.positive, pocket.negative, done.latent, QUICK, 3, done.denoise, control=hints
    )
    whole = inpaint.paste(vae.decode(HOST, autoencoder, made), done.region)
    left = done.region.soft == 0
    assert torch.equal(whole[left], done.region.image[left])
    return whole, left


def changed(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> bool:
    """Whether two runs of one region differ in what they painted by more than the rounding to bytes."""
    return float((one[0] - other[0]).abs().max()) > 2 / 255


@pytest.mark.parametrize("mode", [DEFAULT, DETAIL, MODIFY])
def test_each_kind_counts_in_each_mode_and_nothing_of_it_stays(pocket: Pocket, mode: str) -> None:
    plain = painted(pocket, mode=mode)
    assert plain[1].any()
    for kind in KINDS:
        assert changed(painted(pocket, hint(kind), mode), plain), f"{kind} does nothing"
    assert torch.equal(painted(pocket, mode=mode)[0], plain[0])


def test_all_kinds_with_a_side_to_outpaint_and_a_refiner_of_sd15(pocket: Pocket) -> None:
    refiner = refiners.load_refiner(HOST, "pocket")
    models = refiners.with_refiner(HOST, pocket.model, pocket.vae, refiner, 0.8)
    each = [hint(kind) for kind in KINDS]
    together = painted(pocket, sum(each, ()), sides=("right",), models=models)
    assert together[0].shape == (1, 96, 112 + 33, 3)
    assert changed(together, painted(pocket, sides=("right",), models=models))
    for i, kind in enumerate(KINDS):
        others = sum(each[:i] + each[i + 1 :], ())
        assert changed(together, painted(pocket, others, sides=("right",), models=models)), f"{kind} does nothing"


@pytest.mark.parametrize("kind", KINDS)
def test_they_end_where_the_engine_does(pocket: Pocket, kind: str) -> None:
    """With an engine the plain model takes the last of eight steps, and reads no pictures whatever stop says."""
    but_the_last = hint(kind, stop_at=0.8)
    assert torch.equal(painted(pocket, hint(kind))[0], painted(pocket, but_the_last)[0])
    plain = replace(INPAINT_MODES[DEFAULT], engine="None")
    without = [painted(pocket, hints, override=plain)[0] for hints in (hint(kind), but_the_last)]
    assert not torch.equal(*without)
