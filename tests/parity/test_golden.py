"""The golden files themselves: every case names outputs that are there, and inputs that can be made."""

from __future__ import annotations

import pytest

from .golden import FOLDER, Case, cases

GROUPS = sorted(path.stem for path in FOLDER.glob("*.json") if not path.stem.startswith("nano-"))


@pytest.mark.parametrize("case", [case for g in GROUPS for case in cases(g)], ids=lambda c: f"{c.group}-{c.name}")
def test_a_case_can_be_read(case: Case) -> None:
    for name in case.output_names:
        assert case.output(name).numel() > 0
    for name in case.input_names:
        assert case.inputs(name).isfinite().all()
