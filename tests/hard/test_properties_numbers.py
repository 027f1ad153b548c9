"""What holds of all sizes, orders and seeds: tiles, patches, schedules and noise."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from fooocus_stages.pipelines.functional import noise, sigmas, tiles
from fooocus_stages.pipelines.models.weights.deltas import Delta, Difference, LowRank
from fooocus_stages.pipelines.models.weights.merging import Network, WeightPatch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import Linear
from torch.nn.functional import avg_pool2d, interpolate

MANY = settings(max_examples=60)
FEW = settings(max_examples=25)
sides = st.integers(1, 40)


@MANY
@given(sides, sides, st.integers(1, 24), st.integers(1, 24), st.integers(0, 12), st.integers(1, 3), st.integers(1, 5))
def test_tiles_change_nothing_that_looks_at_one_place(
    height: int, width: int, tile_width: int, tile_height: int, overlap: int, scale: int, at_once: int
) -> None:
    assume(overlap < min(tile_width, tile_height))
    covered = torch.zeros(height, width)
    for rows, columns in tiles.tile_slices(height, width, tile_width, tile_height, overlap):
        covered[rows, columns] += 1
    assert covered.min() >= 1

    def enlarge(x: Tensor) -> Tensor:
        return interpolate(x * 2 - 1, scale_factor=scale, mode="nearest")

    picture = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(height * 100 + width))
    ours = tiles.tiled_scale(picture, enlarge, tile_width, tile_height, overlap, scale, at_once)
    torch.testing.assert_close(ours, enlarge(picture), atol=2e-6, rtol=0)


@MANY
@given(st.integers(1, 10), st.integers(1, 10), st.integers(1, 3), st.integers(1, 3), st.integers(0, 1))
def test_tiles_shrink_as_the_whole_does(height: int, width: int, tile_w: int, tile_h: int, overlap: int) -> None:
    assume(overlap < min(tile_w, tile_h))
    picture = torch.rand(1, 2, 8 * height, 8 * width, generator=torch.Generator().manual_seed(height * 10 + width))
    ours = tiles.tiled_scale(picture, lambda x: avg_pool2d(x, 8), 8 * tile_w, 8 * tile_h, 8 * overlap, 1 / 8)
    torch.testing.assert_close(ours, avg_pool2d(picture, 8), atol=2e-6, rtol=0)


PARAMETERS = ("0.weight", "0.bias", "2.weight", "2.bias")


def network(dtype: torch.dtype) -> Network:
    torch.manual_seed(0)
    layers = nn.Sequential(Linear(6, 6), nn.ReLU(), Linear(6, 4)).to(dtype)
    return Network(layers.requires_grad_(False))


@st.composite
def patches(draw: st.DrawFn) -> WeightPatch:
    """A patch of some parameters, by full differences and products of low rank, at any strength."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    deltas: dict[str, tuple[Delta, ...]] = {}
    for name, parameter in network(torch.float32).module.named_parameters():
        for _ in range(draw(st.integers(0, 1))):
            if parameter.ndim == 2 and draw(st.booleans()):
                up, down = (torch.randn(s, generator=generator) for s in ((len(parameter), 2), (2, parameter.shape[1])))
                deltas[name] = (LowRank(up, down),)
            else:
                deltas[name] = (Difference(torch.randn(parameter.shape, generator=generator)),)
    return WeightPatch("p", draw(st.floats(-3, 3)), deltas)


def bits(of: Network) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in of.module.state_dict().items()}


@FEW
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@given(st.lists(patches(), min_size=1, max_size=4), st.data())
def test_patches_come_and_go_without_a_trace(dtype: torch.dtype, known: list[WeightPatch], data: st.DataObject) -> None:
    """After any history the weights are those of a fresh network with the last patches, to the bit."""
    worn, original = network(dtype), bits(network(dtype))
    for _ in range(data.draw(st.integers(1, 5))):
        chosen = tuple(data.draw(st.permutations(known)))[: data.draw(st.integers(0, len(known)))]
        worn.merge(chosen)
        fresh = network(dtype)
        fresh.merge(chosen)
        assert worn.merged == chosen
        ours, theirs = bits(worn), bits(fresh)
        assert all(torch.equal(ours[name], theirs[name]) for name in PARAMETERS)
    worn.merge(())
    assert all(torch.equal(bits(worn)[name], original[name]) for name in PARAMETERS)


@FEW
@given(st.lists(patches(), min_size=1, max_size=3), st.integers(1, 6))
def test_a_patch_that_fails_leaves_the_originals(known: list[WeightPatch], fails_at: int) -> None:
    worn, original, calls = network(torch.float16), bits(network(torch.float16)), [0]

    def failing(weight: Tensor) -> Tensor:
        calls[0] += 1
        if calls[0] == fails_at:
            raise KeyboardInterrupt
        return torch.zeros_like(weight)

    worn.merge(tuple(known))
    broken = [WeightPatch("b", 1.0, dict.fromkeys(PARAMETERS, (failing,))) for _ in range(2)]
    with pytest.raises(KeyboardInterrupt):
        worn.merge((*known, *broken))
    assert worn.merged == ()
    assert all(torch.equal(bits(worn)[name], original[name]) for name in PARAMETERS)
    worn.merge(tuple(known))
    fresh = network(torch.float16)
    fresh.merge(tuple(known))
    assert all(torch.equal(bits(worn)[name], bits(fresh)[name]) for name in PARAMETERS)


@MANY
@given(st.sampled_from(sigmas.SCHEDULERS), st.integers(1, 80), st.floats(0.05, 1.0), st.integers(0, 90), st.booleans())
def test_a_schedule_cut_in_two_is_whole(scheduler: str, steps: int, denoise: float, at: int, full: bool) -> None:
    levels = sigmas.schedule(*sigmas.effective(scheduler), steps, denoise)
    first, second = sigmas.cut(levels, last=at, full_denoise=full), sigmas.cut(levels, start=at)
    assert len(levels) == len(torch.unique(levels))
    assert (first.diff() < 0).all()
    assert second[-1] == 0
    if at < len(levels) - 1:
        kept = first[:-1] if full else first
        assert torch.equal(torch.cat([kept[:at], second]), levels)
        assert first[-1] == (0 if full else levels[at])
    low, high = sigmas.brownian_range(scheduler, steps, denoise)
    assert 0 < low <= high


@FEW
@given(st.integers(0, 2**63 - 1), st.lists(st.floats(0.03, 14.6), min_size=3, max_size=6, unique=True))
def test_a_brownian_path_adds_up_however_it_is_divided(seed: int, levels: list[float]) -> None:
    levels = sorted((round(level, 3) for level in levels), reverse=True)
    assume(min(a - b for a, b in pairwise(levels)) > 1e-2)
    path = noise.BrownianNoise([seed], (1, 2, 3), 0.029, 14.62)
    parts = [path(a, b) * (a - b) ** 0.5 for a, b in pairwise(levels)]
    whole = noise.BrownianNoise([seed], (1, 2, 3), 0.029, 14.62)(levels[0], levels[-1])
    torch.testing.assert_close(sum(parts), whole * (levels[0] - levels[-1]) ** 0.5, atol=1e-4, rtol=1e-4)


@FEW
@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=4), st.integers(1, 4))
def test_a_batch_gets_what_each_picture_gets_alone(seeds: list[int], draws: int) -> None:
    shape = (4, 3, 2)
    together = noise.generators(seeds)
    apart = [noise.generators([seed]) for seed in seeds]
    for _ in range(draws):
        alone = torch.cat([noise.draw(one, shape) for one in apart])
        assert torch.equal(noise.draw(together, shape), alone)
