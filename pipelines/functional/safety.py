"""Scores of the Stable Diffusion safety checker (CompVis; diffusers' StableDiffusionSafetyChecker), and blurring."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, interpolate

CARE = 0.01  # added to the scores that follow a special-care concept
DECIMALS = 3
BLURRED_CELLS = 12  # of what is left of a blurred image along its longer side


def similarity(embeds: Tensor, concepts: Tensor) -> Tensor:
    """Cosine similarities (B, C) of image embeddings (B, D) to concepts (C, D), in float32."""
    return cosine_similarity(embeds.float()[:, None], concepts.float()[None], dim=-1)


def special_scores(similarities: Tensor, thresholds: Tensor) -> tuple[Tensor, Tensor]:
    """Scores (B, S) of special-care concepts by similarity (B, S), and what they add to all later scores (B,).

    From the first special-care concept with a score above 0 on, CARE is added to every further score of that image.
    """
    added, scores = similarities.new_zeros(len(similarities)), []
    for similar, threshold in zip(similarities.unbind(1), thresholds.unbind(), strict=True):
        scores.append((similar - threshold + added).round(decimals=DECIMALS))
        added = torch.where(scores[-1] > 0, CARE, added)
    return torch.stack(scores, dim=1), added


def concept_scores(similarities: Tensor, thresholds: Tensor, added: Tensor) -> Tensor:
    """Scores (B, C) of concepts by similarity (B, C), thresholds (C,) and `added` (B,): above 0 an image is flagged."""
    return (similarities - thresholds + added[:, None]).round(decimals=DECIMALS)


def blurred(images: Tensor) -> Tensor:
    """Images (B, C, H, W) of which only 12 cells along the longer side are left, smoothly enlarged again."""
    height, width = images.shape[-2:]
    cells = [max(1, min(side, round(BLURRED_CELLS * side / max(height, width)))) for side in (height, width)]
    small = interpolate(images, size=cells, mode="area")
    return interpolate(small, size=(height, width), mode="bicubic").clamp(0, 1)
