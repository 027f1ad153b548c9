"""Configurations of diffusers and transformers networks, derived from the shapes of their weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...errors import BadFile
from ...types import Family
from .key_names import layout_of_diffusers

Shapes = Mapping[str, tuple[int, ...]]

HEAD_WIDTH = 64
FIRST_HEAD_WIDTH_OF_SD15 = 40
TIME_WIDTH = 256
CONTEXT_OF_SD2 = 1024


def unet_config(shapes: Shapes, family: Family) -> tuple[dict[str, Any], int | None]:
    """Derive the arguments of UNet2DConditionModel, and the transformer depth of the middle block (None: none).

    `shapes`: by diffusers' names. The depth is returned separately because the arguments can't always express it.
    Attention heads are 64 wide in the SDXL family; SD 1.5 has eight at every level, 40 wide at the first. Raises
    BadFile for weights that do not form a UNet.
    """
    layout = layout_of_diffusers(shapes)
    levels = range(len(layout.down))
    if not layout.down or len(layout.up) != len(layout.down) or "conv_in.weight" not in shapes:
        raise BadFile(f"the UNet has {len(layout.down)} levels down and {len(layout.up)} up: it is incomplete")
    if any(len(up) != len(down) + 1 for up, down in zip(reversed(layout.up), layout.down, strict=True)):
        raise BadFile(f"the UNet's halves do not match: {layout.down} layers down, {layout.up} up")
    if any(0 in depths and any(depths) for depths in layout.down + layout.up):
        raise BadFile(f"the UNet has levels with transformers in only some layers: {layout.down}, {layout.up}")
    channels = tuple(shapes[f"down_blocks.{level}.resnets.0.conv1.weight"][0] for level in levels)
    attention = [key for key in shapes if key.endswith("attn2.to_k.weight")]
    config: dict[str, Any] = {
        "in_channels": shapes["conv_in.weight"][1],
        "out_channels": shapes["conv_out.weight"][0],
        "block_out_channels": channels,
        "layers_per_block": tuple(len(depths) for depths in layout.down),
        "down_block_types": tuple("CrossAttnDownBlock2D" if any(d) else "DownBlock2D" for d in layout.down),
        "up_block_types": tuple("CrossAttnUpBlock2D" if any(d) else "UpBlock2D" for d in layout.up),
        "mid_block_type": "UNetMidBlock2D" if layout.mid is None else "UNetMidBlock2DCrossAttn",
        "transformer_layers_per_block": [_depth(depths, layout.mid) for depths in layout.down],
        "reverse_transformer_layers_per_block": [_depth(depths, layout.mid) for depths in layout.up],
        "cross_attention_dim": shapes[attention[0]][1] if attention else CONTEXT_OF_SD2,
        "attention_head_dim": _heads(channels, family),
        "use_linear_projection": any(len(s) == 2 for key, s in shapes.items() if key.endswith(".proj_in.weight")),
        "time_embedding_dim": shapes["time_embedding.linear_1.weight"][0],
    }
    if "add_embedding.linear_1.weight" in shapes:
        config["addition_embed_type"] = "text_time"
        config["addition_time_embed_dim"] = TIME_WIDTH
        config["projection_class_embeddings_input_dim"] = shapes["add_embedding.linear_1.weight"][1]
    return config, layout.mid


def vae_config(shapes: Shapes) -> dict[str, Any]:
    """Derive the arguments of AutoencoderKL from shapes by diffusers' names. Raises BadFile."""
    levels = _count(shapes, r"encoder\.down_blocks\.(\d+)\.")
    if not levels or "decoder.conv_in.weight" not in shapes or "encoder.conv_in.weight" not in shapes:
        raise BadFile("the VAE is incomplete: its encoder or its decoder is missing")
    return {
        "in_channels": shapes["encoder.conv_in.weight"][1],
        "out_channels": shapes["decoder.conv_out.weight"][0],
        "latent_channels": shapes["decoder.conv_in.weight"][1],
        "block_out_channels": tuple(
            shapes[f"encoder.down_blocks.{level}.resnets.0.conv1.weight"][0] for level in range(levels)
        ),
        "layers_per_block": _count(shapes, r"encoder\.down_blocks\.0\.resnets\.(\d+)\."),
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "use_quant_conv": "quant_conv.weight" in shapes,
        "use_post_quant_conv": "post_quant_conv.weight" in shapes,
    }


def text_config(shapes: Shapes, activation: str) -> dict[str, Any]:
    """Derive the arguments of CLIPTextConfig from shapes by transformers' names; attention heads are 64 wide.

    Raises BadFile.
    """
    try:
        vocabulary, width = shapes["text_model.embeddings.token_embedding.weight"]
        positions, _ = shapes["text_model.embeddings.position_embedding.weight"]
        inner, _ = shapes["text_model.encoder.layers.0.mlp.fc1.weight"]
    except KeyError as error:
        raise BadFile(f"the text encoder is incomplete: {error.args[0]} is missing") from error
    projection = shapes.get("text_projection.weight", (width, width))
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": inner,
        "projection_dim": projection[0],
        "num_hidden_layers": _count(shapes, r"text_model\.encoder\.layers\.(\d+)\."),
        "num_attention_heads": max(1, width // HEAD_WIDTH),
        "max_position_embeddings": positions,
        "hidden_act": activation,
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": vocabulary - 1,
    }


def _heads(channels: tuple[int, ...], family: Family) -> int | tuple[int, ...]:
    """Return the attention heads per level, which diffusers calls `attention_head_dim`."""
    if family == "sd15":
        return max(1, round(channels[0] / FIRST_HEAD_WIDTH_OF_SD15))
    return tuple(max(1, c // HEAD_WIDTH) for c in channels)


def _depth(depths: tuple[int, ...], otherwise: int | None) -> int | list[int]:
    """Return one number for a level of equal depths; a level without transformers takes the middle block's."""
    if len(set(depths)) == 1:
        return depths[0] or otherwise or 1
    return list(depths)


def _count(shapes: Shapes, pattern: str) -> int:
    """Return one more than the largest number matched by the pattern's group."""
    return 1 + max((int(match[1]) for key in shapes if (match := re.match(pattern, key))), default=-1)
