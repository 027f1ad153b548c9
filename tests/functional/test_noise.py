"""Noise: Fooocus's numbers, and that a batch gets what each picture gets alone."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torchsde
from fooocus_stages.pipelines.functional import noise as ns
from fooocus_stages.pipelines.functional.model_sampling import discrete
from fooocus_stages.pipelines.functional.sigmas import karras

SHAPE = (4, 8, 16)
RANGE = (0.0291671771556, 14.6146430969)


def near(values: torch.Tensor, expected: list[float]) -> None:
    assert values.tolist() == pytest.approx(expected, abs=1e-6)


def test_initial_noise_and_what_follows() -> None:
    sources = ns.generators([123])
    first = ns.draw(sources, SHAPE)
    near(first[0, 0, 0, :4], [0.3373702, -0.1777772, -0.3035276, -0.5880119])
    assert first[0, -1, -1, -1].item() == pytest.approx(0.9417114, abs=1e-6)
    step = ns.GeneratorNoise.continued(sources, SHAPE, "cpu")
    near(step(1.0, 0.5)[0, 0, 0, :3], [-1.3151511, -0.0677046, -0.1349821])


def test_brownian_noise() -> None:
    sigmas = karras(30, discrete().sigma_min, discrete().sigma_max).tolist()
    brownian = ns.BrownianNoise([123], SHAPE, *RANGE)
    first = brownian(sigmas[0], sigmas[1])
    near(first[0, 0, 0, :4], [-0.2994046, -0.7281553, -0.0093917, -0.7605640])
    assert first.std().item() == pytest.approx(1.03585, abs=1e-5)
    near(brownian(sigmas[1], sigmas[2])[0, 0, 0, :4], [0.1898907, -0.2073722, 1.4812592, -0.0384189])


@pytest.mark.parametrize("seed", [0, 123, 2**63 - 1])
def test_brownian_noise_is_that_of_torchsdes_tree(seed: int) -> None:
    sigmas = [round(sigma, ns.TREE_DIGITS) for sigma in karras(12, discrete().sigma_min, 14.0).tolist()]
    tree = torchsde.BrownianTree(RANGE[0], torch.zeros(1, *SHAPE), RANGE[1], entropy=seed, tol=1e-6)
    ours = ns.brownian_tree(seed, (1, *SHAPE), *RANGE, "cpu")
    for a, b in pairwise(sigmas[:-1]):
        assert torch.equal(ours(b, a), tree(b, a))


@pytest.mark.parametrize(("a", "b"), [(100, 50), (14.61464316, 14.61464306), (20, 14.6146431), (0.02916718, 0.01)])
def test_outside_its_range_the_path_is_constant(a: float, b: float) -> None:
    assert ns.BrownianNoise([123], SHAPE, *RANGE)(a, b).abs().max() == 0


def test_levels_that_are_equal_to_six_digits_are_one() -> None:
    brownian = ns.BrownianNoise([123], SHAPE, *RANGE)
    assert not brownian(1.0000002, 1.0).any()


def test_brownian_noise_at_the_end_of_karras() -> None:
    sigmas = karras(30, discrete().sigma_min, discrete().sigma_max).tolist()
    brownian = ns.BrownianNoise([123], SHAPE, *RANGE)
    near(brownian(sigmas[28], sigmas[29])[0, 0, 0, :4], [1.5550340, 0.5034671, 1.1527327, 0.0739088])


def test_brownian_noise_adds_up() -> None:
    brownian = ns.BrownianNoise([7], SHAPE, *RANGE)
    whole = brownian(10.0, 2.0) * 8**0.5
    torch.testing.assert_close(brownian(10.0, 5.0) * 5**0.5 + brownian(5.0, 2.0) * 3**0.5, whole, atol=1e-5, rtol=0)


def test_a_batch_gets_what_each_picture_gets_alone() -> None:
    seeds = [5, 2**63 - 1, 0]

    def all_noise(seeds: list[int]) -> torch.Tensor:
        sources = ns.generators(seeds)
        initial = ns.draw(sources, SHAPE)
        step = ns.GeneratorNoise.continued(sources, SHAPE, "cpu")
        brownian = ns.BrownianNoise(seeds, SHAPE, *RANGE)
        energy = ns.draw(ns.energy_generators(seeds), SHAPE)
        return torch.stack([initial, step(2, 1), step(1, 0.5), brownian(2, 1), brownian(1, 0.5), energy], dim=1)

    together = all_noise(seeds)
    for k, seed in enumerate(seeds):
        assert torch.equal(together[k : k + 1], all_noise([seed]))


def test_no_global_state_is_read_or_left() -> None:
    state = torch.random.get_rng_state()
    ns.BrownianNoise([1], SHAPE, *RANGE)(2, 1)
    ns.draw(ns.generators([1]), SHAPE)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_channel_mean_is_replaced() -> None:
    mean = torch.randn(2, 1, 8, 16)
    ours = ns.replace_channel_mean(torch.randn(2, *SHAPE), mean)
    torch.testing.assert_close(ours.mean(dim=1, keepdim=True), mean)
