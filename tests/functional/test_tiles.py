"""Tiles: where they lie, how they blend, and that they are put back together."""

from __future__ import annotations

import pytest
import torch
from fooocus_stages.pipelines.functional import tiles
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate


@pytest.mark.parametrize(("size", "border", "profile"), [
    (10, 8, [1, 2, 3, 3.5, 3.75, 3.75, 3.5, 3, 2, 1]), (6, 8, [1, 5 / 3, 2, 2, 5 / 3, 1]), (5, 0, [1, 1, 1, 1, 1]),
])  # fmt: skip
def test_feather(size: int, border: int, profile: list[float]) -> None:
    ours = tiles.feather(size, size, border)
    middle = ours[size // 2]
    assert (middle / middle[0]).tolist() == pytest.approx(profile, rel=1e-6)
    torch.testing.assert_close(ours, ours.T)


@pytest.mark.parametrize(("height", "width", "shapes", "overlap", "counts"), [
    (112, 144, tiles.DECODE_TILES, 16, [9, 14, 9]), (896, 1152, tiles.ENCODE_TILES, 64, [6, 10, 6]),
])  # fmt: skip
def test_tile_counts(height: int, width: int, shapes: tuple, overlap: int, counts: list[int]) -> None:
    assert [len(list(tiles.tile_slices(height, width, w, h, overlap))) for w, h in shapes] == counts


def enlarge(x: Tensor) -> Tensor:
    return interpolate(x[:, :3], scale_factor=8, mode="nearest")


@pytest.mark.parametrize("at_once", [1, 4])
@pytest.mark.parametrize("size", [(8, 8), (70, 49), (64, 113)])
def test_a_local_decoder_is_not_changed_by_tiling(size: tuple[int, int], at_once: int) -> None:
    z = torch.rand(2, 4, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    torch.testing.assert_close(tiles.tiled_decode(z, enlarge, at_once), (enlarge(z) + 1) / 2, atol=1e-5, rtol=0)


def test_a_local_encoder_is_not_changed_by_tiling() -> None:
    pixels = torch.rand(1, 3, 520, 600, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(tiles.tiled_encode(pixels, lambda x: avg_pool2d(x, 8)), avg_pool2d(pixels, 8))


def test_tiles_of_one_size_share_a_call() -> None:
    calls: list[tuple[int, ...]] = []

    def decoder(x: Tensor) -> Tensor:
        calls.append(tuple(x.shape))
        return enlarge(x)

    tiles.tiled_scale(torch.zeros(1, 4, 112, 144), decoder, 64, 64, 16, 8, tiles_at_once=4)
    assert calls == [(4, 4, 64, 64), (2, 4, 64, 48), (2, 4, 16, 64), (1, 4, 16, 48)]


def test_blending_follows_the_weights() -> None:
    """Tiles at 0, 4 and 8 that answer 0, 1 and 1: where the first two overlap they share by weight."""
    answers = iter([0.0, 1.0, 1.0])
    ours = tiles.tiled_scale(torch.zeros(1, 1, 4, 12), lambda x: x + next(answers), 8, 8, 4, 1)
    ramp = tiles.feather(4, 8, 4)[0]
    shares = ramp[:4] / (ramp[4:] + ramp[:4])
    assert ours[0, 0, 0].tolist() == pytest.approx([0] * 4 + shares.tolist() + [1] * 4)
