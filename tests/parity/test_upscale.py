"""The upscaler with its tiling."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
from fooocus_stages.pipelines.functional.latents import from_uint8, to_uint8
from fooocus_stages.pipelines.host import LocalHost
from fooocus_stages.pipelines.models.upscaler import Upscaler, load_upscaler
from fooocus_stages.pipelines.stages import upscale

from . import nano, reference_inputs
from .golden import Case, assert_same_picture, each_case


@cache
def network() -> Upscaler:
    """The nano upscaler in the names of Fooocus's file."""
    path: Path = nano.folder() / "fooocus_upscaler.bin"
    state = nano.untagged("nano-upscaler")
    torch.save({key.replace("RDB", "residual_block_"): tensor for key, tensor in state.items()}, path)
    return load_upscaler(path)


@pytest.fixture(scope="module", autouse=True)
def _drop_networks() -> Iterator[None]:
    yield
    network.cache_clear()


@each_case("upscale")
def test_upscale(case: Case) -> None:
    picture = reference_inputs.picture(*(case.params[name] for name in ("height", "width", "k")))
    enlarged = upscale.enlarge(LocalHost(device="cpu"), network(), from_uint8(torch.from_numpy(picture))[None])
    stride = case.params["stride"]
    assert_same_picture(to_uint8(enlarged)[0, ::stride, ::stride], case.output("image"))
