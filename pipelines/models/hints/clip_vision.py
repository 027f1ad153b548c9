"""The CLIP vision encoder: loading it, and encoding images to hidden states (Fooocus extras/ip_adapter.py)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from ...errors import BadFile
from ..weights.files import Weights, open_weights
from ..weights.filling import build, derive_for_file, fill, raise_for_names, to_dtype
from ..weights.key_names import Part, openclip_to_transformers
from ..weights.networks import VisionModule

VIT_H = "clip_vision_vit_h"
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
HEADS = 16  # of every published encoder of this width or more
WIDTH_OF_16_HEADS = 1024
HEAD_WIDTH = 64
_OPENCLIP, _OURS = "visual.", "vision_model."
_EMBEDDINGS = {
    "class_embedding": "embeddings.class_embedding",
    "conv1.weight": "embeddings.patch_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_pre.weight": "pre_layrnorm.weight",
    "ln_pre.bias": "pre_layrnorm.bias",
    "ln_post.weight": "post_layernorm.weight",
    "ln_post.bias": "post_layernorm.bias",
}

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class ClipVision:
    """The vision encoder of the file `name`. It takes images of `size`×`size` pixels; hidden states have `width`."""

    name: str
    module: nn.Module
    size: int
    width: int


def load_clip_vision(path: Path, dtype: torch.dtype) -> ClipVision:
    """Load the vision encoder of a CLIP file in OpenCLIP's or transformers' layout onto the CPU.

    A text encoder in the same file is ignored. Raises MissingFile, and BadFile for a file that is damaged or has no
    vision encoder.
    """
    with open_weights(path) as weights:
        parts = vision_parts(weights)
        if "vision_model.embeddings.class_embedding" not in parts:
            raise BadFile(f"{path.name} contains no CLIP vision encoder: choose {VIT_H}")
        settings = derive_for_file(path, vision_config, _shapes(weights, parts))
        config = CLIPVisionConfig(**settings)
        module = build(lambda: CLIPVisionModelWithProjection(config))
        fill(module, weights, parts, to_dtype(dtype), "the vision encoder")
    add_position_ids(module, weights.shapes[parts["vision_model.embeddings.position_embedding.weight"].key][0])
    return ClipVision(path.name, module, settings["image_size"], settings["hidden_size"])


def normalised(pixels: Tensor) -> Tensor:
    """Normalise images (B, 3, H, W) in 0…1 by the mean and standard deviation that CLIP was trained with."""
    mean, std = (pixels.new_tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    return (pixels - mean) / std


@torch.no_grad()
def hidden_states(vision: ClipVision, x: Tensor) -> Tensor:
    """Hidden states of the second to last layer, (B, 1 + patches, width), of normalised images (B, 3, size, size)."""
    parameter = next(vision.module.parameters())
    out = cast(VisionModule, vision.module)(pixel_values=x.to(parameter), output_hidden_states=True)
    return out.hidden_states[-2]


def vision_parts(weights: Weights) -> dict[str, Part]:
    """The source of each weight, by transformers' names; empty without an encoder. BadFile for unknown weights."""
    ours = [key for key in weights.shapes if key.startswith((_OURS, "visual_projection."))]
    if ours:
        return {key: Part(key) for key in ours if not key.endswith("position_ids")}
    inside = [key.removeprefix(_OPENCLIP) for key in weights.shapes if key.startswith(_OPENCLIP)]
    parts = {_OURS + new: Part(_OPENCLIP + old) for old, new in _EMBEDDINGS.items() if old in inside}
    for new, part in openclip_to_transformers(key for key in inside if key.startswith("transformer.")).items():
        parts[new.replace("text_model.", _OURS)] = Part(_OPENCLIP + part.key, part.third, part.transposed)
    if "proj" in inside:
        parts["visual_projection.weight"] = Part(_OPENCLIP + "proj", transposed=True)
    known = {part.key for part in parts.values()}
    raise_for_names(weights.path, "the vision encoder", left_over={_OPENCLIP + key for key in inside} - known)
    return parts


def add_position_ids(module: nn.Module, positions: int) -> None:
    """Add the table of position ids to an encoder that was built on the meta device; files do not contain it."""
    for owner in module.modules():
        if "position_ids" in dict(owner.named_buffers(recurse=False)):
            owner.register_buffer("position_ids", torch.arange(positions)[None], persistent=False)


def vision_config(shapes: Shapes) -> dict[str, Any]:
    """Derive the arguments of CLIPVisionConfig from the shapes of weights. Raises KeyError for a missing weight."""
    width, _, patch, _ = shapes["vision_model.embeddings.patch_embedding.weight"]
    patches = shapes["vision_model.embeddings.position_embedding.weight"][0] - 1
    layers = {key.split(".")[3] for key in shapes if key.startswith("vision_model.encoder.layers.")}
    if math.isqrt(patches) ** 2 != patches:
        raise BadFile(f"it has positions for {patches} patches, which is not a square number")
    return {
        "hidden_size": width,
        "intermediate_size": shapes["vision_model.encoder.layers.0.mlp.fc1.weight"][0],
        "projection_dim": shapes["visual_projection.weight"][0],
        "num_hidden_layers": len(layers),
        "num_attention_heads": HEADS if width >= WIDTH_OF_16_HEADS else max(1, width // HEAD_WIDTH),
        "image_size": math.isqrt(patches) * patch,
        "patch_size": patch,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
    }


def _shapes(weights: Weights, parts: Mapping[str, Part]) -> dict[str, tuple[int, ...]]:
    """The shapes of the parts; for q, k and v stored in one tensor the shape of that tensor, which no caller reads."""
    return {
        new: weights.shapes[part.key][::-1] if part.transposed else weights.shapes[part.key]
        for new, part in parts.items()
    }
