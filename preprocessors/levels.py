"""Stretching the values of a map over 0…255 (Fooocus extras/preprocessors.py: norm255)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def stretched(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.uint8]:
    """Finite values (H, W) rescaled so that the percentiles `low` and `high` become 0 and 255; clipped and truncated.

    If the two are equal, higher values become 255 and all others 0: a flat map is black. `values` is overwritten.
    """
    first, last = np.percentile(values, (low, high))
    if first == last:
        black_and_white: NDArray[np.uint8] = np.where(values > first, np.uint8(255), np.uint8(0))
        return black_and_white
    values -= np.float32(first)
    values /= np.float32(last) - np.float32(first)
    values *= np.float32(255)
    return values.clip(0, 255, out=values).astype(np.uint8)
