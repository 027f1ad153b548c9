"""The noise levels of every scheduler, for samplers that keep and that drop the last sigma before 0."""

from __future__ import annotations

import pytest
from fooocus_stages.pipelines.functional.samplers import SAMPLERS
from fooocus_stages.pipelines.functional.sigmas import effective, schedule

from .golden import Case, each_case


@each_case("schedules")
def test_schedule(case: Case) -> None:
    generator, sampling = effective(case.params["scheduler"])
    sampler = case.params.get("sampler")
    ours = schedule(
        generator,
        sampling,
        case.params["steps"],
        case.params["denoise"],
        discard_penultimate=sampler is not None and SAMPLERS[sampler].discards,
        sdxl=case.params["model"] == "sdxl",
    )
    assert ours.tolist() == pytest.approx(case.output("sigmas").tolist(), rel=1e-5)
