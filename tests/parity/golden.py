"""Golden outputs as test cases.

`tests/parity/` is a package (it has an `__init__.py`, its parent has none), so its modules import each other:

    from .golden import Case, assert_near, each_case

    @each_case("guidance")
    def test_guidance(case: Case) -> None:
        ours = guide(case.inputs("x"), cfg=case.params["cfg"])
        assert_near(ours, case.output("x0"), of_max=1e-4)

Cases come from the files GROUP.json and GROUP.safetensors in the folder that FOOOCUS_STAGES_GOLDEN names, default
tests/golden/; any other folder in that format runs as well. A group whose files are missing is skipped by name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from . import reference_inputs

OWN = Path(__file__).resolve().parents[1] / "golden"
FOLDER = Path(os.environ.get("FOOOCUS_STAGES_GOLDEN") or OWN)


@dataclass(frozen=True)
class Case:
    """One golden case: its parameters, its inputs (made by formula) and its outputs (read from the file)."""

    group: str
    name: str
    params: dict[str, Any]
    _inputs: dict[str, tuple[str, list[int], float, float]] = field(repr=False)
    _outputs: tuple[str, ...] = field(repr=False)

    @property
    def input_names(self) -> tuple[str, ...]:
        return tuple(self._inputs)

    @property
    def output_names(self) -> tuple[str, ...]:
        return self._outputs

    def inputs(self, name: str) -> torch.Tensor:
        """The float32 input of that name."""
        return reference_inputs.tensor(*self._inputs[name])

    def output(self, name: str) -> torch.Tensor:
        """What Fooocus computed; pictures are uint8 (H, W, 3)."""
        with safe_open(FOLDER / f"{self.group}.safetensors", "pt") as file:
            return file.get_tensor(f"{self.name}/{name}")


def missing(group: str) -> str:
    """Why the group can't run, or ''."""
    path = FOLDER / f"{group}.json"
    return "" if path.is_file() else f"no golden outputs for {group!r}: {path} is not there"


@cache
def cases(group: str) -> list[Case]:
    """The cases of a group, in file order; skips the calling module when the group's file is not there."""
    if reason := missing(group):
        pytest.skip(reason, allow_module_level=True)
    content = json.loads((FOLDER / f"{group}.json").read_text("utf-8"))
    return [
        Case(group, name, case["params"], case.get("inputs", {}), tuple(case.get("outputs", ())))
        for name, case in content.items()
    ]


def each_case(group: str, where: Callable[[Case], bool] = lambda case: True) -> pytest.MarkDecorator:
    """Run the test once per case of the group for which `where` holds; the argument is called `case`."""
    if reason := missing(group):
        return pytest.mark.parametrize("case", [pytest.param(None, marks=pytest.mark.skip(reason))], ids=[group])
    chosen = [case for case in cases(group) if where(case)]
    return pytest.mark.parametrize("case", chosen, ids=[case.name for case in chosen])


def weights(manifest: str) -> dict[str, torch.Tensor]:
    """The weights of a nano model ('nano-sdxl-unet'), names as in its manifest."""
    path = next((p for p in (FOLDER / f"{manifest}.json", OWN / f"{manifest}.json") if p.is_file()), None)
    if path is None:
        pytest.skip(f"no manifest {manifest}.json in {FOLDER}", allow_module_level=True)
    return reference_inputs.state_dict(json.loads(path.read_text("utf-8")))


def assert_near(ours: torch.Tensor, golden: torch.Tensor, of_max: float) -> None:
    """Every value within `of_max` times the largest golden magnitude."""
    assert ours.shape == golden.shape, f"shape {tuple(ours.shape)}, golden {tuple(golden.shape)}"
    error = (ours.double() - golden.double()).abs().max().item()
    allowed = of_max * golden.double().abs().max().item()
    assert error <= allowed, f"largest error {error:.3g}, allowed {allowed:.3g}"


def assert_relative_rms(ours: torch.Tensor, golden: torch.Tensor, at_most: float = 1e-4) -> None:
    """RMS(ours - golden) / RMS(golden) at most that."""
    assert ours.shape == golden.shape, f"shape {tuple(ours.shape)}, golden {tuple(golden.shape)}"
    error = (ours.double() - golden.double()).square().mean().sqrt() / golden.double().square().mean().sqrt()
    assert error.item() <= at_most, f"relative RMS {error.item():.3g}, allowed {at_most:.3g}"


def assert_same_picture(ours: torch.Tensor, golden: torch.Tensor, within: int = 1) -> None:
    """uint8 pictures that differ by at most `within` anywhere."""
    assert ours.dtype == golden.dtype == torch.uint8, f"dtype {ours.dtype}, golden {golden.dtype}"
    assert ours.shape == golden.shape, f"shape {tuple(ours.shape)}, golden {tuple(golden.shape)}"
    error = (ours.int() - golden.int()).abs()
    assert error.max().item() <= within, f"{(error > within).sum()} values differ by up to {error.max().item()}"
