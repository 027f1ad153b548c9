"""The samplers: the numbers of their update rules, their evaluations and callbacks, and batches."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from fooocus_stages.pipelines import settings
from fooocus_stages.pipelines.functional import samplers_dpmpp, samplers_euler, samplers_restart
from fooocus_stages.pipelines.functional.model_sampling import discrete
from fooocus_stages.pipelines.functional.noise import BrownianNoise, GeneratorNoise, draw, generators
from fooocus_stages.pipelines.functional.samplers import SAMPLERS, sample
from fooocus_stages.pipelines.functional.sigmas import cut, effective, karras, schedule
from fooocus_stages.pipelines.functional.stepping import Denoise, ignore
from torch import Tensor

KARRAS_10 = [14.614643, 9.102929, 5.478392, 3.168605, 1.749418, 0.914073, 0.446918, 0.201398, 0.081910, 0.029167, 0.0]
UNIT = torch.tensor([1.0, -0.5, 0.25]).view(1, 3, 1, 1)

# sampler: (result, evaluations, callbacks), started at sigma_0·(1, -½, ¼) on D = tanh(x / (1 + sigma))
UPDATES = {
    "euler": ((0.543718, -0.380301, 0.220064), 10, 10),
    "ddim": ((0.543718, -0.380301, 0.220064), 10, 10),
    "euler_ancestral": ((0.584056, -0.576724, 0.387774), 10, 10),
    "heun": ((0.497202, -0.359760, 0.215495), 19, 10),
    "heunpp2": ((0.542690, -0.379745, 0.219937), 27, 10),
    "dpm_2": ((0.509351, -0.365007, 0.216683), 19, 10),
    "dpm_2_ancestral": ((0.475229, -0.471810, 0.346900), 19, 10),
    "lms": ((0.518224, -0.370275, 0.218001), 10, 10),
    "dpm_fast": ((0.620159, -0.407966, 0.229339), 10, 4),
    "dpm_adaptive": ((0.573570, -0.389739, 0.225637), 18, 6),
    "dpmpp_2s_ancestral": ((0.539918, -0.534316, 0.371310), 19, 10),
    "dpmpp_sde": ((0.591452, -0.590074, 0.457735), 19, 10),
    "dpmpp_sde_gpu": ((0.591452, -0.590074, 0.457735), 19, 10),
    "dpmpp_2m": ((0.519616, -0.370080, 0.217912), 10, 10),
    "dpmpp_2m_sde": ((0.628375, -0.629729, 0.509796), 10, 10),
    "dpmpp_2m_sde_gpu": ((0.628375, -0.629729, 0.509796), 10, 10),
    "dpmpp_3m_sde": ((0.321004, -0.313269, 0.344325), 10, 10),
    "dpmpp_3m_sde_gpu": ((0.321004, -0.313269, 0.344325), 10, 10),
    "ddpm": ((0.584057, -0.576725, 0.387774), 10, 10),
    "lcm": ((0.555918, -0.555917, 0.395380), 10, 10),
    "restart": ((0.497202, -0.359760, 0.215495), 19, 10),
}


class Formula:
    """D(x, sigma) = tanh(x / (1 + sigma)), counting its evaluations."""

    def __init__(self) -> None:
        self.evaluations = 0

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        self.evaluations += 1
        return torch.tanh(x / (1 + sigma))


def formula_noise(a: float, b: float) -> Tensor:
    return (math.sin(a) + math.cos(b)) * torch.tensor([1.0, -1.0, 0.5]).view(1, 3, 1, 1)


def counted_noise():
    """The k-th draw is 0.1·k·(1, -1, ½)."""
    drawn = 0

    def noise(a: float, b: float) -> Tensor:
        nonlocal drawn
        drawn += 1
        return 0.1 * drawn * torch.tensor([1.0, -1.0, 0.5]).view(1, 3, 1, 1)

    return noise


def test_the_sampler_list_is_fooocus_s() -> None:
    assert tuple(SAMPLERS) == settings.SAMPLERS


@pytest.mark.parametrize("name", UPDATES)
def test_update_rule(name: str) -> None:
    expected, evaluations, callbacks = UPDATES[name]
    denoise, seen = Formula(), []
    x = KARRAS_10[0] * UNIT
    x = SAMPLERS[name].run(denoise, x, KARRAS_10, formula_noise, lambda i, n, d, x: seen.append(i))
    assert x.flatten().tolist() == pytest.approx(expected, abs=3e-6)
    assert denoise.evaluations == evaluations
    assert seen == list(range(callbacks))


@pytest.mark.parametrize(("steps", "expected", "evaluations"), [
    (20, (0.246965, -0.190273, 0.106785), 39), (40, (0.225832, -0.200831, 0.108356), 79),
])  # fmt: skip
def test_restart(steps: int, expected: tuple[float, ...], evaluations: int) -> None:
    sigmas = karras(steps, KARRAS_10[-2], KARRAS_10[0]).tolist()
    denoise, seen = Formula(), []
    x = SAMPLERS["restart"].run(denoise, sigmas[0] * UNIT, sigmas, counted_noise(), lambda i, n, d, x: seen.append(i))
    assert x.flatten().tolist() == pytest.approx(expected, abs=3e-6)
    assert denoise.evaluations == evaluations
    assert seen == list(range(steps))


@pytest.mark.parametrize(("steps", "expected"), [
    (4, (0.514299, -0.406350, 0.216109)), (8, (0.844295, -0.837912, 0.535657)),
])  # fmt: skip
def test_tcd(steps: int, expected: tuple[float, ...]) -> None:
    generator, sampling = effective("tcd")
    sigmas = schedule(generator, sampling, steps).tolist()
    x = samplers_euler.tcd(Formula(), sigmas[0] * UNIT, sigmas, formula_noise, ignore, sampling=sampling)
    assert x.flatten().tolist() == pytest.approx(expected, abs=3e-6)


@pytest.mark.parametrize("scheduler", ["karras", "normal", "exponential", "edm_playground_v2.5", "tcd"])
def test_tcd_is_finite_on_every_schedule(scheduler: str) -> None:
    generator, sampling = effective(scheduler)
    sigmas = schedule(generator, sampling, 12).tolist()
    x = samplers_euler.tcd(Formula(), sigmas[0] * UNIT, sigmas, formula_noise, ignore, sampling=sampling)
    assert x.isfinite().all()


@pytest.mark.parametrize(("name", "full", "expected"), [
    ("uni_pc", True, (0.511890, -0.362903, 0.222465)), ("uni_pc", False, (0.511473, -0.362364, 0.222034)),
    ("uni_pc_bh2", True, (0.518912, -0.365621, 0.223096)), ("uni_pc_bh2", False, (0.518480, -0.365070, 0.222662)),
])  # fmt: skip
def test_uni_pc(name: str, full: bool, expected: tuple[float, ...]) -> None:
    sigmas = torch.tensor(KARRAS_10)
    alpha = 1 / math.sqrt(1 + KARRAS_10[0] ** 2)
    m = 1.0 if full else KARRAS_10[0] * alpha
    denoise, seen = Formula(), []
    x = SAMPLERS[name].run(
        denoise, alpha * 0.1 + m * UNIT, sigmas.tolist(), formula_noise, lambda i, n, d, x: seen.append(i)
    )
    assert x.flatten().tolist() == pytest.approx(expected, abs=2e-5)
    assert denoise.evaluations == 10
    assert seen == list(range(10))
    if full:
        latents = torch.full_like(UNIT, 0.1)
        assert torch.allclose(sample(name, Formula(), UNIT, latents, sigmas, discrete()), x, atol=1e-6)


def run(name: str, seeds: list[int], latents: Tensor, sigmas: Tensor, denoise: Denoise | None = None) -> Tensor:
    shape = latents.shape[1:]
    sources = generators(seeds)
    noise = draw(sources, shape)
    if SAMPLERS[name].noise == "brownian":
        step_noise = BrownianNoise(seeds, shape, float(sigmas[-2]), float(sigmas[0]))
    else:
        step_noise = GeneratorNoise(sources, shape)
    return sample(name, denoise or Formula(), noise, latents, sigmas, discrete(), step_noise)


@pytest.mark.parametrize("steps", [6, 21])
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_batch_gets_what_each_picture_gets_alone(name: str, steps: int) -> None:
    seeds = [3, 141, 59]
    latents = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(1)) * torch.tensor([0, 1, 5]).view(
        3, 1, 1, 1
    )
    sigmas = schedule(*effective("karras"), steps, discard_penultimate=SAMPLERS[name].discards)
    together = run(name, seeds, latents, sigmas)
    assert together.isfinite().all()
    for k, seed in enumerate(seeds):
        torch.testing.assert_close(
            together[k : k + 1], run(name, [seed], latents[k : k + 1], sigmas), atol=1e-6, rtol=1e-6
        )


def no_noise(a: float, b: float) -> Tensor:
    raise AssertionError("noise drawn")


@pytest.mark.parametrize(
    ("stochastic", "deterministic"),
    [
        (samplers_euler.euler_ancestral, samplers_euler.euler),
        (samplers_euler.dpm_2_ancestral, samplers_euler.dpm_2),
        (samplers_dpmpp.dpmpp_2m_sde, samplers_dpmpp.dpmpp_2m),
        (samplers_dpmpp.dpmpp_sde, partial(samplers_dpmpp.dpmpp_2s_ancestral, eta=0.0)),
    ],
)
def test_without_eta_a_stochastic_sampler_is_its_deterministic_form(
    stochastic: Callable[..., Tensor], deterministic: Callable[..., Tensor]
) -> None:
    start = KARRAS_10[0] * UNIT
    ours = stochastic(Formula(), start, KARRAS_10, no_noise, ignore, eta=0.0)
    torch.testing.assert_close(ours, deterministic(Formula(), start, KARRAS_10, no_noise, ignore), rtol=1e-5, atol=1e-6)


def test_without_eta_3m_follows_the_flow() -> None:
    """On D = x / (1 + sigma²), whose flow is x(sigma) = c·sqrt(1 + sigma²); the first step has order 1."""

    def error(steps: int) -> float:
        levels = karras(steps, 0.5, 14.6).double().tolist()[:-1]
        start = UNIT.double() * math.hypot(1, levels[0])
        end = samplers_dpmpp.dpmpp_3m_sde(lambda x, sigma: x / (1 + sigma**2), start, levels, no_noise, ignore, eta=0.0)
        return float((end - UNIT * math.hypot(1, levels[-1])).abs().max())

    assert error(40) < 1e-3
    assert error(80) < error(40) / 3.5


WITH_NOISE = (
    samplers_euler.euler_ancestral, samplers_euler.dpm_2_ancestral, samplers_dpmpp.dpmpp_2s_ancestral,
    samplers_dpmpp.dpmpp_sde, samplers_dpmpp.dpmpp_2m_sde, samplers_dpmpp.dpmpp_3m_sde, samplers_restart.restart,
)  # fmt: skip


@pytest.mark.parametrize("run", WITH_NOISE)
def test_s_noise_scales_all_the_noise_that_is_added(run: Callable[..., Tensor]) -> None:
    """On a linear denoiser the result is linear in the noise, so equal factors make equal differences."""

    def at(s_noise: float) -> Tensor:
        levels = karras(22, 0.03, 14.6).tolist()
        return run(lambda x, sigma: x / (1 + sigma), UNIT.double(), levels, formula_noise, ignore, s_noise=s_noise)

    assert not torch.allclose(at(0.0), at(1.0))
    torch.testing.assert_close(at(2.0) - at(1.0), at(1.0) - at(0.0), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", [n for n in SAMPLERS if n not in ("restart",)])
def test_a_run_may_stop_early(name: str) -> None:
    sigmas = cut(schedule(*effective("karras"), 8), 2, 5)
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    assert run(name, [1], latents, sigmas).isfinite().all()


@pytest.mark.parametrize("name", SAMPLERS)
def test_one_step(name: str) -> None:
    sigmas = schedule(*effective("karras"), 1)
    assert run(name, [1], torch.zeros(1, 4, 8, 8), sigmas).isfinite().all()


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_run_ends_when_the_predictions_are_no_numbers(name: str) -> None:
    """Also one that chooses its steps by their error, which would never accept another."""
    sigmas = schedule(*effective("karras"), 6)
    assert not run(name, [1], torch.zeros(1, 4, 8, 8), sigmas, lambda x, _: x * math.nan).isfinite().any()


def test_inputs_are_left_alone() -> None:
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    before = latents.clone()
    for name in SAMPLERS:
        run(name, [1], latents, schedule(*effective("karras"), 4))
    assert torch.equal(latents, before)


def test_nothing_to_sample() -> None:
    latents = torch.ones(1, 4, 8, 8)
    assert torch.equal(sample("euler", Formula(), latents, latents, torch.tensor([0.0]), discrete()), latents)


def test_an_interrupt_passes_through() -> None:
    def stop(i: int, total: int, denoised: Tensor, x: Tensor) -> None:
        if i == 2:
            raise KeyboardInterrupt

    denoise = Formula()
    with pytest.raises(KeyboardInterrupt):
        sample("euler", denoise, UNIT, torch.zeros_like(UNIT), torch.tensor(KARRAS_10), discrete(), callback=stop)
    assert denoise.evaluations == 3


def test_wrong_use_is_said() -> None:
    with pytest.raises(ValueError, match="unknown sampler 'oiler'"):
        sample("oiler", Formula(), UNIT, UNIT, torch.tensor(KARRAS_10), discrete())
    with pytest.raises(ValueError, match="needs step noise of kind 'brownian'"):
        sample("dpmpp_sde", Formula(), UNIT, UNIT, torch.tensor(KARRAS_10), discrete())
