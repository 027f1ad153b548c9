"""Nodes of ComfyUI before, between and after ours, in one queued workflow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from .server import Comfy, pocket_workflow

STEPS, SPLIT, SIDE = 4, 2, 128
PLAIN, FEWEST_COLORS = "plain", 50
SAME = ("schedule", "split schedule", "mask over all", "ranges", "area over all", "averaged")
OTHER = ("half a mask", "concatenated", "zeroed")
LEVELS = 1  # of 255, for the rounding of weights


def workflow() -> Any:
    """The sampler of text-to-image-speed beside others whose inputs pass through nodes of ComfyUI.

    Each image ends in a PreviewImage of the name of its case.
    """
    graph = pocket_workflow("text-to-image-speed", seed=4)
    graph["3"]["inputs"] |= {"sampler": "euler", "scheduler": "karras"}
    graph["4"]["inputs"]["overwrite_step"] = STEPS
    graph["6"]["inputs"]["seed"] = 4
    positive, negative = ["8", 0], ["8", 1]
    del graph["12"]

    def add(key: str, class_type: str, **inputs: Any) -> list[Any]:
        graph[key] = {"class_type": class_type, "inputs": inputs}
        return [key, 0]

    def image(key: str, latent: Any) -> list[Any]:
        pixels = add(f"{key}: decode", "FooocusVaeDecode", latent=latent, vae=["1", 2], tiled=False)
        return add(key, "PreviewImage", images=pixels)

    def sampler(key: str, **inputs: Any) -> list[Any]:
        return add(f"{key}: sampler", "FooocusSampler", **graph["10"]["inputs"] | inputs)

    sigmas = add("sigmas", "KarrasScheduler", steps=STEPS, sigma_max=14.614642, sigma_min=0.0291675, rho=7.0)
    add("parts", "SplitSigmas", sigmas=sigmas, step=SPLIT)
    disc = add("half", "SolidMask", value=1.0, width=SIDE // 2, height=SIDE)
    empty = add("none", "SolidMask", value=0.0, width=SIDE, height=SIDE)
    half = add("placed", "MaskComposite", destination=empty, source=disc, x=0, y=0, operation="add")
    grown = add("grown", "GrowMask", mask=half, expand=8, tapered_corners=True)
    whole = add("whole", "SolidMask", value=1.0, width=SIDE, height=SIDE)
    early, late = (
        add(f"from {start}", "ConditioningSetTimestepRange", conditioning=positive, start=start, end=end)
        for start, end in ((0.0, 0.5), (0.5, 1.0))
    )
    masked = {"set_cond_area": "default", "strength": 1.0}
    zero = add("zero", "ConditioningZeroOut", conditioning=negative)

    image(PLAIN, ["10", 0])
    image("schedule", sampler("schedule", sigmas=sigmas))
    first = sampler("first part", sigmas=["parts", 0])
    image("split schedule", sampler("second part", sigmas=["parts", 1], latent=first, add_noise=False))
    over_all = add("over all", "ConditioningSetMask", conditioning=positive, mask=whole, **masked)
    image("mask over all", sampler("mask over all", positive=over_all))
    over_half = add("over half", "ConditioningSetMask", conditioning=positive, mask=grown, **masked)
    combined = add("combined", "ConditioningCombine", conditioning_1=over_half, conditioning_2=negative)
    image("half a mask", sampler("half a mask", positive=combined))
    ranges = add("both", "ConditioningCombine", conditioning_1=early, conditioning_2=late)
    image("ranges", sampler("ranges", positive=ranges))
    area = {"width": 1.0, "height": 1.0, "x": 0.0, "y": 0.0, "strength": 1.0}
    area_over_all = add("area", "ConditioningSetAreaPercentage", conditioning=positive, **area)
    image("area over all", sampler("area over all", positive=area_over_all))
    average = {"conditioning_from": negative, "conditioning_to_strength": 1.0}
    averaged = add("average", "ConditioningAverage", conditioning_to=positive, **average)
    image("averaged", sampler("averaged", positive=averaged))
    longer = add("longer", "ConditioningConcat", conditioning_to=positive, conditioning_from=negative)
    image("concatenated", sampler("concatenated", positive=longer))
    image("zeroed", sampler("zeroed", negative=zero))

    flat = add("flat", "EmptyLatentImage", width=SIDE, height=SIDE, batch_size=1)
    twice = add("twice", "RepeatLatentBatch", samples=flat, amount=2)
    larger = add("larger", "LatentUpscale", samples=sampler("two", latent=twice), upscale_method="bilinear",
                 width=SIDE * 2, height=SIDE, crop="disabled")  # fmt: skip
    image("two and larger", larger)
    pixels = [f"{PLAIN}: decode", 0]
    scaled = add("scaled", "ImageScale", image=pixels, upscale_method="area", width=96, height=64, crop="center")
    again = add("again", "FooocusVaeEncode", image=scaled, vae=["1", 2], seed=4, tiled=False)
    noisy = add("masked latent", "SetLatentNoiseMask", samples=again, mask=grown)
    image("half repainted", sampler("half repainted", latent=noisy, denoise=0.9))
    ours = add("ours", "FooocusMaskInvert", mask=grown)
    theirs = add("theirs", "GrowMask", mask=ours, expand=-4, tapered_corners=False)
    add("mask", "PreviewImage", images=add("as image", "MaskToImage", mask=theirs))
    add("original", "PreviewImage", images=scaled)
    return graph


@pytest.fixture(scope="module")
def images(comfy: Comfy) -> dict[str, list[NDArray[np.int16]]]:
    """The images of each case."""
    run = comfy.run(workflow())
    assert run.status == "success", run.error
    return {
        name: [np.asarray(image.convert("RGB")).astype(np.int16) for image in comfy.saved(ui["images"])]
        for name, ui in run.outputs.items()
    }


def colors(image: NDArray[np.int16]) -> int:
    return len(np.unique(image.reshape(-1, 3), axis=0))


@pytest.mark.parametrize("name", SAME)
def test_what_changes_nothing_gives_the_same_image(images: dict[str, list[NDArray[np.int16]]], name: str) -> None:
    (plain,), (image,) = images[PLAIN], images[name]
    assert colors(plain) >= FEWEST_COLORS
    assert np.abs(image - plain).max() <= LEVELS


@pytest.mark.parametrize("name", OTHER)
def test_what_changes_the_conditioning_changes_the_image(images: dict[str, list[NDArray[np.int16]]], name: str) -> None:
    (plain,), (image,) = images[PLAIN], images[name]
    assert colors(image) >= FEWEST_COLORS
    assert np.abs(image - plain).max() > 10


def test_latents_go_through_nodes_of_comfyui(images: dict[str, list[NDArray[np.int16]]]) -> None:
    one, other = images["two and larger"]
    assert one.shape == other.shape == (SIDE, SIDE * 2, 3)
    assert np.abs(one - other).max() > 10


def test_masks_go_through_nodes_of_comfyui(images: dict[str, list[NDArray[np.int16]]]) -> None:
    (mask,), (original,), (image,) = images["mask"], images["original"], images["half repainted"]
    kept = mask[:, :, 0].mean(axis=0)
    edge = SIDE // 2 + 8 + 4
    assert kept[:edge].max() == 0
    assert kept[edge:].min() == 255
    difference = np.abs(image - original).mean(axis=(0, 2))
    assert difference[:32].max() > 5 * difference[80:].max()
