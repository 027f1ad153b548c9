"""Prompts as they come at run time: captions in several sections, wrapped in words that the model should ignore."""

from __future__ import annotations

from collections import Counter

import numpy as np

from . import draw, tokenizer, words


def learn_tokenizer(merges: int = 800, captions: int = 4000) -> tokenizer.Tokenizer:
    """A tokenizer of captions (which weigh more) and filler words, always the same."""
    rng = np.random.default_rng(0)
    counts: Counter[str] = Counter()
    for _ in range(captions):
        counts.update(tokenizer.WORD.findall(draw.caption(draw.random_scene(rng), rng)))
    for phrase in words.PRAISE + words.BLAME + [frame.replace("more", " ") for frame in words.FRAMES]:
        counts.update(tokenizer.WORD.findall(phrase))
    return tokenizer.Tokenizer(tokenizer.learn_merges(counts, merges))


def positive_sections(caption: str, sections: int, rng: np.random.Generator) -> list[str]:
    """`sections` texts; each holds the caption or only filler, and at least one holds the caption."""
    texts = []
    keeper = int(rng.integers(sections)) if rng.random() < 0.4 else 0
    for i in range(sections):
        if i == keeper or rng.random() < 0.35:
            texts.append(words.wrap(caption, rng) if rng.random() < 0.5 else caption)
        else:
            texts.append(words.filler(rng, words.PRAISE))
    return texts


def negative_sections(sections: int, rng: np.random.Generator) -> list[str]:
    """`sections` texts that say nothing: empty or forbidden words."""
    if rng.random() < 0.4:
        return [""] * sections
    return [words.filler(rng, words.BLAME, 16) if rng.random() < 0.85 else "" for _ in range(sections)]


def sum_weights(sections: int, rng: np.random.Generator) -> np.ndarray:
    """Which sections' pooled vectors are added up: the first one or more, (sections,) of 0 and 1."""
    first = int(rng.integers(1, sections + 1))
    return (np.arange(sections) < first).astype(np.float32)


def size_ids(height: int, width: int, rng: np.random.Generator, wild: bool = True) -> list[float]:
    """SDXL's six ids [h, w, 0, 0, target h, target w]; the original size is anything from 0.7 to 1.6 times."""
    target_h, target_w = 64 * round(height / 64), 64 * round(width / 64)
    if not wild or rng.random() < 0.4:
        return [target_h, target_w, 0, 0, target_h, target_w]
    factor = rng.choice([0.8, 1.5]) if rng.random() < 0.6 else rng.uniform(0.7, 1.6)
    return [int(height * factor), int(width * factor), 0, 0, target_h, target_w]
