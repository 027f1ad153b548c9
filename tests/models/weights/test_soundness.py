"""A result that contains NaN or infinity is refused, with the weight that causes it or with advice."""

from __future__ import annotations

import math

import pytest
import torch
from fooocus_stages.pipelines.errors import BadFile, BadValue
from fooocus_stages.pipelines.models.weights.soundness import require_finite
from torch.nn import Conv2d, Sequential, init

VALUES = [math.nan, math.inf, -math.inf]
SOUND = ("sound.safetensors", Sequential(Conv2d(1, 1, 1)))


def test_a_finite_result_is_returned_itself() -> None:
    result = torch.ones(2, 3)
    assert require_finite(result, "the latent", [], "lower the weights") is result


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_weight_at_fault_is_named(value: float, dtype: torch.dtype) -> None:
    damaged = Sequential(Conv2d(1, 1, 1), Conv2d(1, 2, 1)).to(dtype)
    init.constant_(damaged.get_parameter("1.bias"), value)
    networks = [SOUND, ("merged.safetensors", damaged)]
    with pytest.raises(BadFile, match=r"the latent.*merged\.safetensors.*1\.bias"):
        require_finite(torch.tensor([1.0, math.nan]), "the latent", networks, "lower the weights")


@pytest.mark.parametrize("value", VALUES)
def test_advice_is_given_when_all_weights_are_finite(value: float) -> None:
    with pytest.raises(BadValue, match=r"the latent.*lower the weights"):
        require_finite(torch.tensor([1.0, value]), "the latent", [SOUND], "lower the weights")
