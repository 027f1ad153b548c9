"""Networks of SDXL's shape in three sizes, with weights of no meaning, and checkpoint files of them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from fooocus_stages.pipelines.models.handles import Model
from fooocus_stages.pipelines.models.unet import UNet
from fooocus_stages.pipelines.models.weights import key_names
from fooocus_stages.pipelines.text.tokenizer import END, MERGES_OF_CLIP, START
from fooocus_stages.pocket.training import published_names
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

VOCABULARY = 49408
TILE = 2**20  # random numbers that all weights are laid out with


@dataclass(frozen=True)
class Size:
    """Widths and depths of the networks: the UNet by level, the two text encoders, the VAE."""

    channels: tuple[int, int, int]
    layers: int
    depths: tuple[int, int, int]
    text_widths: tuple[int, int]
    text_layers: tuple[int, int]
    vae_channels: tuple[int, int, int, int]
    vae_layers: int

    @property
    def context(self) -> int:
        return sum(self.text_widths)


SIZES = {
    "nano": Size((32, 64, 64), 1, (1, 1, 1), (64, 128), (2, 2), (32, 32, 32, 32), 1),
    "pocket": Size((64, 128, 128), 1, (1, 1, 1), (64, 128), (2, 3), (96, 64, 64, 96), 1),
    "middle": Size((128, 256, 512), 2, (1, 2, 4), (768, 1280), (4, 4), (64, 128, 256, 256), 1),
    "sdxl": Size((320, 640, 1280), 2, (1, 2, 10), (768, 1280), (12, 32), (128, 256, 512, 512), 2),
}


def unet(size: Size) -> UNet2DConditionModel:
    """SDXL's UNet in that size, on the device of the context."""
    return UNet2DConditionModel(
        block_out_channels=size.channels,
        layers_per_block=size.layers,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=size.depths,
        attention_head_dim=tuple(max(1, c // 64) for c in size.channels),
        cross_attention_dim=size.context,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=size.text_widths[1] + 6 * 256,
    )


def vae(size: Size) -> AutoencoderKL:
    """SDXL's autoencoder in that size."""
    return AutoencoderKL(
        block_out_channels=size.vae_channels,
        layers_per_block=size.vae_layers,
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    )


def text_encoder(size: Size, which: int) -> nn.Module:
    """CLIP-L (0) or CLIP-G (1) in that size."""
    width = size.text_widths[which]
    config = CLIPTextConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=width,
        num_hidden_layers=size.text_layers[which],
        num_attention_heads=width // 64,
    )
    return CLIPTextModelWithProjection(config) if which else CLIPTextModel(config)


def model(size: str, device: torch.device, dtype: torch.dtype) -> Model:
    """A model whose UNet has random weights; built without memory and filled once."""
    with torch.device("meta"):
        module = nn.Module.to(unet(SIZES[size]), dtype)
    module = module.to_empty(device=device).eval().requires_grad_(False)
    tile = torch.rand(TILE, generator=torch.Generator().manual_seed(0)).mul_(2).sub_(1)
    for name, parameter in module.named_parameters():
        parameter.data.copy_(laid_out(tile, name, tuple(parameter.shape)))
    return Model(UNet(module), "sdxl", name=size)


def laid_out(tile: Tensor, name: str, shape: tuple[int, ...]) -> Tensor:
    """Values under which nothing grows or dies: ones for the gains of norms, zeros for biases, else ±1/sqrt(fan-in)."""
    if len(shape) < 2:
        return torch.full(shape, 0.0 if name.endswith("bias") else 1.0)
    count = math.prod(shape)
    return (tile.repeat(-(-count // len(tile)))[:count] / math.sqrt(count / shape[0])).reshape(shape)


def conditioning(size: str, seed: int) -> list[list[Any]]:
    """A conditioning as an encode node gives it for one text: 77 random tokens and a random pooled vector."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(1, 77, SIZES[size].context, generator=generator)
    pooled = torch.randn(1, SIZES[size].text_widths[1], generator=generator)
    return [[tokens, {"pooled_output": pooled}]]


def checkpoint_shapes(size: str) -> dict[str, tuple[int, ...]]:
    """The keys and shapes of a single-file SDXL checkpoint in that size."""
    with torch.device("meta"):
        sizes = SIZES[size]
        clip_l, clip_g = (text_encoder(sizes, which).state_dict() for which in range(2))
        state = {
            **published_names.unet_state_to_ldm(unet(sizes).state_dict()),
            **published_names.vae_state_to_ldm(vae(sizes).state_dict()),
            **{"conditioner.embedders.0.transformer." + key_names.clip_key(key): t for key, t in clip_l.items()},
            **published_names.clip_state_to_openclip(clip_g),
        }
    return {key: tuple(tensor.shape) for key, tensor in state.items()}


def write_checkpoint(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """A float16 safetensors file of those keys, written tensor by tensor, and a tokenizer of CLIP's size beside it;
    returns the size of the file in bytes."""
    _write_tokenizer(path.with_suffix(".tokenizer"))
    header: dict[str, Any] = {}
    end = 0
    for key, shape in shapes.items():
        start, end = end, end + 2 * math.prod(shape)
        header[key] = {"dtype": "F16", "shape": shape, "data_offsets": (start, end)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for piece in _pieces(end):
            file.write(piece)
    return path.stat().st_size


def _pieces(count: int) -> Iterator[memoryview]:
    """That many bytes of float16 numbers."""
    tile = torch.rand(TILE, generator=torch.Generator().manual_seed(0)).sub_(0.5).mul_(0.1).half().numpy()
    view = memoryview(tile).cast("B")
    for start in range(0, count, len(view)):
        yield view[: min(len(view), count - start)]


def _write_tokenizer(folder: Path) -> None:
    """As many entries and merges as CLIP's vocabulary has, of no meaning."""
    folder.mkdir(exist_ok=True)
    entries = [*(f"w{i}" for i in range(VOCABULARY - 2)), START, END]
    (folder / "vocab.json").write_text(json.dumps({name: i for i, name in enumerate(entries)}), "utf-8")
    merges = ["#version: 0.2", *(f"w{i} w{i + 1}" for i in range(MERGES_OF_CLIP))]
    (folder / "merges.txt").write_text("\n".join(merges) + "\n", "utf-8")
