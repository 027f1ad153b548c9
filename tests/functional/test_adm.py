"""The picture size that SDXL is told."""

from __future__ import annotations

import pytest
import torch
from fooocus_stages.pipelines.functional import adm


@pytest.mark.parametrize(("size", "scale", "emphasised", "consistent"), [
    ((1152, 896), 1.5, (1344, 1728, 0, 0, 896, 1152), (896, 1152, 0, 0, 896, 1152)),
    ((1152, 896), 0.8, (716, 921, 0, 0, 896, 1152), (896, 1152, 0, 0, 896, 1152)),
    ((1000, 1056), 1.5, (1584, 1500, 0, 0, 1024, 1024), (1024, 1024, 0, 0, 1024, 1024)),
    ((1000, 1056), 0.8, (844, 800, 0, 0, 1024, 1024), (1024, 1024, 0, 0, 1024, 1024)),
    ((1120, 704), 1.5, (1056, 1680, 0, 0, 704, 1152), (704, 1152, 0, 0, 704, 1152)),
    ((1120, 704), 0.8, (563, 896, 0, 0, 704, 1152), (704, 1152, 0, 0, 704, 1152)),
    ((32, 96), 1.0, (96, 32, 0, 0, 128, 0), (128, 0, 0, 0, 128, 0)),
])  # fmt: skip
def test_size_ids(
    size: tuple[int, int], scale: float, emphasised: tuple[int, ...], consistent: tuple[int, ...]
) -> None:
    assert adm.size_ids(*size, scale) == (emphasised, consistent)


@pytest.mark.parametrize(("timestep", "end", "emphasised"), [
    (699, 0.3, False), (700, 0.3, True), (999, 0.0, False), (1, 1.0, True), (0, 1.0, False),
])  # fmt: skip
def test_when_the_size_is_emphasised(timestep: float, end: float, emphasised: bool) -> None:
    ids = adm.size_ids(1152, 896, 1.5)
    assert ids.at(timestep, end) == (ids.emphasised if emphasised else ids.consistent)


def test_vector() -> None:
    ids = adm.size_ids(1152, 896, 1.5)
    y = adm.vector(torch.zeros(2, 1280), ids.emphasised)
    assert y.shape == (2, 2816)
    for at, expected in [
        (1280, [0.8243996, 0.9444213, 0.1039331, -0.6984367]), (1408, [-0.5660082, 0.3287377, 0.9945843, 0.7156720]),
        (1536, [0.9923168, 0.8929246, 0.5501525, -0.7181239]), (2304, [-0.7984417, -0.2958145, -0.9975932, 0.8619137]),
    ]:  # fmt: skip
        assert y[1, at : at + 4].tolist() == pytest.approx(expected, abs=1e-5)
    assert y[0].sum().item() == pytest.approx(422.501690, abs=1e-3)
    consistent = adm.vector(torch.zeros(1, 1280), ids.consistent)
    assert consistent.sum().item() == pytest.approx(437.737022, abs=1e-3)


def test_refiner_ids() -> None:
    assert adm.refiner_ids(1000, 1056, negative=False) == (1056, 1000, 0, 0, 6.0)
    assert adm.refiner_ids(1000, 1056, negative=True) == (1056, 1000, 0, 0, 2.5)
    assert adm.vector(torch.zeros(1, 1280), adm.refiner_ids(64, 64, negative=False)).shape == (1, 2560)
