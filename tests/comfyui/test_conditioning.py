"""Areas, masks, strengths and ranges of conditioning are weighted as ComfyUI's own functions do, on a formula denoiser.

Runs when COMFYUI_DIR names a checkout; COMFYUI_PYTHON the Python that it runs with (default: this one).
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from fooocus_stages.pipelines.functional.model_sampling import discrete
from fooocus_stages.pipelines.functional.regions import Area
from fooocus_stages.pipelines.models.handles import Model
from fooocus_stages.pipelines.stages.sampling import conditioning, entries
from fooocus_stages.pipelines.types import SamplingSettings
from torch import Tensor

from .inside import COMFYUI, PYTHON, needs_comfyui

REFERENCE = Path(__file__).with_name("conditioning_reference.py")

pytestmark = needs_comfyui


class Widths:
    """The facts about a network that reading conditioning needs."""

    token_width = 8
    takes_sizes = True


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("reference") / "reference.pt"
    subprocess.run([PYTHON, str(REFERENCE), COMFYUI, str(out)], check=True, timeout=300, cwd=out.parent)
    return torch.load(out)


def test_predictions_equal_those_of_comfyui(reference: Any) -> None:
    from .conditioning_reference import SIGMAS, formula

    x = reference["x"]
    reader = conditioning.Reader(
        Widths(),  # type: ignore[arg-type]
        discrete(),
        Model(None, "sdxl"),  # type: ignore[arg-type]
        SamplingSettings(),
        x.shape,
        x.device,
    )
    assert len(reference["cases"]) == 22
    for name, case in reference["cases"].items():
        read = [reader.entries(case[side], side) for side in ("positive", "negative")]
        sides = entries.matched(read)
        for sigma, expected in zip(SIGMAS, case["predictions"], strict=True):

            def evaluate(
                seen: Tensor, area: Area, acting: Sequence[tuple[int, Any]], sigma: float = sigma
            ) -> list[Tensor]:
                return [formula(seen, entry.tokens, sigma, area.crop(reference["beside"])) for _, entry in acting]

            for side, theirs in zip(entries.estimates(sides, x, sigma, evaluate), expected, strict=True):
                worst = float((side - theirs).abs().max())
                assert worst <= 1e-5, f"{name} at sigma {sigma}: differs by {worst}"
