"""The pocket checkpoint, loaded once for the stages' tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from fooocus_stages.pipelines.host import POCKET, LocalHost
from fooocus_stages.pipelines.models.handles import Clip, Model, Vae
from fooocus_stages.pipelines.stages import load
from fooocus_stages.pipelines.stages.prompts import encode
from fooocus_stages.pipelines.types import Prompt, SamplingSettings


@dataclass(frozen=True)
class Pocket:
    """The pocket model's parts, and a conditioning for both sides."""

    model: Model
    clip: Clip
    vae: Vae
    positive: list[list[Any]]
    negative: list[list[Any]]


@pytest.fixture(scope="session")
def pocket() -> Pocket:
    host = LocalHost(models=[POCKET], device="cpu")
    model, clip, vae = load.checkpoint(host, "pocket")
    prompt = Prompt(("a large red circle on a blue background",), ("",), 1, 1, 0)
    return Pocket(model, clip, vae, *encode.encode(host, clip, prompt, SamplingSettings()))
