"""The sharpness filter against one pass per window offset and against the whole window unfolded: time and memory.

python benchmarks/blur.py [--rounds 7]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from fooocus_stages.pipelines.functional.anisotropic import RADIUS, SIGMA_COLOUR, gaussian_taps, joint_bilateral_blur
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


def seconds(work: Callable[[Tensor, Tensor], Tensor], e: Tensor, guide: Tensor) -> float:
    start = time.perf_counter()
    work(e, guide)
    return time.perf_counter() - start


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=7)
    rounds = options.parse_args().rounds
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; times over that of the pack's filter")
    for height, width in SIZES:
        e, guide = torch.randn(2, 1, 4, height, width)
        for name, other in (("per offset", per_offset), ("unfolded", unfolded)):
            torch.testing.assert_close(other(e, guide), joint_bilateral_blur(e, guide), rtol=1e-4, atol=1e-5)
            pairs = [(seconds(other, e, guide), seconds(joint_bilateral_blur, e, guide)) for _ in range(rounds)]
            ratio = statistics.median(theirs / ours for theirs, ours in pairs)
            ours = statistics.median(ours for _, ours in pairs)
            print(f"{width:4}×{height:<4} {name:11} {ratio:5.2f} ×   (the pack's: {ours * 1e3:.1f} ms)")


if __name__ == "__main__":
    main()
