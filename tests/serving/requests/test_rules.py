"""The endpoints' rules about images, on the pocket model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fooocus_stages.nodes import NODE_CLASS_MAPPINGS
from fooocus_stages.nodes.headless import HEADLESS_NODES
from fooocus_stages.pipelines.host import LocalHost
from fooocus_stages.pipelines.settings import DEFAULT_UPSCALER
from fooocus_stages.pipelines.stages import sizes, upscale
from fooocus_stages.serving.engine.runner import Runner
from fooocus_stages.serving.requests.endpoints import INPAINT, TEXT_TO_IMAGE, UPSCALE_OR_VARY, with_seed
from fooocus_stages.serving.requests.graphs import graph_of
from numpy.typing import NDArray
from PIL import Image

from .examples import request_to

Pictures = list[NDArray[np.uint8]]
Draw = Callable[..., Pictures]
PLAIN = {"prompt": "a red circle", "output_format": "png", "loras": [], "seed": 7}
SIDE = 96


@pytest.fixture
def draw(pocket_host: LocalHost) -> Draw:
    """Runs a request to an endpoint and returns its images; models are loaded once."""
    runner = Runner({**NODE_CLASS_MAPPINGS, **HEADLESS_NODES})

    def drawn(endpoint: str, **fields: Any) -> Pictures:
        graph = graph_of(with_seed(request_to(endpoint, **{**PLAIN, **fields})), {})
        (shown,) = runner.run(graph).ui.values()
        paths = [pocket_host.folder("output") / one["subfolder"] / one["filename"] for one in shown["images"]]
        return [np.asarray(Image.open(path).convert("RGB")) for path in paths]

    return drawn


@pytest.fixture
def picture(tmp_path: Path) -> NDArray[np.uint8]:
    """A picture of noise called a.png, and its mask m.png with a white square in a corner."""
    pixels = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE + 32, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    mask = np.zeros((SIDE, SIDE + 32), np.uint8)
    mask[8:24, 8:24] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    return pixels


def test_several_images_are_runs_with_consecutive_seeds(draw: Draw) -> None:
    both = draw(TEXT_TO_IMAGE, num_images=2, seed=7)
    (second,) = draw(TEXT_TO_IMAGE, seed=8)
    assert len(both) == 2
    assert np.array_equal(both[1], second)
    assert not np.array_equal(both[0], both[1])


def test_without_guidance_these_fields_change_nothing(draw: Draw) -> None:
    (plain,) = draw(TEXT_TO_IMAGE)
    (changed,) = draw(
        TEXT_TO_IMAGE,
        guidance_scale=12,
        sharpness=20,
        negative_prompt="yellow",
        refiner_model="realisticVisionV60B1_v51VAE.safetensors",
        refiner_switch=0.3,
    )
    assert np.array_equal(plain, changed)
    assert not np.array_equal(plain, draw(TEXT_TO_IMAGE, seed=8)[0])


def test_inpainting_keeps_the_size_and_every_pixel_beyond_the_soft_edge(draw: Draw, picture: NDArray[np.uint8]) -> None:
    (painted,) = draw(INPAINT, mask_image_url="m.png")
    assert painted.shape == picture.shape
    changed = np.argwhere((painted != picture).any(axis=2))
    assert changed.min() < 24
    assert changed.max() < 64
    assert np.array_equal(painted[:, 80:], picture[:, 80:])


@pytest.mark.usefixtures("picture")
@pytest.mark.parametrize(
    ("sides", "size"),
    [(["Left"], (SIDE, 128 + 38)), (["Top", "Bottom"], (SIDE + 56, 128)), (["Right", "Top"], (SIDE + 28, 128 + 38))],
)
def test_outpainting_adds_three_tenths_at_each_side(draw: Draw, sides: list[str], size: tuple[int, int]) -> None:
    (painted,) = draw(INPAINT, outpaint_selections=sides)
    assert painted.shape == (*size, 3)


@pytest.mark.usefixtures("picture")
def test_fast_upscaling_gives_one_image_whatever_else_is_asked(draw: Draw) -> None:
    (plain,) = draw(UPSCALE_OR_VARY, uov_method="Upscale (Fast 2x)")
    (changed,) = draw(
        UPSCALE_OR_VARY, uov_method="Upscale (Fast 2x)", prompt="x", seed=9, num_images=4, performance="Lightning"
    )
    assert np.array_equal(plain, changed)


@pytest.mark.parametrize(
    ("side", "method", "expected"),
    [
        (1024, "Upscale (1.5x)", 1536),
        (1024, "Upscale (2x)", 2048),
        (1024, "Upscale (Fast 2x)", 2048),
        (512, "Upscale (1.5x)", 1024),
        (512, "Upscale (2x)", 1024),
        (512, "Upscale (Fast 2x)", 1024),
    ],
)
def test_the_sizes_of_enlarged_pictures(side: int, method: str, expected: int, pocket_host: LocalHost) -> None:
    upscaler = upscale.load(pocket_host, DEFAULT_UPSCALER)
    assert upscale.sampled_size(upscaler, torch.zeros(1, side, side, 3), method) == (expected, expected)


@pytest.mark.parametrize(("side", "expected"), [(1024, 1024), (512, 1024)])
def test_the_size_of_a_varied_picture(side: int, expected: int) -> None:
    wanted = min(max(sizes.size_class(side, side), 1024), 2048)
    assert sizes.size_in_class(side, side, wanted) == (expected, expected)
