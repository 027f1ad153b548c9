"""Conditioning with areas, masks, strengths, ranges and sizes in the sampler, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from fooocus_stages.pipelines.errors import BadValue
from fooocus_stages.pipelines.functional.adm import SizeIds, size_ids
from fooocus_stages.pipelines.host import POCKET, LocalHost
from fooocus_stages.pipelines.models.handles import Hint
from fooocus_stages.pipelines.settings import DEFAULT_CONTROL
from fooocus_stages.pipelines.stages import control
from fooocus_stages.pipelines.stages.prompts import encode
from fooocus_stages.pipelines.stages.sampling import conditioning, denoiser, plan, refiner, sample
from fooocus_stages.pipelines.types import Conditioning, Prompt, SamplingSettings
from torch import Tensor

from ..conftest import Pocket

NOTICES: list[str] = []
HOST = LocalHost([POCKET], device="cpu", on_notice=NOTICES.append)
SETTINGS = SamplingSettings(steps=4, sampler="euler", scheduler="simple", cfg=4.0)


def encoded(pocket: Pocket, text: str) -> Conditioning:
    return encode.encode(HOST, pocket.clip, Prompt((text,), ("",), 1, 1, 0), SETTINGS)[0]


def given(entries: Conditioning, **options: Any) -> Conditioning:
    """The conditioning with options set on each entry, as ComfyUI's nodes set them."""
    return [[tokens, {**before, **options}] for tokens, before in entries]


def drawn(
    pocket: Pocket,
    positive: Conditioning,
    negative: Conditioning | None = None,
    settings: SamplingSettings = SETTINGS,
    control: tuple[Hint, ...] = (),
    batch: int = 1,
) -> Tensor:
    latent = plan.empty_latent("custom", 128, 128, batch)[0]
    sides = positive, negative or pocket.negative
    samples: Tensor = sample.sample(HOST, pocket.model, *sides, latent, settings, 1, control=control)["samples"]
    assert samples.isfinite().all()
    return samples


LEFT, RIGHT = (16, 8, 0, 0), (16, 8, 0, 8)


@pytest.mark.parametrize("cfg", [1.0, 4.0])
@pytest.mark.parametrize(
    "options",
    [
        {"area": LEFT},
        {"area": ("percentage", 0.5, 0.5, 0.25, 0.25), "strength": 3.0},
        {"mask": torch.eye(16)[None], "mask_strength": 1.0},
        {"start_percent": 0.0, "end_percent": 0.5},
        {"strength": 0.25},
        {"width": 64, "height": 512, "crop_w": 0, "crop_h": 0, "target_width": 64, "target_height": 64},
    ],
    ids=lambda options: next(iter(options)),
)
def test_each_option_changes_the_result_beside_another_entry(
    pocket: Pocket, options: dict[str, Any], cfg: float
) -> None:
    settings = replace(SETTINGS, cfg=cfg)
    other = encoded(pocket, "a small green triangle on a white background")
    plain = drawn(pocket, [*pocket.positive, *other], settings=settings)
    assert not torch.equal(drawn(pocket, [*given(pocket.positive, **options), *other], settings=settings), plain)
    assert not torch.equal(drawn(pocket, pocket.positive, settings=settings), plain)


def test_a_combination_of_equal_entries_is_the_entry(pocket: Pocket) -> None:
    twice = drawn(pocket, [*pocket.positive, *given(pocket.positive, strength=3.0)])
    assert torch.allclose(twice, drawn(pocket, pocket.positive), atol=1e-3)


def test_options_that_restrict_nothing_leave_the_result_bit_identical(pocket: Pocket) -> None:
    neutral = {"strength": 1.0, "start_percent": 0.0, "end_percent": 1.0, "hooks": None}
    assert torch.equal(drawn(pocket, given(pocket.positive, **neutral)), drawn(pocket, pocket.positive))


def test_areas_draw_each_prompt_in_its_place(pocket: Pocket) -> None:
    """Without guidance, whose negative side sees the whole, a half depends on its own prompt alone."""
    plain = replace(SETTINGS, cfg=1.0)
    red = encoded(pocket, "a large red circle on a blue background")
    green = encoded(pocket, "a large green square on a white background")
    one = drawn(pocket, [*given(red, area=LEFT), *given(green, area=RIGHT)], settings=plain)
    same_left = drawn(pocket, [*given(red, area=LEFT), *given(red, area=RIGHT)], settings=plain)
    assert torch.allclose(one[..., :8], same_left[..., :8], atol=1e-3)
    assert float((one - same_left)[..., 8:].abs().mean()) > 1


def test_each_image_of_a_batch_is_what_it_is_alone(pocket: Pocket) -> None:
    positive = [*given(pocket.positive, area=LEFT), *encoded(pocket, "a green square")]
    assert torch.allclose(drawn(pocket, positive, batch=2)[:1], drawn(pocket, positive), atol=1e-4)


def test_areas_take_control_images(pocket: Pocket) -> None:
    positive = [*given(pocket.positive, area=LEFT), *encoded(pocket, "a green square")]
    picture = torch.zeros(1, 128, 128, 3)
    picture[:, 32:96, 32:96] = 1
    hints = control.hint(control.load(HOST, DEFAULT_CONTROL), control.pyra_canny(picture), 1.0, stop_at=1.0)
    assert not torch.equal(drawn(pocket, positive, control=hints), drawn(pocket, positive))


def predicted_in_the_left_half(pocket: Pocket, control: tuple[Hint, ...] = (), inpaint: Tensor | None = None) -> Tensor:
    """The prediction (1, 4, 16, 16) of an entry in the left half of random latents."""
    x = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    positive, settings = given(pocket.positive, area=LEFT), replace(SETTINGS, cfg=1.0)
    with denoiser.running(HOST, pocket.model, settings, torch.tensor([5.0, 0.0]), x.shape):
        denoise = denoiser.guided(
            HOST, pocket.model, positive, [], settings, x.shape, x.device, control, inpaint=inpaint
        )
        return denoise(x, 5.0)


def test_an_area_sees_the_control_image_of_its_place_alone(pocket: Pocket) -> None:
    """The control network reads less than 32 pixels around a cell: what is farther away has no effect."""
    everywhere, net = torch.rand(1, 128, 128, 3), control.load(HOST, DEFAULT_CONTROL)
    inside, outside = everywhere.clone(), everywhere.clone()
    inside[:, :, :64], outside[:, :, 96:] = 0, 0

    def predicted(image: Tensor) -> Tensor:
        return predicted_in_the_left_half(pocket, control.hint(net, image, 1.0, stop_at=1.0))

    assert torch.equal(predicted(outside), predicted(everywhere))
    assert not torch.equal(predicted(inside), predicted(everywhere))


def test_an_area_sees_the_inpaint_head_of_its_place_alone(pocket: Pocket) -> None:
    channels = pocket.model.network.module.conv_in.out_channels
    everywhere = torch.rand(1, channels, 16, 16)
    inside, outside = everywhere.clone(), everywhere.clone()
    inside[..., :8], outside[..., 8:] = 0, 0
    plain = predicted_in_the_left_half(pocket, inpaint=everywhere)
    assert torch.equal(predicted_in_the_left_half(pocket, inpaint=outside), plain)
    assert not torch.equal(predicted_in_the_left_half(pocket, inpaint=inside), plain)


def test_a_refiner_keeps_the_areas(pocket: Pocket) -> None:
    red = given(pocket.positive, area=LEFT, strength=0.5)
    both = [*red, *encoded(pocket, "a green square")]
    second = refiner.load_refiner(HOST, "pocket").model
    ((_, options), (_, without)) = refiner.refiner_conditioning(both, pocket.model, second)
    assert (options["area"], options["strength"]) == (LEFT, 0.5)
    assert "pooled_output" not in options
    assert "area" not in without


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ({}, size_ids(128, 96, 1.5)),
        ({"prompt_type": "negative"}, size_ids(128, 96, 0.8)),
        ({"width": 700}, SizeIds((96, 700, 0, 0, 96, 700), (96, 700, 0, 0, 96, 700))),
        (
            {"width": 700, "height": 600, "crop_w": 5, "crop_h": 6, "target_width": 800, "target_height": 900},
            SizeIds((600, 700, 6, 5, 900, 800), (600, 700, 6, 5, 900, 800)),
        ),
    ],
)
def test_sizes_that_an_entry_states_are_used_as_they_are(pocket: Pocket, options: dict[str, Any], ids: SizeIds) -> None:
    assert conditioning.sizes_of(options, pocket.model, SETTINGS, (12, 16), negative="prompt_type" in options) == ids


def test_the_sdxl_refiner_takes_size_and_score(pocket: Pocket) -> None:
    second = replace(pocket.model, family="sdxl-refiner")
    options = {"width": 700, "height": 600, "aesthetic_score": 7.5}
    assert conditioning.sizes_of(options, second, SETTINGS, (12, 16), False).emphasised == (600, 700, 0, 0, 7.5)
    assert conditioning.sizes_of({}, second, SETTINGS, (12, 16), True).emphasised == (96, 128, 0, 0, 2.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"control": object()}, "entry 2 of the positive conditioning carries a ControlNet.*Fooocus Control"),
        ({"hooks": object()}, "entry 2 .* hooks.*Fooocus Apply LoRAs"),
        ({"gligen": ("position", object(), [])}, "entry 2 .* GLIGEN.*Set Area"),
        ({"unclip_conditioning": [object()]}, "entry 2 .* unCLIP.*Fooocus Image Prompt"),
        ({"mystery": 1}, "entry 2 .* 'mystery'.*without it"),
        ({"area": (8, 8, 0, 16)}, "the area of entry 2 .* column 128.*128×128"),
        ({"area": ("percentage", 1, 1, 1, 0, 0, 0)}, "the area of entry 2 .* video"),
        ({"mask": torch.ones(2, 16, 16)}, "the mask of entry 2 .* 2 rows and the latent has 3"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_be_applied_is_refused_by_the_entry(pocket: Pocket, options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadValue, match=message):
        drawn(pocket, [*pocket.positive, *given(pocket.positive, **options)], batch=3)


def test_options_of_other_families_get_a_notice(pocket: Pocket) -> None:
    NOTICES.clear()
    assert torch.equal(drawn(pocket, given(pocket.positive, guidance=3.5)), drawn(pocket, pocket.positive))
    assert [notice for notice in NOTICES if "guidance" in notice] == NOTICES
    assert len(NOTICES) == 1
