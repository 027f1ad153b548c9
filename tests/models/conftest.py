"""A tiny SDXL checkpoint in published layout, with its own tokenizer beside it: real networks of random weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from fooocus_stages.pipelines.models.checkpoint import Checkpoint, load_checkpoint
from fooocus_stages.pipelines.models.weights import key_names
from fooocus_stages.pipelines.text.tokenizer import BYTE_SYMBOLS
from fooocus_stages.pocket.training import published_names
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

WIDTH_L, WIDTH_G = 64, 128
Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def unet_of(**changes: Any) -> UNet2DConditionModel:
    """A small SDXL-like UNet: three levels, attention in the lower two."""
    channels = changes.pop("block_out_channels", (32, 64, 64))
    settings: dict[str, Any] = {
        "block_out_channels": channels,
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 1, 2),
        "attention_head_dim": tuple(max(1, c // 64) for c in channels),
        "cross_attention_dim": WIDTH_L + WIDTH_G,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": WIDTH_G + 6 * 256,
    }
    return UNet2DConditionModel(**(settings | changes))


def vae_of(**changes: Any) -> AutoencoderKL:
    """A small eightfold autoencoder."""
    settings: dict[str, Any] = {
        "block_out_channels": (32,) * 4,
        "layers_per_block": 1,
        "latent_channels": 4,
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
    }
    return AutoencoderKL(**(settings | changes))


def text_of(width: int, projection: bool) -> nn.Module:
    """A small CLIP text tower of three layers."""
    vocabulary = 2 * len(BYTE_SYMBOLS) + 4 + 2  # what `write_tokenizer` writes
    config = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=width,
        num_hidden_layers=3,
        num_attention_heads=width // 64,
        hidden_act="gelu" if projection else "quick_gelu",
        eos_token_id=vocabulary - 1,
        bos_token_id=vocabulary - 2,
    )
    return CLIPTextModelWithProjection(config) if projection else CLIPTextModel(config)


@pytest.fixture(scope="session")
def modules() -> dict[str, nn.Module]:
    """The networks of the tiny checkpoint, as the libraries make them. Do not write into them."""
    torch.manual_seed(0)
    made = {"unet": unet_of(), "vae": vae_of(), "l": text_of(WIDTH_L, False), "g": text_of(WIDTH_G, True)}
    return {name: module.eval() for name, module in made.items()}


@pytest.fixture(scope="session")
def state(modules: dict[str, nn.Module]) -> dict[str, Tensor]:
    """The same in the layout of a published SDXL file."""
    clip_l = {
        "conditioner.embedders.0.transformer." + key_names.clip_key(key): tensor
        for key, tensor in modules["l"].state_dict().items()
    }
    return {
        **published_names.unet_state_to_ldm(modules["unet"].state_dict()),
        **published_names.vae_state_to_ldm(modules["vae"].state_dict()),
        **clip_l,
        **published_names.clip_state_to_openclip(modules["g"].state_dict()),
    }


@pytest.fixture
def write(tmp_path: Path, state: dict[str, Tensor], write_tokenizer: Callable[[Path], None]) -> Write:
    """write(name, dtype, metadata, state) puts a checkpoint on disk; by default the tiny one, in float32."""

    def write(
        name: str = "tiny.safetensors",
        dtype: torch.dtype = torch.float32,
        metadata: dict[str, str] | None = None,
        state: dict[str, Tensor] = state,
    ) -> Path:
        path = tmp_path / name
        converted = {key: tensor.to(dtype).contiguous() for key, tensor in state.items()}
        if path.suffix == ".safetensors":
            save_file(converted, path, metadata)
        else:
            torch.save({"state_dict": converted, "global_step": 1}, path)
        write_tokenizer(path.with_suffix(".tokenizer"))
        return path

    return write


@pytest.fixture
def tiny(write: Write) -> Checkpoint:
    """The tiny checkpoint, loaded in float32; nobody else's."""
    return load_checkpoint(write(), torch.float32, torch.float32)
