"""Sharpness, adaptive CFG and both together."""

from __future__ import annotations

import pytest
import torch
from fooocus_stages.pipelines.functional import guidance
from fooocus_stages.pipelines.functional.anisotropic import gaussian_taps, joint_bilateral_blur
from torch import Tensor


@pytest.fixture
def fields() -> tuple[Tensor, Tensor]:
    """(e, guide), each (1, 4, 8, 9)."""
    c, i, j = torch.meshgrid(torch.arange(4.0), torch.arange(8.0), torch.arange(9.0), indexing="ij")
    e = torch.sin(0.7 * c + 0.3 * i**2 + 0.2 * j) + 0.1 * c
    return e[None], torch.cos(0.5 * c - 0.4 * i + 0.25 * j**2)[None]


def near(values: Tensor, expected: list[float]) -> None:
    assert values.tolist() == pytest.approx(expected, abs=2e-6)


def test_taps() -> None:
    expected = [0.0185440, 0.0341669, 0.0563318, 0.0831086, 0.1097193, 0.1296180, 0.1370228]
    assert gaussian_taps()[:7] == pytest.approx(expected, abs=1e-7)
    assert gaussian_taps()[7:] == pytest.approx(expected[:-1][::-1], abs=1e-7)


def test_blur(fields: tuple[Tensor, Tensor]) -> None:
    e, guide = fields
    blurred = joint_bilateral_blur(e, guide)
    near(blurred[0, 0, 0, :4], [0.3723521, 0.3777691, 0.3801790, 0.4395217])
    near(blurred[0, 1, 3, :4], [0.2623603, 0.2778490, 0.3412949, 0.3028749])
    near(blurred[0, 3, 7, -3:], [0.2697148, 0.2877121, 0.3238728])
    assert blurred.sum().item() == pytest.approx(58.911215, abs=1e-4)


def test_blur_by_an_even_guide_is_gaussian(fields: tuple[Tensor, Tensor]) -> None:
    e, _ = fields
    blurred = joint_bilateral_blur(e, torch.full_like(e, 0.3))
    near(blurred[0, 0, 0, :3], [0.3673461, 0.3692863, 0.3740284])
    assert blurred[0, 2, 4, 4].item() == pytest.approx(0.2052673, abs=2e-6)


def test_blur_matches_the_formula_cell_by_cell() -> None:
    e, guide = torch.randn(2, 1, 4, 7, 10, generator=torch.Generator().manual_seed(2)).double().unbind()
    g = (guide - guide.mean()) / (guide.std() + 1e-5)
    taps = torch.tensor(gaussian_taps()).double()

    def mirrored(k: int, n: int) -> int:
        k = abs(k)
        return k if k < n else 2 * (n - 1) - k

    expected = torch.zeros_like(e)
    for y in range(7):
        for x in range(10):
            total = 0.0
            for i in range(-6, 7):
                for j in range(-6, 7):
                    yy, xx = mirrored(y + i, 7), mirrored(x + j, 10)
                    distance = (g[0, :, yy, xx] - g[0, :, y, x]).abs().sum() ** 2
                    weight = taps[i + 6] * taps[j + 6] * torch.exp(-0.5 * distance / 9)
                    expected[0, :, y, x] += weight * e[0, :, yy, xx]
                    total += weight
            expected[0, :, y, x] /= total
    torch.testing.assert_close(joint_bilateral_blur(e, guide), expected)


def test_blur_takes_pictures_one_by_one(fields: tuple[Tensor, Tensor]) -> None:
    e, guide = (torch.cat([t, t.flip(-1) * 2, t * 0]) for t in fields)
    together = joint_bilateral_blur(e, guide)
    for k in range(3):
        torch.testing.assert_close(together[k : k + 1], joint_bilateral_blur(e[k : k + 1], guide[k : k + 1]))


@pytest.mark.parametrize("size", [(1, 1), (2, 40), (6, 6), (7, 7), (6, 30)])
def test_blur_takes_small_pictures(size: tuple[int, int]) -> None:
    e, guide = torch.randn(2, 1, 4, *size, generator=torch.Generator().manual_seed(0)).unbind()
    if size == (1, 1):
        guide = torch.zeros_like(guide)
    blurred = joint_bilateral_blur(e, guide)
    assert blurred.isfinite().all()
    assert blurred.amax() <= e.amax() + 1e-5


@pytest.mark.parametrize(
    ("cfg", "p", "expected"), [(4, 0.5, 1.4), (7, 0.5, 2.3), (10, 0, 2.3), (10, 0.3, 2.57), (10, 1, 3.2)]
)
def test_adaptive_cfg(cfg: float, p: float, expected: float) -> None:
    ours = guidance.adaptive_cfg(torch.tensor(0.5), torch.tensor(0.2), cfg, 7.0, p)
    assert ours.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("sharpness", "cfg", "first", "total"), [
    (2, 4, [2.1944680, 2.1191056, 1.0500571, -1.8679173], -18.767706),
    (2, 10, [3.9882443, 3.8455861, 1.8149512, -3.7284768], -87.492834),
    (30, 4, [2.1170197, 2.0746477, 1.0402733, -1.8326752], -18.406189),
])  # fmt: skip
def test_both(fields: tuple[Tensor, Tensor], sharpness: float, cfg: float, first: list[float], total: float) -> None:
    e, positive = fields
    ours = guidance.combine(3 * e, positive, 0.5 * positive + 0.1, cfg, sharpness, 7.0, 0.5)
    near(ours[0, 0, 0, :4], first)
    assert ours.sum().item() == pytest.approx(total, abs=2e-4)


def test_cfg_1_is_the_positive_estimate(fields: tuple[Tensor, Tensor]) -> None:
    x, positive = fields
    assert guidance.combine(x, positive, None, 1.0, 30.0, 7.0, 0.5) is positive
    with pytest.raises(ValueError, match="needs the negative estimate"):
        guidance.combine(x, positive, None, 4.0, 2.0, 7.0, 0.5)


def test_no_filter_without_sharpness(fields: tuple[Tensor, Tensor]) -> None:
    e, positive = fields
    assert guidance.sharpened(e, positive, 0.0, 0.7) is e
    assert guidance.sharpened(e, positive, 2.0, 0.0) is e


def test_progress_is_rounded_as_the_network_s_dtype() -> None:
    assert guidance.progress(700, torch.float16) == 0.29931640625
    assert guidance.progress(700) == pytest.approx(0.2992993, abs=1e-7)
    assert (guidance.progress(999), guidance.progress(0)) == (0, 1)
