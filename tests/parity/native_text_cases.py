"""ComfyUI's own CLIP read as ours, on small random networks.

Run by tests/comfyui/test_native_models.py in ComfyUI's Python.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import comfy.sd
import comfy.text_encoders.sd2_clip
import pytest
import torch
from fooocus_stages.nodes.comfy.host import ComfyHost
from fooocus_stages.nodes.comfy.native import adoption
from fooocus_stages.pipelines.errors import BadValue
from fooocus_stages.pipelines.models.clip import encode_texts, text_encoder, text_module
from fooocus_stages.pipelines.models.handles import Clip, Embedding
from fooocus_stages.pipelines.models.text_network import ClipText
from fooocus_stages.pipelines.models.weights.deltas import LowRank
from fooocus_stages.pipelines.models.weights.merging import WeightPatch
from fooocus_stages.pipelines.text.tokenizer import ClipTokenizer, find_vocabulary
from fooocus_stages.pipelines.types import Family
from torch import Tensor, nn

from .native import clip_with_weights_of

TEXTS = ("a (red:1.3) fox, embedding:mine", "a long road " * 40)
WIDTHS = {"clip_l": 64, "clip_g": 128}
LAYERS, TOKENS = 3, 49408


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


def on_cpu(*_: object) -> torch.device:
    """Leave modules where they are."""
    return torch.device("cpu")


def network(width: int, pooled: bool) -> ClipText:
    """A text encoder with random weights."""
    text = "text_model."
    shapes = {
        f"{text}embeddings.token_embedding.weight": (TOKENS, width),
        f"{text}embeddings.position_embedding.weight": (77, width),
        **{f"{text}encoder.layers.{i}.mlp.fc1.weight": (2 * width, width) for i in range(LAYERS)},
    }
    module: nn.Module = text_module(shapes, pooled).to_empty(device="cpu").eval().requires_grad_(False)
    draw = torch.Generator().manual_seed(width)
    for name, parameter in module.named_parameters():
        parameter.data = torch.randn(parameter.shape, generator=draw) * (1.0 if "embedding" in name else 0.1)
    for owner in module.modules():
        if "position_ids" in dict(owner.named_buffers(recurse=False)):
            owner.register_buffer("position_ids", torch.arange(77)[None], persistent=False)
    return ClipText(module)


def small_clip(family: Family) -> Clip:
    """The text encoders of a family with random weights."""
    tokenizer = ClipTokenizer(find_vocabulary())
    names = ("clip_l", "clip_g") if family == "sdxl" else ("clip_l",)
    made = [(name, network(WIDTHS[name], name == "clip_g")) for name in names]
    encoders = tuple(text_encoder(one, tokenizer, family, name == "clip_g") for name, one in made)
    return Clip(encoders, tokenizer, skip=2 if family == "sdxl" else 1)


@pytest.fixture(scope="module", params=["sdxl", "sd15"])
def ours(request: pytest.FixtureRequest) -> Clip:
    return small_clip(request.param)


@pytest.fixture
def native(ours: Clip) -> Any:
    return clip_with_weights_of(ours)


def adopted(native: Any) -> Clip:
    clip = adoption.adopted(native, ComfyHost())
    assert isinstance(clip, Clip)
    return clip


def encoded(clip: Clip) -> tuple[Tensor, Tensor]:
    vectors = {name: torch.full((2, width), 0.5) for name, width in WIDTHS.items()}
    embedding = Embedding(vectors, 2, tuple(WIDTHS.values()))
    return encode_texts(clip, TEXTS, 1, on_cpu, {"mine": embedding})


def assert_same(ours: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        difference = float((one - other).pow(2).mean().sqrt() / other.pow(2).mean().sqrt())
        assert difference <= 1e-4, f"relative RMS {difference}"


def with_patches(clip: Clip, weight: float) -> Clip:
    """The text encoders with a change to one weight of each."""
    encoders = []
    for encoder in clip.encoders:
        name = next(name for name, _ in encoder.network.module.named_parameters() if name.endswith("1.mlp.fc1.weight"))
        rows, columns = dict(encoder.network.module.named_parameters())[name].shape
        delta = LowRank(torch.full((rows, 2), 0.3), torch.linspace(-1, 1, 2 * columns).view(2, columns))
        encoders.append(replace(encoder, patches=(WeightPatch("change", weight, {name: (delta,)}, "change"),)))
    return replace(clip, encoders=tuple(encoders))


def test_a_native_clip_reads_prompts_as_ours(ours: Clip, native: Any) -> None:
    assert adopted(native).skip == ours.skip
    for skip in (1, 2, 3):
        assert_same(encoded(replace(adopted(native), skip=skip)), encoded(replace(ours, skip=skip)))


def test_the_last_layer_chosen_on_a_clip_is_read(native: Any) -> None:
    chosen = native.clone()
    chosen.clip_layer(-3)
    assert adopted(chosen).skip == 3


def test_loras_are_patches_on_a_clone_and_travel_with_it(ours: Clip, native: Any) -> None:
    before = encoded(adopted(native))
    changed = encoded(with_patches(ours, 0.7))
    for encoder in ours.encoders:
        encoder.network.merge(())  # type: ignore[attr-defined]
    theirs = with_patches(adopted(native), 0.7)
    assert_same(encoded(theirs), changed)
    handed: Any = adoption.handed_on(replace(theirs, embeddings={"x": Embedding({}, 1, ())}), ComfyHost())
    assert isinstance(handed, comfy.sd.CLIP)
    again = adopted(handed)
    assert list(again.embeddings) == ["x"]
    assert_same(encoded(again), changed)
    with pytest.raises(AssertionError):
        assert_same(encoded(with_patches(again, -0.7)), changed)
    assert native.patcher.patches == {}
    assert all(torch.equal(one, other) for one, other in zip(encoded(adopted(native)), before, strict=True))


def test_hooks_are_refused(native: Any) -> None:
    hooked = native.clone()
    hooked.apply_hooks_to_conds = object()
    with pytest.raises(BadValue, match="hooks"):
        encoded(adopted(hooked))


def test_other_text_encoders_are_refused() -> None:
    class Target:
        params: dict[str, Any] = {}
        clip = comfy.text_encoders.sd2_clip.SD2ClipModel
        tokenizer = comfy.text_encoders.sd2_clip.SD2Tokenizer

    sizes = {"num_hidden_layers": 3, "hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 1}
    native = comfy.sd.CLIP(Target, model_options={"clip_h_model_config": sizes, "dtype": torch.float32})
    with pytest.raises(BadValue, match=r"SD2ClipModel.*SDXL"):
        adoption.adopted(native, ComfyHost())
