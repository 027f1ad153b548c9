"""The frozen base: training computes the same latents and text embeddings as the pack."""

from __future__ import annotations

import numpy as np
import torch
from fooocus_stages.pipelines.functional.latents import from_uint8
from fooocus_stages.pipelines.host import LocalHost
from fooocus_stages.pipelines.stages import vae
from fooocus_stages.pocket.training import base, draw, inpainting, refiner
from fooocus_stages.pocket.training.loop import to_tensor

SCALE = 0.13025  # of SDXL's latents


def drawn() -> np.ndarray:
    rng = np.random.default_rng(4)
    return np.stack([draw.draw(draw.random_scene(rng), rng) for _ in range(3)])


def test_latents_are_in_the_network_s_scale():
    pictures = drawn()
    encoded = vae.encode(LocalHost(device="cpu"), refiner.open_base()[2], from_uint8(torch.from_numpy(pictures)), None)
    latents = base.encode_latents(base.open_base(), to_tensor(pictures))
    torch.testing.assert_close(latents, encoded["samples"] * SCALE, rtol=0, atol=0.05)  # bfloat16


def test_an_album_s_latents_are_in_the_network_s_scale():
    buckets = inpainting._buckets(24, np.random.default_rng(0))
    assert buckets
    for _, latents, masked, holes in buckets:
        assert latents.shape == masked.shape == (len(holes), 4, *holes.shape[2:])
        assert 0.6 < latents.std() < 1.3


def test_texts_of_one_section_are_sections_of_one_text():
    frozen = base.open_base()
    one = base.condition_for(frozen, ["a red circle", ""], (64, 64), np.random.default_rng(0))
    same = base.condition_for_sections(frozen, [["a red circle"], [""]], (64, 64), np.random.default_rng(0))
    assert torch.equal(one.context, same.context)
    assert torch.equal(one.pooled, same.pooled)
    two = base.condition_for_sections(frozen, [["a red circle", "sharp"], ["", ""]], (64, 64), np.random.default_rng(0))
    assert two.context.shape[1] == 2 * one.context.shape[1]
    torch.testing.assert_close(two.context[0, :77], one.context[0], rtol=0, atol=1e-5)
