"""Where randomness comes from. Every picture of a batch has its own seed and gets what it would get alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
import torchsde
from torch import Tensor

MAX_SEED = 2**63 - 1
TREE_DIGITS = 6  # how finely a Brownian tree knows σ
TREE_POOL = 24  # words of entropy that a node is seeded from: the numbers follow from it
TREE_CACHE = 100  # increments kept; a step needs about fifty


class Noise(Protocol):
    """Unit noise for the step from `sigma` to `sigma_next`: (B, C, h, w) float32 on the device of the run."""

    def __call__(self, sigma: float, sigma_next: float) -> Tensor: ...


def generators(seeds: Sequence[int], device: torch.device | str = "cpu") -> list[torch.Generator]:
    """One generator per picture, freshly seeded."""
    return [torch.Generator(device).manual_seed(seed) for seed in seeds]


def draw(sources: Sequence[torch.Generator], shape: Sequence[int]) -> Tensor:
    """The next standard normal of each picture: (B, *shape) float32 on the generators' device."""
    return torch.stack([torch.randn(tuple(shape), generator=g, device=g.device) for g in sources])


def energy_generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """Generators of the fresh noise over the known region of an inpainted picture (CPU, once per evaluation)."""
    return generators([(seed + 1) % MAX_SEED for seed in seeds])


def replace_channel_mean(noise: Tensor, mean: Tensor) -> Tensor:
    """Noise (B, C, h, w) whose mean over the channels becomes `mean` (B, 1, h, w); refiner method `vae`."""
    return noise + mean - noise.mean(dim=1, keepdim=True)


class GeneratorNoise:
    """Independent noise from generators: what ancestral samplers add.

    On the CPU hand over the generators that drew the initial noise: Fooocus continues that stream. Elsewhere the
    device's own generator starts with the same seed: `continued`.
    """

    def __init__(self, sources: Sequence[torch.Generator], shape: Sequence[int]) -> None:
        self._sources = list(sources)
        self._shape = tuple(shape)

    @classmethod
    def continued(
        cls, initial: Sequence[torch.Generator], shape: Sequence[int], device: torch.device | str
    ) -> GeneratorNoise:
        """The source for a run on `device` after the CPU generators `initial` drew its start; `shape` (C, h, w)."""
        on_cpu = torch.device(device).type == "cpu"
        return cls(initial if on_cpu else generators([g.initial_seed() for g in initial], device), shape)

    def __call__(self, sigma: float, sigma_next: float) -> Tensor:
        return draw(self._sources, self._shape)


def brownian_tree(
    seed: int, shape: tuple[int, ...], low: float, high: float, device: torch.device | str
) -> torchsde.BrownianInterval:
    """torchsde's BrownianTree, with room for the two branches that a step descends: its own forgets the first while
    it is on the second, and draws it anew."""
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
    """Increments of one Brownian path per picture: noise that adds up the same however a range is divided.

    N(a, b) = −(W(a) − W(b)) / √(a − b) for a > b. Fooocus sorts the ends and keeps the sign of the rising interval,
    so the minus stays. Outside `low` … `high` the path stands still: no noise there.
    (Fooocus patch.py BrownianTreeNoiseSamplerPatched; the trees live on the device of the run.)
    """

    def __init__(
        self,
        seeds: Sequence[int],
        shape: Sequence[int],
        low: float,
        high: float,
        device: torch.device | str = "cpu",
    ) -> None:
        # The tree rounds σ, warns beyond its ends, and never returns between two σ that round to the same: so
        # rounding and clamping are done here.
        self._low, self._high = round(low, TREE_DIGITS), round(high, TREE_DIGITS)
        self._trees = [brownian_tree(seed, (1, *shape), low, high, device) for seed in seeds]

    def __call__(self, sigma: float, sigma_next: float) -> Tensor:
        ends = sorted((sigma, sigma_next))
        inside = [min(max(round(end, TREE_DIGITS), self._low), self._high) for end in ends]
        increments: Tensor = torch.cat([tree(*inside) for tree in self._trees])
        sign = -1 if sigma > sigma_next else 1
        return increments * (sign / math.sqrt(ends[1] - ends[0]))
