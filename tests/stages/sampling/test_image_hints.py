"""How long a picture is read: against the counts of Fooocus's own schedule."""

from __future__ import annotations

import pytest
import torch
from fooocus_stages.pipelines.functional import guidance
from fooocus_stages.pipelines.models.handles import ImageHint
from fooocus_stages.pipelines.models.hints import attention
from fooocus_stages.pipelines.stages.sampling import denoiser, image_hints, plan
from fooocus_stages.pipelines.types import SamplingSettings

from ..conftest import Pocket

STOPS = (0.3, 0.5, 0.6, 0.9, 1.0)


def hint(pocket: Pocket, stop_at: float, together: bool = True) -> ImageHint:
    """Four tokens of noise for every layer of the pocket model."""
    draw = torch.Generator().manual_seed(2)
    pairs = tuple(
        (torch.randn(1, 4, width, generator=draw), torch.randn(1, 4, width, generator=draw))
        for width in attention.widths(pocket.model.network.module)
    )
    return ImageHint(pairs, pairs, stop_at=stop_at, together=together)


def prompts(pocket: Pocket, hints: list[ImageHint], sides: int, batch: int) -> image_hints.PromptsAt:
    network = pocket.model.network
    return image_hints.prompts_by_progress(network, "pocket", hints, sides, batch, torch.device("cpu"))


@pytest.mark.parametrize(
    ("steps", "denoise", "counts"),
    [
        (30, 1.0, (10, 14, 15, 21, 29)),
        (60, 1.0, (20, 28, 31, 42, 58)),
        (30, 0.85, (7, 11, 13, 19, 29)),
        (30, 0.5, (0, 0, 1, 12, 28)),
        (18, 0.382, (0, 0, 0, 4, 17)),
        (36, 0.382, (0, 0, 0, 8, 34)),
    ],
)
def test_how_many_steps_read_a_picture(pocket: Pocket, steps: int, denoise: float, counts: tuple[int, ...]) -> None:
    settings = SamplingSettings(steps=steps, scheduler="karras")
    sampling = denoiser.model_sampling(pocket.model, settings)
    levels = plan.schedule(pocket.model, settings, denoise)[:-1]
    progress = [guidance.progress(sampling.timestep(float(sigma))) for sigma in levels]
    for stop, count in zip(STOPS, counts, strict=True):
        look = prompts(pocket, [hint(pocket, stop)], 2, 1)
        assert sum(look(p) is not None for p in progress) == count


def test_what_is_read_is_put_together_when_it_changes_and_not_at_each_step(pocket: Pocket) -> None:
    hints = [hint(pocket, 0.4), hint(pocket, 0.8), hint(pocket, 1.0, together=False)]
    look = prompts(pocket, hints, 2, 3)
    early, later, last = look(0.1), look(0.5), look(0.9)
    assert look(0.3) is early
    assert look(0.79) is later
    assert look(0.2) is early, "samplers also step back"
    assert look(1.0) is None
    assert early is not None
    assert later is not None
    assert last is not None
    shapes = [r.layers[0].together and r.layers[0].together[0].shape for r in (early, later, last)]
    width = attention.widths(pocket.model.network.module)[0]
    assert shapes == [(6, 8, width), (6, 4, width), None]
    assert [len(r.layers[0].apart) for r in (early, later, last)] == [1, 1, 1]


def test_without_guidance_there_is_only_the_positive_row(pocket: Pocket) -> None:
    readings = prompts(pocket, [hint(pocket, 1.0)], 1, 1)(0.0)
    assert readings is not None
    assert readings.layers[0].together is not None
    assert len(readings.layers[0].together[0]) == 1


def test_without_hints_nothing_is_read(pocket: Pocket) -> None:
    assert prompts(pocket, [], 2, 1)(0.5) is None
