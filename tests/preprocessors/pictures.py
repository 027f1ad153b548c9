"""Pictures by formula, with the fingerprints of what Fooocus makes of them in the tests that use them."""

from __future__ import annotations

import hashlib

import numpy as np


def waves(height: int, width: int) -> np.ndarray:
    """Sine waves across in red and down in green, a chessboard of 16 pixels in blue."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    red, green = 127.5 + 127.5 * np.sin(2 * np.pi * x / 37), 127.5 + 127.5 * np.sin(2 * np.pi * y / 53)
    return np.stack([red, green, 255 * ((x // 16 + y // 16) % 2)], axis=-1).astype(np.uint8)


def disc() -> np.ndarray:
    """An orange disc on black."""
    y, x = np.mgrid[:512, :512]
    picture = np.zeros((512, 512, 3), np.uint8)
    picture[(x - 256) ** 2 + (y - 256) ** 2 < 150**2] = (200, 120, 40)
    return picture


def noise(height: int, width: int) -> np.ndarray:
    """Each value by itself."""
    return np.random.RandomState(0).randint(0, 256, (height, width, 3)).astype(np.uint8)


def digest(picture: np.ndarray) -> str:
    """The beginning of the SHA-256 of its bytes."""
    return hashlib.sha256(np.ascontiguousarray(picture).tobytes()).hexdigest()[:16]
