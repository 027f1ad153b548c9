"""Attention over text and pictures: against worked numbers, against plain softmax, against diffusers."""

from __future__ import annotations

import pytest
import torch
from diffusers.models.attention_processor import Attention, IPAdapterAttnProcessor2_0
from fooocus_stages.pipelines.functional import image_attention
from fooocus_stages.pipelines.functional.image_attention import LayerImages
from fooocus_stages.pipelines.functional.image_attention import image_attention as attend_to
from torch import Tensor

WIDTH, HEADS = 640, 10


def wave(a: float, b: float, *shape: int) -> Tensor:
    """sin(a·n + b) over the flat index n."""
    count = torch.Size(shape).numel()
    return torch.sin(a * torch.arange(count, dtype=torch.float64) + b).reshape(shape).float()


def text() -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value of the worked case."""
    return wave(0.11, 0.0, 2, 4, WIDTH), wave(0.05, 0.3, 2, 77, WIDTH), wave(0.07, 0.6, 2, 77, WIDTH)


def picture() -> tuple[Tensor, Tensor]:
    """Keys and values of the worked case: the negative row, then the positive one."""
    key = torch.cat([wave(0.21, 0.0, 1, 16, WIDTH), wave(0.37, 0.0, 1, 16, WIDTH)])
    return key, torch.cat([wave(0.211, 0.2, 1, 16, WIDTH), wave(0.371, 0.1, 1, 16, WIDTH)])


def test_the_worked_case() -> None:
    """What Fooocus gives for this layer at weight 0.6."""
    pictures = LayerImages(image_attention.weighted(*picture(), 0.6))
    out = attend_to(*text(), pictures, HEADS)
    first, last = out[0, 0, :4], out[1, 3, -4:]
    assert torch.allclose(first, torch.tensor([-0.0364226, -0.0380745, -0.0395473, -0.0408318]), atol=2e-7)
    assert torch.allclose(last, torch.tensor([0.0050869, 0.0047244, 0.0043128, 0.0039282]), atol=2e-7)
    assert out.double().sum().item() == pytest.approx(-0.5203698, abs=1e-4)
    assert out.double().abs().sum().item() == pytest.approx(95.678860, abs=1e-4)


def test_weight_0_is_not_the_same_as_no_picture() -> None:
    plain = attend_to(*text(), LayerImages(), HEADS)
    at_zero = attend_to(*text(), LayerImages(image_attention.weighted(*picture(), 0.0)), HEADS)
    assert (plain - at_zero).abs().max().item() == pytest.approx(0.0044, abs=5e-5)


def test_one_softmax_over_text_and_all_pictures() -> None:
    torch.manual_seed(0)
    query, key, value, k, v = (torch.randn(2, n, 128).double() for n in (5, 7, 7, 3, 3))
    pictures = [image_attention.weighted(k, v, w) for w in (0.7, 1.3)]
    ours = attend_to(query, key, value, LayerImages(image_attention.joined(pictures)), 2)
    w = torch.tensor([0.7, 1.3]).double() * 128 / 1280
    mean = v.mean(1, keepdim=True)
    keys = torch.cat([key, k * w[0], k * w[1]], 1)
    values = torch.cat([value, v + mean * (w[0] - 1), v + mean * (w[1] - 1)], 1)
    for head in (slice(0, 64), slice(64, 128)):
        logits = query[..., head] @ keys[..., head].transpose(1, 2) / 8
        assert torch.allclose(ours[..., head], logits.softmax(-1) @ values[..., head])


def test_apart_is_what_diffusers_computes() -> None:
    torch.manual_seed(1)
    attention = Attention(128, cross_attention_dim=96, heads=2, dim_head=64).eval()
    processor = IPAdapterAttnProcessor2_0(128, 96, num_tokens=(4, 3), scale=[0.8, 0.3]).eval()
    hidden, words = torch.randn(2, 6, 128), torch.randn(2, 9, 96)
    pictures = [torch.randn(2, 1, 4, 96), torch.randn(2, 1, 3, 96)]
    with torch.no_grad():
        theirs = processor(attention, hidden, (words, [tokens.flatten(1, 2) for tokens in pictures]))
        apart = tuple(
            ((processor.to_k_ip[i](tokens[:, 0]), processor.to_v_ip[i](tokens[:, 0])), processor.scale[i])
            for i, tokens in enumerate(pictures)
        )
        q, k, v = attention.to_q(hidden), attention.to_k(words), attention.to_v(words)
        ours = attention.to_out[0](attend_to(q, k, v, LayerImages(apart=apart), 2))
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_repeated_text_takes_a_larger_share() -> None:
    """Prompts repeated to equal length change the balance between text and pictures, as in Fooocus."""
    query, key, value = text()
    together = LayerImages(image_attention.weighted(*picture(), 1.0))
    twice = (query, key.repeat(1, 2, 1), value.repeat(1, 2, 1))
    assert torch.allclose(
        attend_to(*twice, LayerImages(), HEADS),
        attend_to(*text(), LayerImages(), HEADS),
        atol=1e-6,
    )
    assert not torch.allclose(
        attend_to(*twice, together, HEADS),
        attend_to(*text(), together, HEADS),
        atol=1e-4,
    )
