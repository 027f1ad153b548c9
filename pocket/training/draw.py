"""Seeded drawings of one coloured shape on a plain background, their captions, and a judge that reads pixels.

A scene is six words: shape, colour, background, pattern, size and position. A hash of four of them (shape, colour,
background, position), which every unseen caption names, splits the scenes into seen and unseen ones.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from ...pipelines.opencv import cv2

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (208, 24, 36),
    "orange": (242, 122, 16),
    "yellow": (250, 226, 60),
    "green": (34, 150, 62),
    "blue": (36, 74, 214),
    "purple": (134, 44, 166),
    "white": (246, 246, 246),
    "black": (22, 22, 24),
}
SHAPES = ("circle", "square", "triangle", "star", "diamond", "cross")
PATTERNS = ("plain", "striped", "dotted")
SIZES = {"small": (0.14, 0.165), "medium": (0.205, 0.235), "large": (0.275, 0.305)}
POSITIONS = {
    "left": (0.25, 0.5),
    "right": (0.75, 0.5),
    "top": (0.5, 0.25),
    "bottom": (0.5, 0.75),
    "centre": (0.5, 0.5),
}
WORDS: dict[str, tuple[str, ...]] = {  # the values of each field of a scene
    "shape": SHAPES,
    "colour": tuple(COLOURS),
    "background": tuple(COLOURS),
    "pattern": PATTERNS,
    "size": tuple(SIZES),
    "position": tuple(POSITIONS),
}
PALETTE = np.array(list(COLOURS.values()), dtype=np.float32)  # (8, 3)
LIGHT = ("white", "yellow", "orange")


@dataclass(frozen=True)
class Scene:
    """The content of a drawing, in words."""

    shape: str
    colour: str
    background: str
    pattern: str = "plain"
    size: str = "medium"
    position: str = "centre"


@dataclass(frozen=True)
class Verdict:
    """The judge's reading: colour names and a position, or None where there is no shape."""

    background: str
    colour: str | None
    position: str | None


def is_unseen(scene: Scene) -> bool:
    """Return True for the twelfth of the scenes that training never draws."""
    key = f"{scene.shape}/{scene.colour}/{scene.background}/{scene.position}"
    return hashlib.sha256(key.encode()).digest()[0] % 12 == 0


def random_scene(rng: np.random.Generator, unseen: bool = False) -> Scene:
    """Draw a random scene of one split; the colours of shape and background always differ."""
    while True:
        colour, background = rng.choice(list(COLOURS), size=2, replace=False)
        scene = Scene(
            shape=str(rng.choice(SHAPES)),
            colour=str(colour),
            background=str(background),
            pattern=str(rng.choice(PATTERNS, p=(0.5, 0.25, 0.25))),
            size=str(rng.choice(list(SIZES), p=(0.3, 0.4, 0.3))),
            position=str(rng.choice(list(POSITIONS))),
        )
        if is_unseen(scene) == unseen:
            return scene


# ---------------------------------------------------------------------------------------------- captions

PLACES = {
    "left": ("on the left", "at the left side", "left side"),
    "right": ("on the right", "at the right side", "right side"),
    "top": ("at the top", "in the upper part", "top"),
    "bottom": ("at the bottom", "in the lower part", "bottom"),
    "centre": ("in the centre", "in the middle", "in the center", "centered"),
}
GROUNDS = ("{} background", "a {} background", "{}")


def _thing(scene: Scene, rng: np.random.Generator, complete: bool) -> str:
    """Return size, pattern, colour and shape, e.g. "large striped red square"; with `complete`, none is left out."""
    words = []
    if scene.size != "medium" and (complete or rng.random() < 0.9):
        words.append(
            {"small": ("small", "little", "tiny"), "large": ("large", "big", "huge")}[scene.size][
                int(rng.choice(3, p=(0.6, 0.25, 0.15)))
            ]
        )
    if scene.pattern != "plain":
        if complete or rng.random() < 0.92:
            words.append(scene.pattern)
    elif rng.random() < 0.25:
        words.append("plain")
    if complete or rng.random() < 0.96:
        words.append(scene.colour)
    return " ".join([*words, scene.shape])


def caption(scene: Scene, rng: np.random.Generator, complete: bool = False) -> str:
    """Return one of several phrasings; without `complete`, some fields are sometimes left out."""
    thing = _thing(scene, rng, complete)
    article = "an" if thing[0] in "aeiou" else "a"
    hush = 0.45 if scene.position == "centre" else 0.06
    place = "" if not complete and rng.random() < hush else str(rng.choice(PLACES[scene.position]))
    ground = "" if not complete and rng.random() < 0.06 else scene.background
    ground_article = "an" if ground[:1] in tuple("aeiou") else "a"
    full = f"{ground_article} {ground} background" if ground else ""
    kind = int(rng.integers(6))
    if kind == 0:
        parts = [f"{article} {thing} on {full}" if full else f"{article} {thing}", place]
    elif kind == 1:
        parts = [place, f"{article} {thing} on {ground}" if ground else f"{article} {thing}"]
    elif kind == 2:
        parts = [f"{article} {thing} {place}".strip(), full]
    elif kind == 3:
        parts = [f"{ground} background" if ground else "", thing, place]
    elif kind == 4:
        lead = str(rng.choice(["a picture of", "a photo of", "a drawing of", "an image of"]))
        parts = [f"{lead} {article} {thing} on {full}" if full else f"{lead} {article} {thing}", place]
    else:
        parts = [f"{thing}, {place}" if place else thing, f"{ground} background" if ground else ""]
    return ", ".join(part for part in parts if part)


# ---------------------------------------------------------------------------------------------- pictures


def _outline(shape: str) -> np.ndarray:
    """Return the corners of a unit polygon, (n, 2), y down."""
    if shape == "square":
        return np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], float) * 0.86
    if shape == "triangle":
        return np.array([(0, -1), (1, 0.8), (-1, 0.8)], float)
    if shape == "diamond":
        return np.array([(0, -1.12), (0.86, 0), (0, 1.12), (-0.86, 0)], float)
    if shape == "cross":
        a = 0.36
        return np.array(
            [
                (-a, -1),
                (a, -1),
                (a, -a),
                (1, -a),
                (1, a),
                (a, a),
                (a, 1),
                (-a, 1),
                (-a, a),
                (-1, a),
                (-1, -a),
                (-a, -a),
            ],
            float,
        )
    angles = np.arange(10) * np.pi / 5 - np.pi / 2
    radii = np.where(np.arange(10) % 2 == 0, 1.15, 0.52)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def shape_mask(shape: str, centre: tuple[float, float], radius: float, height: int, width: int) -> np.ndarray:
    """Return the antialiased coverage of one shape, float32 (H, W) in 0..1; centre and radius in pixels."""
    mask = np.zeros((height, width), np.uint8)
    bits = 6
    scale = 1 << bits
    if shape == "circle":
        at = (round(centre[0] * scale), round(centre[1] * scale))
        cv2.circle(mask, at, round(radius * scale), 255, -1, cv2.LINE_AA, bits)
    else:
        points = (_outline(shape) * radius + np.array(centre)) * scale
        cv2.fillPoly(mask, [np.round(points).astype(np.int32)], 255, cv2.LINE_AA, bits)
    return mask.astype(np.float32) / 255


def _pattern(pattern: str, centre: tuple[float, float], unit: float, height: int, width: int) -> np.ndarray:
    """Return the coverage of stripes or dots over the whole image, float32 (H, W); `unit` is the shorter side."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x, y = x - centre[0], y - centre[1]
    edge = 1.5
    if pattern == "striped":
        period = 0.12 * unit
        ripple = np.abs(((x + y) * 0.7071 / period) % 1 - 0.5) * period  # distance from the base stripe's rim
        stripes: np.ndarray = np.clip((0.19 * period - ripple) * edge + 0.5, 0, 1)
        return stripes
    if pattern == "dotted":
        period = 0.115 * unit
        dx = ((x / period + 0.5) % 1 - 0.5) * period
        dy = ((y / period + 0.5) % 1 - 0.5) * period
        dots: np.ndarray = np.clip((0.32 * period - np.hypot(dx, dy)) * edge + 0.5, 0, 1)
        return dots
    return np.zeros((height, width), np.float32)


def accent(colour: str) -> np.ndarray:
    """Return the colour of stripes and dots: halfway to black on light colours, to white on dark ones."""
    base = np.array(COLOURS[colour], np.float32)
    return base * 0.5 + (0.0 if colour in LIGHT else 127.5)


def draw(scene: Scene, rng: np.random.Generator, height: int = 128, width: int = 128) -> np.ndarray:
    """Draw a scene, uint8 RGB (H, W, 3), with a little jitter of position, size and colour."""
    unit = min(height, width)
    radius = rng.uniform(*SIZES[scene.size]) * unit
    margin = 1.02 * radius + 0.01 * unit
    fx, fy = POSITIONS[scene.position] + rng.uniform(-0.025, 0.025, 2)
    centre = (float(np.clip(fx * width, margin, width - margin)), float(np.clip(fy * height, margin, height - margin)))
    mask = shape_mask(scene.shape, centre, radius, height, width)[..., None]
    over = _pattern(scene.pattern, centre, unit, height, width)[..., None]
    tint = rng.uniform(-8, 8, (2, 3)).astype(np.float32)
    ink = np.array(COLOURS[scene.colour], np.float32) * (1 - over) + accent(scene.colour) * over + tint[0]
    ground = np.array(COLOURS[scene.background], np.float32) + tint[1]
    picture: np.ndarray = np.clip(ground * (1 - mask) + ink * mask + 0.5, 0, 255).astype(np.uint8)
    return picture


def draw_abstract(rng: np.random.Generator, height: int = 128, width: int = 128) -> np.ndarray:
    """Draw many shapes on a gradient, uint8 RGB (H, W, 3): training data that broadens what the VAE can encode."""
    corners = rng.uniform(0, 255, (2, 2, 3)).astype(np.float32)
    canvas = cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR)
    unit = min(height, width)
    for _ in range(int(rng.integers(1, 6))):
        centre = (float(rng.uniform(0, width)), float(rng.uniform(0, height)))
        mask = shape_mask(str(rng.choice(SHAPES)), centre, rng.uniform(0.08, 0.4) * unit, height, width)[..., None]
        ink = rng.uniform(0, 255, 3).astype(np.float32)
        canvas = canvas * (1 - mask) + ink * mask
    if rng.random() < 0.4:
        canvas = cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.5, 4))
    if rng.random() < 0.3:
        grain = rng.normal(0, 14, (height // 4, width // 4, 3)).astype(np.float32)
        canvas = canvas + cv2.resize(grain, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(canvas, 0, 255).astype(np.uint8)


# ---------------------------------------------------------------------------------------------- the judge


def _nearest_colour(pixels: np.ndarray) -> np.ndarray:
    """Return the palette index of each pixel, (...,) from (..., 3)."""
    nearest: np.ndarray = ((pixels[..., None, :].astype(np.float32) - PALETTE) ** 2).sum(-1).argmin(-1)
    return nearest


def judge(picture: np.ndarray) -> Verdict:
    """Read background, shape colour and position from pixels alone, uint8 RGB (H, W, 3)."""
    height, width = picture.shape[:2]
    names = list(COLOURS)
    border = max(3, min(height, width) // 24)
    rim = np.ones((height, width), bool)
    rim[border:-border, border:-border] = False
    ground_colour = np.median(picture[rim], axis=0)
    background = names[int(_nearest_colour(ground_colour))]
    away = np.abs(picture.astype(np.float32) - ground_colour).max(-1) > 48
    count, labels, stats, _ = cv2.connectedComponentsWithStats(away.astype(np.uint8), connectivity=8)
    if count < 2 or stats[1:, cv2.CC_STAT_AREA].max() < 0.008 * height * width:
        return Verdict(background, None, None)
    blob = labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    ys, xs = np.nonzero(blob)
    centre = np.array([(xs.min() + xs.max()) / 2 / width, (ys.min() + ys.max()) / 2 / height])
    inside = cv2.erode(blob.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    votes = np.bincount(_nearest_colour(picture[inside if inside.any() else blob]), minlength=len(names))
    anchors = np.array(list(POSITIONS.values()))
    position = list(POSITIONS)[int(((anchors - centre) ** 2).sum(-1).argmin())]
    return Verdict(background, names[int(votes.argmax())], position)
