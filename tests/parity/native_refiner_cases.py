"""An SD 1.5 refiner behind ComfyUI's own SDXL model, whose text ComfyUI's CLIP reads, against our networks.

Run by tests/comfyui/test_native_models.py in ComfyUI's Python.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fooocus_stages.nodes.comfy.host import ComfyHost
from fooocus_stages.nodes.comfy.native import adoption
from fooocus_stages.pipelines.errors import BadValue
from fooocus_stages.pipelines.models.checkpoint import load_checkpoint
from fooocus_stages.pipelines.models.clip import final_norm
from fooocus_stages.pipelines.models.handles import Clip, Model, Refiner
from fooocus_stages.pipelines.stages import vae
from fooocus_stages.pipelines.stages.prompts import encode
from fooocus_stages.pipelines.stages.sampling import refiner, sample
from fooocus_stages.pipelines.types import CONDITIONING_NORM, LATENT_FAMILY, Conditioning, Prompt
from torch import Tensor

from . import nano
from .native import clip_with_weights_of
from .native import vae as native_vae
from .native_cases import HOST, SEED, SETTINGS, _inference, adopted, assert_same, handed_on, native, pocket
from .native_text_cases import small_clip
from .test_refiner import host_with_interposer, reference_norm

__all__ = ["_inference", "native", "pocket"]

PROMPT = Prompt(("a (red:1.3) fox", "in the snow"), ("",), 1, 1, 0)
START, SMALL = ({"samples": torch.zeros(1, 4, side, side)} for side in (16, 8))


@pytest.fixture(scope="module")
def clip() -> Clip:
    """Text encoders with random weights, of the widths of the pocket's."""
    return small_clip("sdxl")


def drawn(model: Model, sides: tuple[Conditioning, Conditioning]) -> Tensor:
    result: Tensor = sample.sample(HOST, model, *sides, START, SETTINGS, SEED)["samples"]
    return result


def without_norm(side: Conditioning) -> Conditioning:
    return [
        [tokens, {name: value for name, value in extra.items() if name != CONDITIONING_NORM}] for tokens, extra in side
    ]


def test_an_sd15_refiner_reads_the_text_of_a_native_clip(pocket: Any, native: Any, clip: Clip) -> None:
    small = refiner.load_refiner(HOST, "pocket")
    model = replace(pocket[0], text_norm=final_norm(clip))
    one, other = encode.encode(HOST, clip, PROMPT, SETTINGS)
    ours, _ = refiner.with_refiner(HOST, model, pocket[2], small, 0.5)
    expected = drawn(ours, (without_norm(one), without_norm(other)))
    read: Any = adoption.adopted(clip_with_weights_of(clip), ComfyHost())
    sides = encode.encode(HOST, read, PROMPT, SETTINGS)
    theirs, _ = refiner.with_refiner(HOST, adopted(native), pocket[2], small, 0.5)
    assert_same(drawn(theirs, sides), expected)
    assert_same(drawn(adopted(handed_on(theirs)), sides), expected)
    with pytest.raises(BadValue, match="Fooocus Encode Prompt"):
        drawn(theirs, (without_norm(one), without_norm(other)))


def test_a_native_sd15_model_with_a_native_vae_refines_as_ours(tmp_path: Path) -> None:
    """On the golden cases' networks, whose VAE ComfyUI's classes can hold."""
    host = host_with_interposer(tmp_path)
    own, small = nano.sdxl(), load_checkpoint(nano.sd15_file(), torch.float32, torch.float32)
    assert own.vae is not None
    assert small.vae is not None
    config: Any = small.vae.network.module.config
    state = nano.untagged("nano-sd15-vae")
    theirs: Any = adoption.adopted(native_vae(state, config.block_out_channels, config.layers_per_block), ComfyHost())
    draw = torch.Generator().manual_seed(2)
    sides = [
        [
            [
                torch.randn(1, 77, 2048, generator=draw),
                {"pooled_output": torch.randn(1, 1280, generator=draw), CONDITIONING_NORM: reference_norm()},
            ]
        ]
        for _ in range(2)
    ]
    pictures = []
    for refiner_model, own_vae, given in (
        (Refiner(small.model, small.vae), own.vae, None),
        (nano.sd15().model, replace(theirs, family="sdxl"), theirs),
    ):
        model, switched = refiner.with_refiner(host, own.model, own_vae, refiner_model, 0.5, refiner_vae=given)
        latent = sample.sample(host, model, *sides, SMALL, replace(SETTINGS, steps=2), SEED)
        pictures.append((latent["samples"], vae.decode(host, switched, latent)))
        image = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(1))
        chosen = refiner.encoding_vae(switched, model, SETTINGS, 0.3)
        assert vae.encode(host, chosen, image, 3)[LATENT_FAMILY] == "sd15"
    assert_same(pictures[1][0], pictures[0][0])
    assert float((pictures[1][1] - pictures[0][1]).abs().max()) <= 1e-4


def test_a_native_sd15_model_without_its_vae_is_refused(pocket: Any, native: Any) -> None:
    small = refiner.load_refiner(HOST, "pocket").model
    with pytest.raises(BadValue, match="refiner_vae"):
        refiner.with_refiner(HOST, pocket[0], pocket[2], small)
    with pytest.raises(BadValue, match="VAE of SDXL"):
        refiner.with_refiner(HOST, pocket[0], pocket[2], small, refiner_vae=pocket[2])
