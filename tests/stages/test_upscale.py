"""Upscaling and varying: sizes, what is sampled and what is not, and pictures that are none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from fooocus_stages.pipelines.errors import BadValue, Interrupted, UnknownName
from fooocus_stages.pipelines.functional.latents import over_white
from fooocus_stages.pipelines.host import POCKET, LocalHost
from fooocus_stages.pipelines.models.upscaler import Upscaler
from fooocus_stages.pipelines.stages import upscale, vary
from fooocus_stages.pipelines.types import SamplingSettings
from torch import Tensor, nn
from torch.nn.functional import interpolate

from .conftest import Pocket

HOST = LocalHost([POCKET], device="cpu")
QUICK = SamplingSettings(steps=2, sampler="euler")


class Nearest(nn.Module):
    """ComfyUI's UPSCALE_MODEL in small: a descriptor with a model, a scale and a call; it repeats pixels."""

    def __init__(self, scale: int = 4) -> None:
        super().__init__()
        self.scale, self.model = scale, nn.Identity()

    def __call__(self, x: Tensor) -> Tensor:
        return interpolate(x, scale_factor=float(self.scale))


def sampling(pocket: Pocket, settings: SamplingSettings = QUICK) -> upscale.Sampling:
    return upscale.Sampling(pocket.model, pocket.vae, pocket.positive, pocket.negative, settings)


def test_our_network_and_comfyuis_are_taken() -> None:
    image = torch.rand(2, 9, 13, 3)
    large = upscale.enlarge(HOST, Nearest(), image)
    assert torch.allclose(large, image.repeat_interleave(4, 1).repeat_interleave(4, 2))
    torch.manual_seed(1)
    ours = Upscaler(4, 4, 1, 1).eval()
    assert upscale.enlarge(HOST, ours, image).shape == (2, 18, 26, 3)


@pytest.mark.parametrize("size", [(513, 40), (1000, 700)])
def test_tiles_leave_no_seam(size: tuple[int, int]) -> None:
    image = torch.rand(1, *size, 3)
    large = upscale.enlarge(HOST, Nearest(2), image)
    assert torch.allclose(large, image.repeat_interleave(2, 1).repeat_interleave(2, 2), atol=1e-5)


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_transparent_pictures(channels: int) -> None:
    image = torch.rand(1, 8, 8, channels)
    assert torch.allclose(upscale.enlarge(HOST, Nearest(1), image), over_white(image))


@pytest.mark.parametrize(("factor", "size"), [(0.0, (40, 52)), (1.5, (15, 19)), (2.0, (20, 26)), (0.5, (5, 6))])
def test_a_factor_is_of_the_pictures_own_size(factor: float, size: tuple[int, int]) -> None:
    assert upscale.enlarge(HOST, Nearest(), torch.rand(1, 10, 13, 3), factor).shape[1:3] == size


@pytest.mark.parametrize(
    ("method", "size", "expected"),
    [
        ("Upscale (Fast 2x)", (512, 512), (1024, 1024)),
        ("Upscale (Fast 2x)", (512, 768), (1024, 1536)),
        ("Upscale (Fast 2x)", (333, 777), (666, 1554)),
        ("custom", (64, 64), (1024, 1024)),
    ],
)
def test_what_the_network_makes_is_resampled(method: str, size: tuple[int, int], expected: tuple[int, int]) -> None:
    image, info = upscale.upscale(HOST, Nearest(), torch.rand(1, *size, 3), method, strength=0.0)
    assert image.shape[1:3] == expected
    assert info is None
    assert torch.equal(image * 255, (image * 255).round())


@pytest.mark.parametrize(
    ("method", "size", "expected"),
    [
        ("Upscale (1.5x)", (64, 64), (96, 96)),
        ("Upscale (1.5x)", (40, 40), (128, 128)),  # smaller than the model's own size
        ("Upscale (1.5x)", (104, 120), (152, 176)),  # 156 × 180, cut to whole latent cells
        ("Upscale (2x)", (96, 128), (192, 256)),
        ("Upscale (1.5x)", (150, 107), (224, 160)),
        ("Upscale (2x)", (31, 32), (120, 128)),  # the network's 124 × 128 is in the model's size class already
        ("custom", (96, 96), (240, 240)),
    ],
)
def test_sizes_of_what_is_sampled_over(
    pocket: Pocket, method: str, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    args = (Nearest(), torch.rand(1, *size, 3), method)
    image, info = upscale.upscale(HOST, *args, factor=2.5, sampling=sampling(pocket))
    assert image.shape[1:3] == expected
    assert upscale.sampled_size(*args, factor=2.5, model=pocket.model) == expected[::-1]
    assert info is not None
    assert (info.height, info.width) == expected
    assert info.settings.steps == 2


def test_a_very_large_picture_is_not_sampled(pocket: Pocket) -> None:
    """For the pocket's 128 pixels Fooocus's 2800 of 1024 are 350."""
    image = torch.rand(1, 176, 176, 3)
    large, info = upscale.upscale(HOST, Nearest(), image, "Upscale (2x)", sampling=sampling(pocket))
    assert (large.shape, info) == ((1, 352, 352, 3), None)


def test_strength_and_seed_count(pocket: Pocket) -> None:
    image = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(2))

    def result(strength: float, seed: int) -> Tensor:
        wires = replace(sampling(pocket), seed=seed)
        return upscale.upscale(HOST, Nearest(), image, "Upscale (2x)", strength=strength, sampling=wires)[0]

    assert torch.equal(result(0.3, 1), result(0.3, 1))
    assert not torch.equal(result(0.3, 1), result(0.3, 2))
    assert not torch.equal(result(0.3, 1), result(0.6, 1))


@pytest.mark.parametrize(
    ("performance", "steps", "expected"),
    [("Quality", 60, 36), ("Speed", 30, 18), ("Extreme Speed", 8, 8), ("Lightning", 4, 4), ("Speed", 12, 12)],
)
def test_steps_of_the_performance_modes(performance: str, steps: int, expected: int) -> None:
    assert upscale.upscale_steps(SamplingSettings(performance=performance, steps=steps)) == expected


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.rand(8, 8, 3), r"must be \(B, H, W, 3\), got \(8, 8, 3\)"),
        (torch.rand(1, 8, 8, 2), r"must be \(B, H, W, 3\), got \(1, 8, 8, 2\)"),
        (torch.rand(0, 8, 8, 3), r"must be \(B, H, W, 3\), got \(0, 8, 8, 3\)"),
        (torch.rand(1, 1, 5000, 3), "a picture of 20000×4 pixels is too narrow to be scaled to 1024×1024: cut it"),
    ],
)
def test_what_is_no_picture_is_refused(image: Tensor, message: str) -> None:
    with pytest.raises(BadValue, match=message):
        upscale.upscale(HOST, Nearest(), image, "Upscale (Fast 2x)")


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"method": "Upscale (3x)"}, UnknownName, "unknown upscale method 'Upscale \\(3x\\)'"),
        ({"method": "custom", "factor": 0.5}, BadValue, "factor is 0.5: choose one from 1 to 8"),
        ({"method": "Upscale (2x)"}, BadValue, "connect model, VAE, both conditionings"),
    ],
)
def test_wrong_settings_are_refused(given: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        upscale.upscale(HOST, Nearest(), torch.rand(1, 8, 8, 3), **given)


def test_smaller_tiles_when_memory_runs_out() -> None:
    sizes: list[int] = []

    class Cramped(Nearest):
        def __call__(self, x: Tensor) -> Tensor:
            sizes.append(x.shape[-1])
            if x.shape[-1] > 200:
                raise upscale.OUT_OF_MEMORY[0]
            return super().__call__(x)

    image = torch.rand(1, 300, 300, 3)
    large = upscale.enlarge(HOST, Cramped(2), image)
    assert torch.allclose(large, image.repeat_interleave(2, 1).repeat_interleave(2, 2), atol=1e-5)
    assert sizes[:2] == [300, 256]

    class Full(Nearest):
        def __call__(self, x: Tensor) -> Tensor:
            raise upscale.OUT_OF_MEMORY[0]

    with pytest.raises(BadValue, match="300×300 pixels does not fit into memory even in tiles of 128"):
        upscale.enlarge(HOST, Full(), image)


def test_progress_and_interrupt_at_every_tile() -> None:
    seen: list[tuple[int, int]] = []
    host = LocalHost([POCKET], device="cpu", on_progress=lambda value, total: seen.append((value, total)))
    upscale.enlarge(host, Nearest(1), torch.rand(1, 600, 500, 3))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]

    class Stopped(LocalHost):
        def check_interrupted(self) -> None:
            raise Interrupted

    with pytest.raises(Interrupted):
        upscale.enlarge(Stopped([POCKET], device="cpu"), Nearest(), torch.rand(1, 8, 8, 3))


@pytest.mark.parametrize(
    ("size", "expected"),
    [((64, 64), (128, 128)), ((100, 160), (96, 160)), ((128, 128), (128, 128)), ((512, 384), (320, 192))],
)
def test_vary_brings_a_picture_into_the_models_sizes(
    pocket: Pocket, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    args = (HOST, pocket.model, pocket.vae, torch.rand(1, *size, 3), QUICK)
    latent, denoise, width, height = vary.vary(*args, "Vary (Subtle)")
    assert (height, width) == expected
    assert tuple(8 * side for side in latent["samples"].shape[-2:]) == expected
    assert denoise == 0.5


@pytest.mark.parametrize(("method", "expected"), [("Vary (Subtle)", 0.5), ("Vary (Strong)", 0.85), ("custom", 0.33)])
def test_strengths_of_vary(method: str, expected: float) -> None:
    assert vary.strength_of(method, 0.33) == expected


@pytest.mark.parametrize(
    ("method", "strength", "message"),
    [
        ("custom", 0.0, "strength is 0.0: choose a value above 0, up to 1"),
        ("custom", float("nan"), "strength is nan"),
        ("Vary", 0.5, "unknown vary method 'Vary'"),
    ],
)
def test_wrong_strengths_are_refused(method: str, strength: float, message: str) -> None:
    with pytest.raises(BadValue, match=message):
        vary.strength_of(method, strength)
