"""Pictures in, pictures out: resizing, edges, structure, masks and their filling."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from fooocus_stages.preprocessors import canny, cpds, geometry, inpaint_fill, masks

from . import reference_inputs
from .golden import Case, assert_same_picture, each_case

RESIZES: dict[str, Callable[..., np.ndarray]] = {
    "resize0": geometry.resample,
    "resize1": geometry.cover,
    "resize2": geometry.fit,
}


def kind(case: Case) -> str:
    return case.name.split("-")[0]


def picture_of(case: Case) -> np.ndarray:
    """The picture that a case starts from."""
    return reference_inputs.picture(*(case.params[name] for name in ("height", "width", "k")))


@each_case("images", lambda case: kind(case) == "picture")
def test_the_inputs_agree(case: Case) -> None:
    size, k = case.name.split("-")[1:]
    height, width = (int(side) for side in size.split("x"))
    assert torch.equal(torch.from_numpy(reference_inputs.picture(height, width, int(k))), case.output("image"))


@each_case("images", lambda case: kind(case) in RESIZES)
def test_resize(case: Case) -> None:
    resized = RESIZES[kind(case)](picture_of(case), case.params["to_width"], case.params["to_height"])
    assert_same_picture(torch.from_numpy(resized), case.output("image"))


@each_case("images", lambda case: kind(case) == "shape_ceil")
def test_size_class(case: Case) -> None:
    picture = picture_of(case)
    assert geometry.size_class(*picture.shape[:2]) == case.params["ceil"]
    resized = torch.from_numpy(geometry.to_size_class(picture, case.params["to"]))
    golden = case.output("image")
    stride = resized.shape[0] // golden.shape[0]  # the larger golden pictures are thinned out
    assert_same_picture(resized[::stride, ::stride], golden)


@each_case("images", lambda case: kind(case) == "pyracanny")
def test_pyramid_canny(case: Case) -> None:
    edges = canny.pyramid_canny(picture_of(case), case.params["low"], case.params["high"])
    assert_same_picture(torch.from_numpy(edges), grey(case.output("image")), within=0)


@each_case("images", lambda case: kind(case) == "cpds")
def test_structure(case: Case) -> None:
    structure = cpds.structure(picture_of(case))
    assert_same_picture(torch.from_numpy(structure), grey(case.output("image")), within=0)


def grey(golden: torch.Tensor) -> torch.Tensor:
    """A golden map as (H, W), whether it was kept with a channel or without."""
    return golden if golden.ndim == 2 else golden[..., 0]


def mask_of(case: Case) -> np.ndarray:
    """The mask that a case starts from."""
    height, width = (int(side) for side in case.name.split("-")[1].split("x"))
    return reference_inputs.blob_mask(height, width, case.params["k" if kind(case) == "mask" else "mask_k"])


@each_case("images", lambda case: kind(case) == "mask")
def test_the_masks_agree(case: Case) -> None:
    assert torch.equal(torch.from_numpy(mask_of(case)), case.output("mask"))


@each_case("images", lambda case: kind(case) == "fill")
def test_fill(case: Case) -> None:
    assert torch.equal(torch.from_numpy(inpaint_fill.fill(picture_of(case), mask_of(case))), case.output("image"))


@each_case("images", lambda case: kind(case) == "soft_mask")
def test_soft_mask(case: Case) -> None:
    assert torch.equal(torch.from_numpy(masks.soft(mask_of(case))), case.output("mask"))


@each_case("images", lambda case: kind(case) == "area")
def test_area(case: Case) -> None:
    assert list(masks.first_area(mask_of(case))) == case.params["initial"]
    area = masks.area_of(mask_of(case), case.params["respective_field"])
    assert list(area) == case.output("area").tolist()


@each_case("images", lambda case: kind(case) == "erode_or_dilate")
def test_erode_or_dilate(case: Case) -> None:
    changed = masks.erode_or_dilate(mask_of(case), case.params["amount"])
    assert torch.equal(torch.from_numpy(changed), case.output("mask"))
