"""An SD 1.5 refiner behind ComfyUI's own SDXL model, whose text ComfyUI's CLIP reads, against our networks.

Run by tests/comfyui/test_native_models.py in ComfyUI's Python.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from fooocus_stages.nodes.comfy.host import ComfyHost
from fooocus_stages.nodes.comfy.native import adoption
from fooocus_stages.pipelines.errors import BadValue
from fooocus_stages.pipelines.models.clip import final_norm
from fooocus_stages.pipelines.models.handles import Clip, Model
from fooocus_stages.pipelines.stages.prompts import encode
from fooocus_stages.pipelines.stages.sampling import refiner, sample
from fooocus_stages.pipelines.types import CONDITIONING_NORM, Conditioning, Prompt
from torch import Tensor

from .native import clip_with_weights_of
from .native_cases import HOST, SEED, SETTINGS, _inference, adopted, assert_same, handed_on, native, pocket
from .native_text_cases import small_clip

__all__ = ["_inference", "native", "pocket"]

PROMPT = Prompt(("a (red:1.3) fox", "in the snow"), ("",), 1, 1, 0)
START = {"samples": torch.zeros(1, 4, 16, 16)}


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
