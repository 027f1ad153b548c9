"""Processing of large images in overlapping tiles (Fooocus tiled_scale, VAE decode_tiled and encode_tiled)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

TileFunction = Callable[[Tensor], Tensor]
"""Tiles (T, C, h, w) -> (T, D, k·h, k·w)."""

DECODE_TILES = ((32, 128), (128, 32), (64, 64))  # (width, height) in latent cells
ENCODE_TILES = ((512, 512), (1024, 256), (256, 1024))  # (width, height) in pixels


def tile_slices(
    height: int, width: int, tile_width: int, tile_height: int, overlap: int
) -> Iterator[tuple[slice, slice]]:
    """Yield (rows, columns) of every tile, row by row; tiles at the bottom and right edges may be smaller."""
    for y in range(0, height, tile_height - overlap):
        for x in range(0, width, tile_width - overlap):
            yield slice(y, min(y + tile_height, height)), slice(x, min(x + tile_width, width))


def feather(height: int, width: int, border: int) -> Tensor:
    """Return the weights (height, width) of a tile: a ramp of `border` steps from each side, also at image edges."""
    return torch.outer(_ramp(height, border), _ramp(width, border))


def _ramp(size: int, border: int) -> Tensor:
    """Return factors (t + 1)/border for pixel t < border from either end.

    In a tile smaller than the border the far ramp wraps round once, as in Fooocus.
    """
    weight = torch.ones(size)
    for t in range(border):
        factor = (t + 1) / border
        if t < size:
            weight[t] *= factor
        if t < size:
            weight[size - 1 - t] *= factor
        elif size < t < 2 * size:
            weight[2 * size - 1 - t] *= factor
    return weight


def tiled_scale(
    samples: Tensor,
    f: TileFunction,
    tile_width: int,
    tile_height: int,
    overlap: int,
    scale: float,
    tiles_at_once: int = 1,
) -> Tensor:
    """Apply f to tiles of samples (B, C, H, W) and blend the results; f scales height and width by `scale`.

    Tiles of equal size are batched, `tiles_at_once` in one call.
    """
    pictures = [
        _tiled_one(samples[k : k + 1], f, tile_width, tile_height, overlap, scale, tiles_at_once)
        for k in range(len(samples))
    ]
    return torch.cat(pictures)


def _tiled_one(
    picture: Tensor, f: TileFunction, tile_width: int, tile_height: int, overlap: int, scale: float, at_once: int
) -> Tensor:
    height, width = picture.shape[-2:]
    places = list(tile_slices(height, width, tile_width, tile_height, overlap))
    total = weights = torch.zeros(())
    for (rows, columns), tile in _evaluated(picture, f, places, at_once):
        if total.ndim == 0:
            total = tile.new_zeros((1, tile.shape[1], round(height * scale), round(width * scale)))
            weights = torch.zeros_like(total[:, :1])
        h, w = tile.shape[-2:]
        top, left = round(rows.start * scale), round(columns.start * scale)
        mask = feather(h, w, round(overlap * scale)).to(tile)
        total[..., top : top + h, left : left + w] += tile * mask
        weights[..., top : top + h, left : left + w] += mask
    return total.div_(weights)


def _evaluated(
    picture: Tensor, f: TileFunction, places: list[tuple[slice, slice]], at_once: int
) -> Iterator[tuple[tuple[slice, slice], Tensor]]:
    """Yield (place, f(tile)) for every place; tiles of equal size share a call."""
    by_size: dict[tuple[int, int], list[tuple[slice, slice]]] = defaultdict(list)
    for rows, columns in places:
        by_size[rows.stop - rows.start, columns.stop - columns.start].append((rows, columns))
    for same in by_size.values():
        for first in range(0, len(same), at_once):
            group = same[first : first + at_once]
            tiles = f(torch.cat([picture[..., rows, columns] for rows, columns in group]))
            yield from ((place, tiles[k : k + 1]) for k, place in enumerate(group))


def tiled_decode(latents: Tensor, decoder: TileFunction, tiles_at_once: int = 1) -> Tensor:
    """Decode raw latents (B, 4, h, w) to images (B, 3, 8h, 8w) in 0…1: the mean of three passes in tiles of 64² cells.

    `decoder` returns values of about -1…1, as the VAE does.
    """

    def shifted(tiles: Tensor) -> Tensor:
        return decoder(tiles).float() + 1

    passes = (tiled_scale(latents, shifted, w, h, 16, 8, tiles_at_once) for w, h in DECODE_TILES)
    return _mean(passes, len(DECODE_TILES)).div_(2).clamp_(0, 1)


def tiled_encode(pixels: Tensor, encoder: TileFunction, tiles_at_once: int = 1) -> Tensor:
    """Encode images (B, 3, H, W), sides multiples of 8, to latents (B, 4, H/8, W/8): the mean of three passes.

    `encoder` has the inputs and outputs of the VAE's; one that samples its posterior does so for every tile.
    """
    passes = (tiled_scale(pixels, encoder, w, h, 64, 1 / 8, tiles_at_once).float() for w, h in ENCODE_TILES)
    return _mean(passes, len(ENCODE_TILES))


def _mean(passes: Iterator[Tensor], count: int) -> Tensor:
    """Return the mean of tensors, holding one at a time."""
    total = next(passes)
    for one in passes:
        total += one
    return total.div_(count)
