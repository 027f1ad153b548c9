"""The size conditioning of SDXL."""

from __future__ import annotations

import pytest
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


def test_refiner_ids() -> None:
    assert adm.refiner_ids(1000, 1056, negative=False) == (1056, 1000, 0, 0, 6.0)
    assert adm.refiner_ids(1000, 1056, negative=True) == (1056, 1000, 0, 0, 2.5)
