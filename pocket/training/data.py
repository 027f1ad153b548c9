"""Prompts as users write them: captions in several sections, among words that the model should ignore."""

from __future__ import annotations

from collections import Counter

import numpy as np

from . import draw, tokenizer, words


def learn_tokenizer(merges: int = 800, captions: int = 4000) -> tokenizer.Tokenizer:
    """Learn a tokenizer from captions (weighted higher) and filler words; the result is deterministic."""
    rng = np.random.default_rng(0)
    counts: Counter[str] = Counter()
    for _ in range(captions):
        counts.update(tokenizer.WORD.findall(draw.caption(draw.random_scene(rng), rng)))
    for phrase in (
        words.POSITIVE_FILLER + words.NEGATIVE_FILLER + [frame.replace("more", " ") for frame in words.FRAMES]
    ):
        counts.update(tokenizer.WORD.findall(phrase))
    return tokenizer.Tokenizer(tokenizer.learn_merges(counts, merges))


def positive_sections(caption: str, sections: int, rng: np.random.Generator) -> list[str]:
    """Return `sections` texts, each with the caption or only filler; at least one has the caption."""
    texts = []
    keeper = int(rng.integers(sections)) if rng.random() < 0.4 else 0
    for i in range(sections):
        if i == keeper or rng.random() < 0.35:
            texts.append(words.wrap(caption, rng) if rng.random() < 0.5 else caption)
        else:
            texts.append(words.filler(rng, words.POSITIVE_FILLER))
    return texts


def negative_sections(sections: int, rng: np.random.Generator) -> list[str]:
    """Return `sections` texts without content: empty, or words of negative prompts."""
    if rng.random() < 0.4:
        return [""] * sections
    return [words.filler(rng, words.NEGATIVE_FILLER, 16) if rng.random() < 0.85 else "" for _ in range(sections)]


def pooled_weights(sections: int, rng: np.random.Generator) -> np.ndarray:
    """Return the weights (0 or 1) of the sections' pooled vectors: 1 for the first one or more, (sections,)."""
    first = int(rng.integers(1, sections + 1))
    return (np.arange(sections) < first).astype(np.float32)


def size_ids(height: int, width: int, rng: np.random.Generator, wild: bool = True) -> list[float]:
    """Return SDXL's six ids [h, w, 0, 0, target h, target w]; the original size is 0.7 to 1.6 times the image's."""
    target_h, target_w = 64 * round(height / 64), 64 * round(width / 64)
    if not wild or rng.random() < 0.4:
        return [target_h, target_w, 0, 0, target_h, target_w]
    factor = rng.choice([0.8, 1.5]) if rng.random() < 0.6 else rng.uniform(0.7, 1.6)
    return [int(height * factor), int(width * factor), 0, 0, target_h, target_w]
