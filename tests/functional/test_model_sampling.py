"""Noise levels, timesteps and what a network's output means."""

from __future__ import annotations

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr
from fooocus_stages.pipelines.functional.model_sampling import (
    ModelSampling,
    alphas_cumprod,
    discrete,
    distilled,
    playground,
    sigma_table,
    zero_snr_table,
)
from fooocus_stages.pipelines.functional.sigmas import karras, normal
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("index", "sigma"),
    [(0, 0.02916716), (1, 0.04131441), (2, 0.05068035), (3, 0.05861401), (249, 0.69320488), (250, 0.69579893),
     (499, 1.61288619), (500, 1.61827886), (749, 4.08172941), (998, 14.52627563), (999, 14.61464119)],
)  # fmt: skip
def test_sigma_table(index: int, sigma: float) -> None:
    assert float(sigma_table()[index]) == pytest.approx(sigma, rel=3e-7)


@pytest.mark.parametrize(("index", "sigma"), [(0, 0.02916716), (999, 4518.757)])
def test_the_table_of_zero_terminal_snr(index: int, sigma: float) -> None:
    assert float(zero_snr_table()[index]) == pytest.approx(sigma, rel=1e-5)


def test_zero_terminal_snr_is_diffusers_rescaling() -> None:
    betas = 1 - alphas_cumprod()[1:] / alphas_cumprod()[:-1]
    betas = torch.cat([1 - alphas_cumprod()[:1], betas])
    alphas = torch.cumprod(1 - rescale_zero_terminal_snr(betas), 0)[:-1]
    torch.testing.assert_close(zero_snr_table()[:-1], ((1 - alphas) / alphas).sqrt().float(), rtol=1e-5, atol=0)


def test_at_full_noise_v_gives_the_image_from_the_output_alone() -> None:
    sampling = discrete("v", zero_snr=True)
    x, output = 4518.0 * torch.randn(1, 4, 2, 2), torch.randn(1, 4, 2, 2)
    torch.testing.assert_close(sampling.denoised(x, output, sampling.sigma_max), -output, rtol=0, atol=2e-3)


def test_alphas_cumprod() -> None:
    assert alphas_cumprod()[[0, 499, 999]].tolist() == pytest.approx([0.99914998, 0.27766964, 0.00466010], abs=3e-8)


KARRAS_30 = (
    "999 975 949 923 894 863 830 795 757 716 672 624 572 517 458 397 334 273 214 162 117 80 53 33 20 11 6 3 1 0 0"
)
NORMAL_30 = (
    "999 965 930 896 861 827 792 758 723 689 655 620 586 551 517 482 448 413 379 344 310 276 241 207 172 138 103 69 34"
    " 0 0"
)


def test_timesteps_of_schedules() -> None:
    sampling = discrete()
    by_karras = karras(30, sampling.sigma_min, sampling.sigma_max)
    assert [sampling.timestep(s) for s in by_karras.tolist()] == [float(t) for t in KARRAS_30.split()]
    assert [sampling.timestep(s) for s in normal(30, sampling).tolist()] == [float(t) for t in NORMAL_30.split()]


def test_sigma_at_the_last_timestep_has_gone_through_the_logarithm() -> None:
    assert float(discrete().sigmas_at(torch.tensor(999.0))) == pytest.approx(14.6146402, abs=1e-6)


@pytest.mark.parametrize(
    ("percent", "sigma"),
    [(-1, 999999999.9), (0, 999999999.9), (0.001, 14.526362), (0.2, 5.092408), (0.3, 3.325069), (0.5, 1.615580),
     (0.75, 0.695149), (0.9, 0.343705), (0.999, 0.041300), (1, 0.0), (2, 0.0)],
)  # fmt: skip
def test_percent_to_sigma(percent: float, sigma: float) -> None:
    assert discrete().percent_to_sigma(percent) == pytest.approx(sigma, rel=2e-6)


def test_distilled_table() -> None:
    sampling = distilled("lcm")
    assert len(sampling.table) == 50
    assert (sampling.sigma_min, sampling.sigma_max) == pytest.approx((0.13445067, 14.61464119), rel=1e-7)
    assert (sampling.timestep(sampling.sigma_max), sampling.timestep(0.0)) == (999.0, 19.0)


def test_playground_is_continuous() -> None:
    sampling = playground()
    assert [sampling.timestep(s) for s in (120, 1, 0.002)] == pytest.approx([1.196873, 0, -1.553652], abs=1e-6)
    assert sampling.percent_to_sigma(0.5) == pytest.approx(0.489898, abs=1e-6)
    assert float(sampling.sigmas_at(torch.tensor(1.196873))) == pytest.approx(120, rel=1e-5)


def test_lcm_rule() -> None:
    x, output = torch.full((1, 1, 1, 1), 2.0), torch.ones(1, 1, 1, 1)
    ours = [distilled("lcm").denoised(x, output, sigma).item() for sigma in (14.6146, 1.0, 0.14)]
    assert ours == pytest.approx([-12.614600, 1.000000, 1.860007], abs=2e-6)


@pytest.mark.parametrize(
    ("sampling", "target"),
    [(discrete("eps"), lambda x0, n, s: n),
     (discrete("v"), lambda x0, n, s: (n - s * x0) / (s**2 + 1) ** 0.5),
     (playground(), lambda x0, n, s: (x0 - (x0 + s * n) * 0.25 / (s**2 + 0.25)) * (s**2 + 0.25) ** 0.5 / (s * 0.5))],
    ids=["eps", "v", "edm"],
)  # fmt: skip
@pytest.mark.parametrize("sigma", [0.1, 1.0, 14.0])
def test_a_perfect_network_gives_back_the_picture(sampling: ModelSampling, target, sigma: float) -> None:
    x0, n = torch.randn(2, 1, 4, 3, 3, generator=torch.Generator().manual_seed(0)).unbind()
    x = x0 + sigma * n
    torch.testing.assert_close(sampling.denoised(x, target(x0, n, sigma), sigma), x0, atol=1e-5, rtol=1e-5)


@settings(deadline=None)
@given(st.floats(0.03, 14.6))
def test_the_nearest_timestep_is_nearest(sigma: float) -> None:
    sampling = discrete()
    index = int(sampling.timestep(sigma))
    distance = (torch.tensor(sigma).log() - sampling.log_table).abs()
    assert distance[index] == distance.min()
