"""The sharpness filter against one pass per window offset and against the whole window unfolded.

python benchmarks/blur.py [--rounds 7]
"""

from __future__ import annotations

import argparse
from functools import partial

import torch
from fooocus_stages.pipelines.functional.anisotropic import RADIUS, SIGMA_COLOUR, gaussian_taps, joint_bilateral_blur
from timing import Stopwatch, in_turn, machine
from torch import Tensor
from torch.nn.functional import pad

SIZES = ((14, 18), (64, 64), (112, 144))


def normalised(guide: Tensor) -> Tensor:
    std, mean = torch.std_mean(guide, dim=(1, 2, 3), keepdim=True)
    return (guide - mean) / (std + 1e-5)


def per_offset(e: Tensor, guide: Tensor) -> Tensor:
    """One sweep over the picture for each of the 169 offsets."""
    height, width = e.shape[-2:]
    g = normalised(guide)
    wide_e, wide_g = (pad(t, (RADIUS,) * 4, mode="reflect") for t in (e, g))
    blurred, total = torch.zeros_like(e), torch.zeros_like(e[:, :1])
    for i, tap_i in enumerate(gaussian_taps()):
        for j, tap_j in enumerate(gaussian_taps()):
            window = (..., slice(i, i + height), slice(j, j + width))
            distance = (wide_g[window] - g).abs().sum(dim=1, keepdim=True)
            weight = (distance.square() * (-0.5 / SIGMA_COLOUR**2)).exp() * (tap_i * tap_j)
            blurred += weight * wide_e[window]
            total += weight
    return blurred / total


def unfolded(e: Tensor, guide: Tensor) -> Tensor:
    """The whole window at once: 169 copies of the picture."""
    side = 2 * RADIUS + 1
    g = normalised(guide)
    windows = [pad(t, (RADIUS,) * 4, mode="reflect").unfold(2, side, 1).unfold(3, side, 1) for t in (e, g)]
    taps = torch.tensor(gaussian_taps())
    distance = (windows[1] - g[..., None, None]).abs().sum(dim=1, keepdim=True)
    weight = (distance.square() * (-0.5 / SIGMA_COLOUR**2)).exp() * torch.outer(taps, taps)
    return (weight * windows[0]).sum(dim=(-2, -1)) / weight.sum(dim=(-2, -1))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--sizes", type=int, default=len(SIZES), help="how many of the sizes to run")
    given = options.parse_args()
    print(f"{machine()}; times over that of the pack's filter")
    for height, width in SIZES[: given.sizes]:
        e, guide = torch.randn(2, 1, 4, height, width)
        for name, other in (("per offset", per_offset), ("unfolded", unfolded)):
            torch.testing.assert_close(other(e, guide), joint_bilateral_blur(e, guide), rtol=1e-4, atol=1e-5)
            watch = Stopwatch(torch.device("cpu"))
            ratio = in_turn(partial(other, e, guide), partial(joint_bilateral_blur, e, guide), given.rounds, watch)
            print(f"{width:4}×{height:<4} {name:11} {ratio}")


if __name__ == "__main__":
    main()
