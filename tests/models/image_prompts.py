"""Small image prompt adapters and their vision encoder, as files in published layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from fooocus_stages.pipelines.models.ip_adapter import ImageAdapter
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

EMBED, OUT, QUERIES = 64, 32, 4
SETTINGS = {"embed": EMBED, "width": 128, "queries": QUERIES, "depth": 2, "inner": 128, "hidden": 256, "out": OUT}
ADAPTER, VISION, NEGATIVE = (
    "ip-adapter-plus_sdxl_vit-h.bin",
    "clip_vision_vit_h.safetensors",
    "fooocus_ip_negative.safetensors",
)
State = dict[str, Tensor]


def adapter(widths: Sequence[int], seed: int = 0, **changes: int) -> ImageAdapter:
    """An adapter with random weights for cross-attentions of those widths."""
    torch.manual_seed(seed)
    made = ImageAdapter(SETTINGS | changes, widths).eval().requires_grad_(False)
    made.resampler.latents.normal_()
    return made


def adapter_state(made: ImageAdapter) -> State:
    """Its weights under the names of a published file, flat."""
    state = {f"image_proj.{key}": tensor for key, tensor in made.resampler.state_dict().items()}
    for j, (key, value) in enumerate(zip(made.to_k, made.to_v, strict=True)):
        state[f"ip_adapter.{2 * j + 1}.to_k_ip.weight"] = weight_of(key)
        state[f"ip_adapter.{2 * j + 1}.to_v_ip.weight"] = weight_of(value)
    return state


def nested(state: State) -> dict[str, State]:
    """The same in the two dictionaries of a .bin file."""
    halves: dict[str, State] = {}
    for key, tensor in state.items():
        half, _, rest = key.partition(".")
        halves.setdefault(half, {})[rest] = tensor
    return halves


def vision_state(width: int = EMBED) -> State:
    """A vision encoder that sees pictures of 28 pixels, in transformers' layout."""
    torch.manual_seed(5)
    config = CLIPVisionConfig(
        hidden_size=width, intermediate_size=64, projection_dim=16, num_hidden_layers=2, num_attention_heads=1,
        image_size=28, patch_size=14, hidden_act="gelu",
    )  # fmt: skip
    module: Any = CLIPVisionModelWithProjection(config)
    return dict(module.state_dict())


def write(models: Path, widths: Sequence[int]) -> None:
    """Adapter, vision encoder and negative tokens below a models folder, under their published names."""
    for kind in ("controlnet", "clip_vision"):
        (models / kind).mkdir(parents=True, exist_ok=True)
    torch.save(nested(adapter_state(adapter(widths))), models / "controlnet" / ADAPTER)
    save_file(vision_state(), models / "clip_vision" / VISION)
    save_file({"data": torch.randn(1, QUERIES, OUT)}, models / "controlnet" / NEGATIVE)


def weight_of(layer: nn.Module) -> Tensor:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight.data
