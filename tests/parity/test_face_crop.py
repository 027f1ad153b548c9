"""The face that five points cut out."""

from __future__ import annotations

import numpy as np
import torch
from fooocus_stages.preprocessors import face_crop

from . import reference_inputs
from .golden import Case, each_case


@each_case("face_crop")
def test_the_points_are_placed(case: Case) -> None:
    golden = case.output("matrix").double().numpy()
    np.testing.assert_allclose(face_crop.placement(case.params["landmarks"]), golden, rtol=1e-5, atol=1e-4)


@each_case("face_crop")
def test_the_face_is_cut_out(case: Case) -> None:
    picture = reference_inputs.picture(*(case.params[name] for name in ("height", "width", "k")))
    stride = case.params["stride"]
    ours = torch.from_numpy(face_crop.cropped(picture, case.params["landmarks"]))[::stride, ::stride]
    golden = case.output("image")
    assert ours.shape == golden.shape
    assert (ours.int() - golden.int()).abs().float().mean() <= 1
