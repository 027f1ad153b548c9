"""Inpainting before and after the sampler: Fooocus's worked picture, masks of every kind, and what stays to the bit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fooocus_stages.pipelines.errors import BadValue, MissingFile, UnknownName
from fooocus_stages.pipelines.functional.latents import from_uint8, to_uint8
from fooocus_stages.pipelines.host import POCKET, LocalHost
from fooocus_stages.pipelines.settings import INPAINT_MODES, InpaintMode
from fooocus_stages.pipelines.stages import inpaint, upscale, vae
from fooocus_stages.pipelines.stages.sampling import refiner
from fooocus_stages.pipelines.types import SamplingSettings
from torch import Tensor

from .conftest import Pocket

HOST = LocalHost([POCKET], device="cpu", on_notice=lambda _: None)
QUICK = SamplingSettings(steps=2, sampler="euler")
DEFAULT, DETAIL, MODIFY = INPAINT_MODES
SIDES = ["left", "top"]


def hole(height: int, width: int, rows: slice, columns: slice) -> Tensor:
    mask = torch.zeros(1, height, width)
    mask[:, rows, columns] = 1
    return mask


def digest(tensor: Tensor) -> str:
    """The beginning of the SHA-256 of the first picture's bytes."""
    return hashlib.sha256(to_uint8(tensor)[0].contiguous().numpy().tobytes()).hexdigest()[:16]


@pytest.mark.parametrize(
    ("field", "area", "size", "pixels", "crop", "fill"),
    [
        (0.618, (0, 1146, 143, 1336), (960, 1024), 523298, "d7ce17a46933d0d9", "3301a14d0e4be3d2"),
        (1.0, (0, 1300, 0, 1500), (960, 1088), 389818, "f8cdbbacba10c8ed", "14da7bf57d03bca6"),
    ],
)
def test_the_worked_picture(
    field: float, area: tuple[int, ...], size: tuple[int, int], pixels: int, crop: str, fill: str
) -> None:
    y, x = np.mgrid[:1300, :1500]
    picture = np.stack([x * 255 // 1499, y * 255 // 1299, 255 * ((x // 8 + y // 8) % 2)], -1).astype(np.uint8)
    mask = hole(1300, 1500, slice(200, 900), slice(220, 1260))
    region = inpaint.crop(HOST, from_uint8(torch.from_numpy(picture))[None], mask, field)
    assert (region.area, tuple(region.crop.shape[1:3]), int(region.mask.sum())) == (area, size, pixels)
    assert digest(region.crop) == crop
    assert digest(inpaint.fill(region.crop, region.mask)) == fill
    assert digest(region.soft) == "cf89a73dc2b327ef"
    grey = from_uint8(torch.full((1, *size, 3), 128, dtype=torch.uint8))
    assert digest(inpaint.paste(grey, region)) == "30f5113b174f129a"


@pytest.mark.parametrize(
    ("size", "rows", "columns"),
    [
        ((40, 60), slice(10, 20), slice(30, 40)),
        ((40, 60), slice(17, 18), slice(20, 21)),
        ((40, 60), slice(0, 40), slice(0, 60)),
        ((40, 60), slice(0, 1), slice(0, 60)),
        ((40, 60), slice(39, 40), slice(59, 60)),
        ((4, 3), slice(1, 2), slice(0, 3)),
        ((1, 1), slice(0, 1), slice(0, 1)),
    ],
)
@pytest.mark.parametrize("field", [0.0, 0.618, 1.0])
def test_all_but_the_soft_edge_stays_to_the_bit(
    pocket: Pocket, size: tuple[int, int], rows: slice, columns: slice, field: float
) -> None:
    image = torch.rand(1, *size, 3, generator=torch.Generator().manual_seed(0))  # of no whole bytes
    region = inpaint.crop(HOST, image, hole(*size, rows, columns), field, pocket.model)
    pasted = inpaint.paste(1 - region.crop, region)
    away = region.soft == 0
    assert pasted.shape == image.shape
    assert torch.equal(pasted[away], image[away])
    reach = [max(where.start, side - where.stop) for where, side in zip((rows, columns), size, strict=True)]
    assert away.any() == (max(reach) >= 32)


def test_a_mask_of_another_size_and_a_transparent_picture(pocket: Pocket) -> None:
    image = torch.rand(1, 40, 60, 4)
    region = inpaint.crop(HOST, image, hole(20, 30, slice(5, 10), slice(10, 20)), 0.0, pocket.model)
    assert region.image.shape == (1, 40, 60, 3)
    torch.testing.assert_close(region.image, 1 - (1 - image[..., :3]) * image[..., 3:])
    assert region.soft[0, 15, 30] == 1
    assert inpaint.paste(region.crop, region).shape == (1, 40, 60, 3)


def test_a_batch_has_one_area_for_all_its_masks(pocket: Pocket) -> None:
    images = torch.rand(2, 64, 64, 3)
    masks = torch.cat([hole(64, 64, slice(0, 8), slice(0, 8)), hole(64, 64, slice(50, 60), slice(40, 60))])
    region = inpaint.crop(HOST, images, masks, 0.0, pocket.model)
    assert region.area == (0, 63, 0, 63)
    assert len(region.crop) == len(region.mask) == len(region.soft) == 2
    both = inpaint.paste(region.crop, region)
    for i in range(2):
        one = replace(region, image=region.image[i : i + 1], soft=region.soft[i : i + 1])
        assert torch.equal(both[i : i + 1], inpaint.paste(region.crop[i : i + 1], one))
    many = inpaint.paste(torch.rand(3, 8, 8, 3), inpaint.crop(HOST, images[:1], masks[:1], 0.0, pocket.model))
    assert many.shape == (3, 64, 64, 3)
    with pytest.raises(BadValue, match=r"3 \w+ to paste into 2"):
        inpaint.paste(torch.rand(3, 8, 8, 3), region)


def test_its_size_is_that_of_what_is_painted(pocket: Pocket) -> None:
    region = inpaint.crop(HOST, torch.rand(1, 101, 124, 3), torch.ones(1, 101, 124), 1.0, pocket.model)
    assert region.crop.shape[1:3] == (101, 124), "it is of the model's size class as it is"
    latent = inpaint.encode(HOST, pocket.model, pocket.vae, region, QUICK)
    painted = vae.decode(HOST, pocket.vae, latent)
    assert painted.shape[1:3] == (region.height, region.width) == (96, 120)


def test_a_small_part_is_enlarged_by_the_network(pocket: Pocket) -> None:
    said: list[str] = []
    host = LocalHost(device="cpu", on_notice=said.append)
    image, mask = torch.rand(1, 48, 48, 3), hole(48, 48, slice(8, 38), slice(8, 38))
    plain = inpaint.crop(host, image, mask, 0.0, pocket.model)
    (notice,) = said
    assert "33×33 pixels" in notice
    assert "connect an upscaler" in notice
    network = upscale.load(HOST, "pocket")
    sharp = inpaint.crop(host, image, mask, 0.0, pocket.model, network)
    assert len(said) == 1
    assert sharp.crop.shape == plain.crop.shape
    assert not torch.equal(sharp.crop, plain.crop)


@pytest.mark.parametrize(
    ("image", "mask", "field", "message"),
    [
        (torch.rand(1, 8, 8, 3), None, 0.5, "the mask is empty"),
        (torch.rand(1, 8, 8, 3), torch.zeros(1, 64, 64), 0.5, "the mask is empty"),
        (torch.rand(1, 8, 8, 3), torch.full((1, 8, 8), 0.49), 0.5, "the mask is empty"),
        (torch.rand(1, 8, 8, 3), torch.ones(1, 8, 8), 1.5, "respective_field is 1.5"),
        (torch.rand(8, 8, 3), torch.ones(1, 8, 8), 0.5, r"must be \(B, H, W, 3\)"),
        (torch.rand(1, 8, 8, 3), torch.ones(2, 8, 8), 0.5, "for 2 images and there are 1"),
        (torch.rand(1, 1, 5000, 3), torch.ones(1, 1, 5000), 1.0, "5000×1 pixels is too narrow"),
    ],
)
def test_wrong_sockets(image: Tensor, mask: Tensor | None, field: float, message: str) -> None:
    with pytest.raises(BadValue, match=message):
        inpaint.crop(HOST, image, mask, field)


@pytest.mark.parametrize(
    ("name", "sides", "expected", "grows"),
    [
        (DEFAULT, [], InpaintMode("v2.6", 1.0, 0.618, True, True), []),
        (DEFAULT, SIDES, InpaintMode("v2.6", 1.0, 1.0, True, True), SIDES),
        (DETAIL, [], InpaintMode("None", 0.5, 0.0, True), []),
        (MODIFY, SIDES, InpaintMode("v2.6", 1.0, 0.0, False), []),
    ],
)
def test_what_a_mode_sets(name: str, sides: list[str], expected: InpaintMode, grows: list[str]) -> None:
    mode, to = inpaint.mode_of(HOST, name, None, sides)
    assert (mode, list(to)) == (expected, grows)
    own = InpaintMode("v1", 0.3, 0.4)
    assert inpaint.mode_of(HOST, name, own, sides) == (own, sides)


def test_a_mode_that_is_none() -> None:
    with pytest.raises(UnknownName, match="unknown inpaint mode 'Improve'"):
        inpaint.mode_of(HOST, "Improve", None, [])


@pytest.mark.parametrize(
    ("text", "additional", "expected"),
    [("a cat", "eyes", "eyes\na cat"), ("a cat", "", "a cat"), ("", "eyes", "eyes"), ("", "", "")],
)
def test_the_additional_prompt_is_the_main_line(text: str, additional: str, expected: str) -> None:
    assert inpaint.with_additional(text, additional) == expected


@pytest.mark.parametrize(
    ("engine", "at", "error", "message"),
    [
        ("v3", 0.8, UnknownName, "unknown inpaint engine 'v3'"),
        ("v2.6", 1.2, BadValue, "refiner_switch is 1.2"),
        ("v1", 0.8, MissingFile, "inpaint.fooocus.patch"),
    ],
)
def test_engines_that_are_none(
    pocket: Pocket, tmp_path: Path, write_inpaint_engine: Any, engine: str, at: float, error: type, message: str
) -> None:
    write_inpaint_engine(tmp_path, pocket.model.network.module)
    with pytest.raises(error, match=message):
        inpaint.with_engine(LocalHost([tmp_path], device="cpu"), replace(pocket.model, home=None), engine, at)


def test_the_whole_of_it(pocket: Pocket, tmp_path: Path, write_inpaint_engine: Callable[..., None]) -> None:
    write_inpaint_engine(tmp_path, pocket.model.network.module)
    host = LocalHost([tmp_path], device="cpu", on_notice=lambda _: None)
    model = replace(pocket.model, home=tmp_path)
    image, mask = torch.rand(1, 100, 120, 3), hole(100, 120, slice(40, 60), slice(40, 60))

    def prepare(mode: str, given: Tensor | None = mask, sides: Sequence[str] = (), **more: Any) -> inpaint.Prepared:
        return inpaint.inpaint(host, image, given, model, pocket.vae, QUICK, mode, None, sides, **more)

    default, detail, modify = prepare(DEFAULT), prepare(DETAIL), prepare(MODIFY)
    assert [one.denoise for one in (default, detail, modify)] == [1.0, 0.5, 1.0]
    assert [one.model.inpaint is not None for one in (default, detail, modify)] == [True, False, True]
    assert [bool(one.latent["samples"].any()) for one in (default, detail, modify)] == [True, True, False]
    assert torch.equal(default.filled, inpaint.fill(default.region.crop, default.region.mask))
    assert detail.filled is detail.region.crop
    assert prepare(DETAIL, erode_or_dilate=4).region.soft.sum() > detail.region.soft.sum()
    assert prepare(DETAIL, invert_mask=True).region.area == (0, 100, 0, 120)
    wide = prepare(DEFAULT, None, ["right"]).region
    assert (wide.image.shape, wide.area) == ((1, 100, 156, 3), (0, 100, 0, 156))
    assert prepare(DEFAULT, sides=["right"]).region.soft[0, 50, 50] == 1
    with pytest.raises(BadValue, match="the mask is empty"):
        prepare(DEFAULT, None)
    with pytest.raises(BadValue, match="the mask is empty"):
        prepare(DETAIL, None, ["right"])


@pytest.mark.parametrize("strength", [0.0, -0.1, 1.1])
def test_a_strength_that_is_none(pocket: Pocket, strength: float) -> None:
    region = inpaint.crop(HOST, torch.rand(1, 16, 16, 3), torch.ones(1, 16, 16), 1.0, pocket.model)
    with pytest.raises(BadValue, match="strength is"):
        inpaint.encode(HOST, pocket.model, pocket.vae, region, QUICK, strength)


def test_a_latent_says_what_is_known(pocket: Pocket) -> None:
    region = inpaint.crop(HOST, torch.rand(1, 64, 64, 3), hole(64, 64, slice(8, 24), slice(16, 40)), 1.0, pocket.model)
    latent = inpaint.encode(HOST, pocket.model, pocket.vae, region, QUICK, seed=5)
    assert torch.equal(latent["samples"], vae.encode(HOST, pocket.vae, region.crop, 5)["samples"])
    height, width = latent["samples"].shape[-2:]
    assert latent["noise_mask"].shape == (1, 1, height, width)
    assert latent["noise_mask"].sum() == (height // 4) * (width * 3 // 8)
    known = latent["fooocus_known"]
    assert (known.masked, known.swapped) == (None, None), "there is no engine, and no refiner"
    blank = inpaint.encode(HOST, pocket.model, pocket.vae, region, QUICK, initial_latent=False, seed=5)
    assert not blank["samples"].any()
    assert torch.equal(blank["fooocus_known"].latents, latent["samples"])


def test_a_refiner_of_sd15_gets_latents_of_its_own(pocket: Pocket) -> None:
    model, both = refiner.with_refiner(HOST, pocket.model, pocket.vae, refiner.load_refiner(HOST, "pocket"))
    region = inpaint.crop(HOST, torch.rand(1, 64, 64, 3), torch.ones(1, 64, 64), 1.0, pocket.model)
    whole = inpaint.encode(HOST, model, both, region, QUICK, 1.0, seed=1)
    assert whole["fooocus_family"] == "sdxl"
    assert both.refiner is not None
    own = vae.encode(HOST, both.refiner, region.crop, 1)["samples"]
    assert torch.equal(whole["fooocus_known"].swapped, own)
    slight = inpaint.encode(HOST, model, both, region, QUICK, 0.2, seed=1)
    assert slight["fooocus_family"] == "sd15"
    assert torch.equal(slight["samples"], own)
    assert slight["fooocus_known"].swapped is None
