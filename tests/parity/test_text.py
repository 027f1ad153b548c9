"""Tokens, emphasis, long prompts, several texts, clip skip and the pooled sum."""

from __future__ import annotations

from dataclasses import replace

import torch
from fooocus_stages.pipelines.models.clip import encode_texts

from . import nano
from .golden import Case, assert_near, each_case

CHANNELS_KEPT = 16


def on_cpu(*_: object) -> torch.device:
    """Leave modules where they are."""
    return torch.device("cpu")


@each_case("text")
def test_tokens_and_weights(case: Case) -> None:
    clip = nano.sdxl_clip()
    for encoder, letter in zip(clip.encoders, "lg", strict=True):
        for i, text in enumerate(case.params["texts"]):
            ours = torch.tensor(clip.tokenizer.sections(text, encoder.pad))
            assert torch.equal(ours, case.output(f"tokens_{letter}_{i}").reshape(-1, 77, 2))


@each_case("text")
def test_encoding(case: Case) -> None:
    clip = nano.sdxl_clip()
    clip = replace(clip, skip=case.params["clip_skip"])
    hidden, pooled = encode_texts(clip, case.params["texts"], case.params["pool_top_k"], on_cpu)
    assert_near(hidden[..., ::CHANNELS_KEPT], case.output("cond"), of_max=1e-4)
    assert_near(pooled, case.output("pooled"), of_max=1e-4)
