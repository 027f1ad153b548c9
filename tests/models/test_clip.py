"""Texts to conditioning, against transformers and by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from fooocus_stages.pipelines.errors import BadValue
from fooocus_stages.pipelines.models.checkpoint import Checkpoint
from fooocus_stages.pipelines.models.clip import encode_texts, reweight
from fooocus_stages.pipelines.models.handles import Clip
from torch import Tensor

LAYERS = 3


def on_cpu(*_: object) -> torch.device:
    """Leave modules where they are."""
    return torch.device("cpu")


@pytest.fixture
def clip(tiny: Checkpoint) -> Clip:
    assert tiny.clip is not None
    return tiny.clip


def raw(clip: Clip, which: int, text: str) -> Any:
    """What transformers gives for a text in one section."""
    encoder = clip.encoders[which]
    ids = torch.tensor([[token for token, _ in section] for section in clip.tokenizer.sections(text, encoder.pad)])
    return cast(Any, encoder.network.module)(input_ids=ids, output_hidden_states=True)


@pytest.mark.parametrize("skip", [1, 2, 3, 4, 5, 12])
def test_clip_skip_counts_from_the_last_layer_without_its_norm(clip: Clip, skip: int) -> None:
    hidden, pooled = encode_texts(replace(clip, skip=skip), ["red cat"], 1, on_cpu)
    outputs = [raw(clip, which, "red cat") for which in (0, 1)]
    wanted = [o.hidden_states[-skip] if skip <= LAYERS else o.last_hidden_state for o in outputs]
    assert torch.allclose(hidden, torch.cat(wanted, dim=-1), atol=1e-6)
    assert torch.allclose(pooled, outputs[1].text_embeds, atol=1e-6)


def test_several_texts_are_joined_and_their_first_pooled_vectors_summed(clip: Clip) -> None:
    texts = ["red cat", "a (blue:1.4) dog " * 20, "red cat", ""]
    alone = [encode_texts(clip, [text], 1, on_cpu) for text in texts]
    for top_k in (1, 2, 3, 9):
        hidden, pooled = encode_texts(clip, texts, top_k, on_cpu)
        assert torch.allclose(hidden, torch.cat([h for h, _ in alone], dim=1), atol=1e-5)
        assert torch.allclose(pooled, torch.stack([p for _, p in alone[:top_k]]).sum(0), atol=1e-5)
    assert hidden.shape[1] > 4 * 77
    assert hidden.shape[1] % 77 == 0


def test_every_encoder_runs_once_however_many_the_texts(clip: Clip) -> None:
    calls: list[int] = []
    hooks = [e.network.module.register_forward_hook(lambda *_: calls.append(1)) for e in clip.encoders]
    encode_texts(clip, ["a", "b (c:2)", "a", "d " * 200], 1, on_cpu)
    for hook in hooks:
        hook.remove()
    assert len(calls) == 2


def test_emphasis_keeps_the_mean_and_moves_away_from_nothing(clip: Clip) -> None:
    plain, plain_pooled = encode_texts(clip, ["red cat"], 1, on_cpu)
    empty, _ = encode_texts(clip, [""], 1, on_cpu)
    strong, strong_pooled = encode_texts(clip, ["(red:1.5) cat"], 1, on_cpu)
    torch.testing.assert_close(plain_pooled, strong_pooled)
    width = clip.encoders[0].network.module.config.hidden_size
    z, e = plain[0, :, :width].double(), empty[0, :, :width].double()
    changed = z.clone()
    changed[1] = (z[1] - e[1]) * 1.5 + e[1]
    wanted = changed * (z.mean() / changed.mean())
    assert torch.allclose(strong[0, :, :width].double(), wanted, rtol=1e-3, atol=1e-4)


def test_a_section_without_weights_is_not_touched() -> None:
    z, e = torch.randn(77, 8), torch.randn(77, 8)
    assert torch.equal(reweight(z, e, torch.ones(77)), z)


def test_infinite_weight_does_not_reach_other_texts(clip: Clip) -> None:
    hidden, _ = encode_texts(clip, ["(red:inf)", "cat"], 1, on_cpu)
    assert hidden[:, 77:].isfinite().all()


def test_no_text_at_all(clip: Clip) -> None:
    with pytest.raises(BadValue, match="no text"):
        encode_texts(clip, [], 1, on_cpu)


def test_inputs_stay_as_they_are(clip: Clip) -> None:
    before: list[Tensor] = [p.clone() for e in clip.encoders for p in e.network.module.parameters()]
    encode_texts(clip, ["(red:1.5) cat"], 1, on_cpu)
    after = [p for e in clip.encoders for p in e.network.module.parameters()]
    assert all(torch.equal(b, a) for b, a in zip(before, after, strict=True))
