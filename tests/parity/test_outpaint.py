"""Outpainting: pictures without a mask continued to a side, and the mask that they get."""

from __future__ import annotations

import torch
from fooocus_stages.pipelines.functional.latents import from_uint8, to_uint8
from fooocus_stages.pipelines.stages import masks

from . import reference_inputs
from .golden import Case, each_case


@each_case("outpaint")
def test_a_picture_grows(case: Case) -> None:
    height, width, k = (case.params[name] for name in ("height", "width", "k"))
    picture = from_uint8(torch.from_numpy(reference_inputs.picture(height, width, k)))[None]
    grown, mask = masks.pad_out(picture, None, case.params["sides"])
    assert torch.equal(to_uint8(grown)[0], case.output("image"))
    assert torch.equal(to_uint8(mask)[0], case.output("mask"))
