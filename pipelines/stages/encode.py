"""Encoding: composed texts to native conditioning (Fooocus modules/default_pipeline.py: clip_encode)."""

from __future__ import annotations

from typing import Any

from ..host import Host
from ..models import clip as clips
from ..types import Clip, Prompt, SamplingSettings

Conditioning = list[list[Any]]

PROMPT, CLIP_SKIP = "fooocus_prompt", "fooocus_clip_skip"  # what the positive side keeps, for the picture's text


def encode(host: Host, clip: Clip, prompt: Prompt, settings: SamplingSettings) -> tuple[Conditioning, Conditioning]:
    """Positive and negative conditioning: [[tokens (1, 77·n, D), {"pooled_output": (1, P)}]], float32 on the CPU.

    With guidance 1 the negative texts are not read: the positive side stands for both.
    """
    positive = encode_texts(host, clip, prompt.positive, prompt.positive_top_k)
    positive[0][1] |= {PROMPT: prompt, CLIP_SKIP: clip.skip}
    if abs(settings.cfg - 1.0) < 1e-4:
        return positive, positive
    return positive, encode_texts(host, clip, prompt.negative, prompt.negative_top_k)


def encode_texts(host: Host, clip: Clip, texts: tuple[str, ...], pool_top_k: int) -> Conditioning:
    """Each text on its own, joined along the tokens; the pooled vectors of the first `pool_top_k` texts are summed."""
    device = host.load("text", *(encoder.network.module for encoder in clip.encoders))
    for encoder in clip.encoders:
        encoder.network.merge(encoder.patches)
    tokens, pooled = clips.encode_texts(clip, texts, pool_top_k, device)
    return [[tokens.cpu(), {"pooled_output": pooled.cpu()}]]
