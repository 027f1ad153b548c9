"""The pocket's upscaler: initialised as interpolation, written under Fooocus's names, better than bicubic."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from fooocus_stages.pipelines.host import LocalHost
from fooocus_stages.pipelines.models.upscaler import load_upscaler
from fooocus_stages.pocket.training import draw, evaluate, painting, upscaling
from torch.nn.functional import interpolate

COMMITTED = painting.MODELS / upscaling.FOLDER / upscaling.FILE


def test_an_untrained_network_interpolates_in_its_interior():
    torch.manual_seed(0)
    small = torch.rand(1, 3, 12, 12)
    with torch.no_grad():
        ours = upscaling.build()(small)
    expected = interpolate(interpolate(small, scale_factor=2.0, mode="bilinear"), scale_factor=2.0, mode="bilinear")
    inner = (..., slice(4, -4), slice(4, -4))
    torch.testing.assert_close(ours[inner], expected[inner])


def test_what_is_written_reads_back_as_the_same_network(tmp_path):
    torch.manual_seed(1)
    network = upscaling.build().half().float()
    torch.save({"ema": network.state_dict()}, tmp_path / "upscaler.pt")
    again = load_upscaler(upscaling.write(tmp_path, tmp_path / "models"))
    small = torch.rand(1, 3, 9, 11)
    with torch.no_grad():
        assert torch.equal(again(small), network(small))


def test_the_committed_file_is_half_precision_in_fooocus_names():
    state = torch.load(COMMITTED, weights_only=True)
    block = re.compile(r"model\.1\.sub\.[012]\.residual_block_[123]\.conv[1-5]\.0\.(weight|bias)")
    ends = {f"model.{place}.{leaf}" for place in ("0", "1.sub.3", "3", "6", "8", "10") for leaf in ("weight", "bias")}
    assert {tensor.dtype for tensor in state.values()} == {torch.float16}
    assert {key for key in state if not block.fullmatch(key)} == ends
    assert load_upscaler(COMMITTED).scale == 4


def test_a_training_can_be_resumed(tmp_path, monkeypatch):
    monkeypatch.setattr(upscaling, "POOL", 4)
    for steps in (1, 2):
        upscaling.train(tmp_path, minutes=1e-9)  # one step
        assert torch.load(tmp_path / "upscaler.pt", weights_only=True)["step"] == steps
    assert load_upscaler(upscaling.write(tmp_path, tmp_path / "models")).scale == 4


@pytest.mark.parametrize("filtering", ["area", "cubic"])
def test_a_small_picture_is_the_large_one_at_a_quarter(filtering):
    large = draw.draw(draw.Scene("square", "red", "blue"), np.random.default_rng(2), 256, 256)
    small = upscaling.shrink(large, filtering)
    again = np.repeat(np.repeat(small, 4, 0), 4, 1)
    assert small.shape == (64, 64, 3)
    assert abs(again.astype(float) - large).mean() < 4


def test_it_beats_bicubic_interpolation_on_unseen_scenes():
    ours, theirs = evaluate.psnr_of_upscalers(LocalHost([painting.MODELS], device="cpu"), "scenes", count=6).T
    assert ours.mean() >= theirs.mean() + 2
    assert (ours > theirs).all()
