"""Interposer files: training's counters are passed over, the size is derived, older versions are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fooocus_stages.pipelines.errors import BadFile
from fooocus_stages.pipelines.models.interposer import Interposer, convert, load_interposer
from safetensors.torch import save_file


def test_the_size_is_derived_and_counters_are_passed_over(tmp_path: Path) -> None:
    made = Interposer(width=5, blocks=3).eval()
    counters = {f"core.{i}.norm.num_batches_tracked": torch.tensor(7) for i in range(1, 4)}
    save_file({**made.state_dict(), **counters, "core.4.num_batches_tracked": torch.tensor(7)}, tmp_path / "a.st")
    loaded = load_interposer(tmp_path / "a.st")
    x = torch.randn(2, 4, 3, 5)
    with torch.no_grad():
        assert torch.equal(convert(loaded, x), made(x))


def test_an_older_version_is_refused(tmp_path: Path) -> None:
    save_file({"chain.0.weight": torch.zeros(2)}, tmp_path / "xl-to-v1_interposer-v3.1.safetensors")
    with pytest.raises(BadFile, match=r"v3\.1\.safetensors is not a latent interposer of version 4\.0"):
        load_interposer(tmp_path / "xl-to-v1_interposer-v3.1.safetensors")
