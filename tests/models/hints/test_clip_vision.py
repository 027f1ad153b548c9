"""Vision encoders: both layouts of a file give the library's own network, and what is none is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from fooocus_stages.pipelines.errors import BadFile
from fooocus_stages.pipelines.models.hints.clip_vision import hidden_states, load_clip_vision, normalised
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

State = dict[str, Tensor]
SIZE, PATCH = 28, 14


def network(width: int = 64, heads: int = 1, layers: int = 3) -> Any:
    torch.manual_seed(2)
    config = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=24,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        image_size=SIZE,
        patch_size=PATCH,
        hidden_act="gelu",
    )
    return CLIPVisionModelWithProjection(config).eval()


def openclip(state: State) -> State:
    """The weights as OpenCLIP names them, with some of a text tower beside them."""
    plain = {
        "embeddings.class_embedding": "class_embedding",
        "embeddings.patch_embedding.weight": "conv1.weight",
        "embeddings.position_embedding.weight": "positional_embedding",
    }
    named: State = {"logit_scale": torch.ones(()), "transformer.resblocks.0.ln_1.weight": torch.ones(8)}
    for key, tensor in state.items():
        inner = key.removeprefix("vision_model.")
        if key == "visual_projection.weight":
            named["visual.proj"] = tensor.T
        elif inner in plain:
            named["visual." + plain[inner]] = tensor
        elif inner.startswith("pre_layrnorm"):
            named["visual." + inner.replace("pre_layrnorm", "ln_pre")] = tensor
        elif inner.startswith("post_layernorm"):
            named["visual." + inner.replace("post_layernorm", "ln_post")] = tensor
        elif ".q_proj." in key:
            fused = torch.cat([state[key.replace("q_proj", f"{q}_proj")] for q in "qkv"])
            named["visual." + layer(inner).replace("attn.q_proj.", "attn.in_proj_")] = fused
        elif ".k_proj." not in key and ".v_proj." not in key:
            named["visual." + layer(inner)] = tensor
    return {key: tensor.contiguous() for key, tensor in named.items()}


def layer(inner: str) -> str:
    for ours, theirs in (
        ("encoder.layers", "transformer.resblocks"),
        ("layer_norm1", "ln_1"),
        ("layer_norm2", "ln_2"),
        ("fc1", "c_fc"),
        ("fc2", "c_proj"),
        ("self_attn", "attn"),
    ):
        inner = inner.replace(ours, theirs)
    return inner


@pytest.mark.parametrize("named", [openclip, dict])
@pytest.mark.parametrize(("width", "heads"), [(64, 1), (128, 2), (1280, 16)])
def test_both_layouts_are_the_network_of_the_library(named: Any, width: int, heads: int, tmp_path: Path) -> None:
    made = network(width, heads, layers=2)
    save_file(named(made.state_dict()), tmp_path / "a.safetensors")
    vision = load_clip_vision(tmp_path / "a.safetensors", torch.float32)
    assert (vision.name, vision.size, vision.width) == ("a.safetensors", SIZE, width)
    x = torch.randn(2, 3, SIZE, SIZE)
    with torch.no_grad():
        theirs = made(pixel_values=x, output_hidden_states=True).hidden_states[-2]
    assert torch.allclose(hidden_states(vision, x), theirs, atol=1e-5)


def test_half_precision_files_load_in_the_requested_dtype(tmp_path: Path) -> None:
    save_file(
        {key: tensor.half() for key, tensor in openclip(network().state_dict()).items()}, tmp_path / "a.safetensors"
    )
    vision = load_clip_vision(tmp_path / "a.safetensors", torch.float32)
    assert {p.dtype for p in vision.module.parameters()} == {torch.float32}


def test_pictures_are_normalised_as_clip_does() -> None:
    pixels = torch.rand(1, 3, SIZE, SIZE)
    plain = CLIPImageProcessor(do_resize=False, do_center_crop=False, do_rescale=False)
    theirs = plain(pixels[0].permute(1, 2, 0).numpy(), return_tensors="pt", input_data_format="channels_last")
    assert torch.allclose(normalised(pixels), theirs["pixel_values"], atol=1e-6)


def without(*names: str) -> State:
    return {key: t for key, t in openclip(network().state_dict()).items() if not any(name in key for name in names)}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"conv.weight": torch.zeros(3, 3)}, "a.safetensors contains no CLIP vision encoder: choose clip_vision_vit_h"),
        (without("visual."), "a.safetensors contains no CLIP vision encoder"),
        (without("visual.conv1"), "a.safetensors is incomplete"),
        (without("resblocks.1.mlp.c_fc.bias"), "a.safetensors is incomplete: the vision encoder is missing 1 weight"),
        (without() | {"visual.strange": torch.zeros(3)}, "has no place for 1 weight (visual.strange)"),
        (without() | {"visual.positional_embedding": torch.zeros(4, 64)}, "positions for 3 patches"),
    ],
)
def test_other_files_are_refused(state: State, message: str, tmp_path: Path) -> None:
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(BadFile, match=re.escape(message)):
        load_clip_vision(tmp_path / "a.safetensors", torch.float32)
