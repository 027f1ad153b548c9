"""Sources of noise. Every image of a batch has its own seed and gets the noise that it would get alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
import torchsde
from torch import Tensor

MAX_SEED = 2**63 - 1
TREE_DIGITS = 6  # digits to which a Brownian tree resolves sigma
TREE_POOL = 24  # words of entropy that seed a node; they determine the numbers
TREE_CACHE = 100  # increments; a step needs about fifty


class Noise(Protocol):
    """Unit noise for the step from `sigma` to `sigma_next`: (B, C, h, w) float32 on the device of the run."""

    def __call__(self, sigma: float, sigma_next: float) -> Tensor: ...


def generators(seeds: Sequence[int], device: torch.device | str = "cpu") -> list[torch.Generator]:
    """Return one newly seeded generator for each image."""
    return [torch.Generator(device).manual_seed(seed) for seed in seeds]


def draw(sources: Sequence[torch.Generator], shape: Sequence[int]) -> Tensor:
    """Draw standard normal noise for each image: (B, *shape) float32 on the generators' device."""
    return torch.stack([torch.randn(tuple(shape), generator=g, device=g.device) for g in sources])


def energy_generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """Return the CPU generators of the new noise over the known region in each evaluation of an inpainting run."""
    return generators([(seed + 1) % MAX_SEED for seed in seeds])


def replace_channel_mean(noise: Tensor, mean: Tensor) -> Tensor:
    """Replace the mean of noise (B, C, h, w) over the channels by `mean` (B, 1, h, w); for refiner method `vae`."""
    return noise + mean - noise.mean(dim=1, keepdim=True)


class GeneratorNoise:
    """Independent noise from generators, for ancestral samplers.

    `continued` makes the source that Fooocus uses: on the CPU the generators that drew the initial noise go on, on
    another device its own generators start from the same seeds.
    """

    def __init__(self, sources: Sequence[torch.Generator], shape: Sequence[int]) -> None:
        self._sources = list(sources)
        self._shape = tuple(shape)

    @classmethod
    def continued(
        cls, initial: Sequence[torch.Generator], shape: Sequence[int], device: torch.device | str
    ) -> GeneratorNoise:
        """Return the source for a run on `device` whose initial noise came from the CPU generators `initial`."""
        on_cpu = torch.device(device).type == "cpu"
        return cls(initial if on_cpu else generators([g.initial_seed() for g in initial], device), shape)

    def __call__(self, sigma: float, sigma_next: float) -> Tensor:
        return draw(self._sources, self._shape)


def brownian_tree(
    seed: int, shape: tuple[int, ...], low: float, high: float, device: torch.device | str
) -> torchsde.BrownianInterval:
    """Return torchsde's BrownianTree with a cache for both branches of a step; its default recomputes the first one."""
    return torchsde.BrownianInterval(
        t0=low,
        t1=high,
        size=shape,
        dtype=torch.float32,
        device=device,
        entropy=seed,
        tol=10.0**-TREE_DIGITS,
        pool_size=TREE_POOL,
        cache_size=TREE_CACHE,
        halfway_tree=True,
    )


class BrownianNoise:
    """Increments of one Brownian path per image, which add up to the same noise however a range is divided.

    N(a, b) = -(W(a) - W(b)) / sqrt(a - b) for a > b. Fooocus sorts the ends and keeps the sign of the increasing
    interval, hence the minus. Outside `low` … `high` the path is constant and adds no noise.
    (Fooocus patch.py BrownianTreeNoiseSamplerPatched; the trees are on the device of the run.)
    """

    def __init__(
        self,
        seeds: Sequence[int],
        shape: Sequence[int],
        low: float,
        high: float,
        device: torch.device | str = "cpu",
    ) -> None:
        # torchsde rounds sigma, warns beyond its ends, and does not return for two sigma that round to the same value.
        self._low, self._high = round(low, TREE_DIGITS), round(high, TREE_DIGITS)
        self._trees = [brownian_tree(seed, (1, *shape), low, high, device) for seed in seeds]

    def __call__(self, sigma: float, sigma_next: float) -> Tensor:
        ends = sorted((sigma, sigma_next))
        inside = [min(max(round(end, TREE_DIGITS), self._low), self._high) for end in ends]
        increments: Tensor = torch.cat([tree(*inside) for tree in self._trees])
        sign = -1 if sigma > sigma_next else 1
        return increments * (sign / math.sqrt(ends[1] - ends[0]))
