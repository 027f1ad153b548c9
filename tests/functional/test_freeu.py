"""FreeU V2."""

from __future__ import annotations

import pytest
import torch
from fooocus_stages.pipelines.functional import freeu


def test_backbone() -> None:
    h = torch.sin(0.37 * torch.arange(128.0)).view(1, 8, 4, 4)
    ours = freeu.backbone(h, 1.3)
    assert ours[0, 0, 0].tolist() == pytest.approx([0, 0.3711585, 0.7208934, 1.0053335], abs=1e-6)
    assert torch.equal(ours[:, 4:], h[:, 4:])


def test_skip() -> None:
    skip = torch.cos(0.53 * torch.arange(64.0)).view(1, 4, 4, 4)
    expected = [0.9587830, 0.8246465, 0.4855582, -0.0255727]
    assert freeu.thinned(skip, 0.9)[0, 0, 0].tolist() == pytest.approx(expected, abs=1e-6)


def test_skip_of_odd_size() -> None:
    skip = torch.cos(0.53 * torch.arange(25.0)).view(1, 1, 5, 5)
    expected = [0.9256111, 0.7620853, 0.3868062, -0.0957660, -0.5814664]
    assert freeu.thinned(skip, 0.2)[0, 0, 0].tolist() == pytest.approx(expected, abs=1e-6)


def test_neutral_gains_change_nothing() -> None:
    h = torch.randn(2, 8, 5, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(freeu.backbone(h, 1.0), h)
    torch.testing.assert_close(freeu.thinned(h, 1.0), h)
    assert freeu.thinned(h.half(), 0.9).dtype == torch.float16


def test_gains_by_width() -> None:
    found = [freeu.gains(c, 320, 1.01, 1.02, 0.99, 0.95) for c in (1280, 640, 320)]
    assert found == [(1.01, 0.99), (1.02, 0.95), None]
