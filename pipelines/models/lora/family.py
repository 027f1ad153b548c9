"""The model family that a LoRA file was trained for, recognised by its keys and shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...types import Family

TITLES: Mapping[Family, str] = {"sdxl": "SDXL", "sdxl-refiner": "the SDXL refiner", "sd15": "SD 1.5"}

_BY_NAME = (
    ("Qwen-Image", r"transformer_blocks[._]\d+[._].*(img_mlp|img_mod|txt_mod)"),
    ("Flux", r"single_transformer_blocks[._]|single_blocks[._]|double_blocks[._]"),
    ("Stable Diffusion 3", r"joint_blocks[._]|\b(lora_)?transformer[._]transformer_blocks[._]\d+[._]attn[._]add_"),
    ("Stable Cascade", r"lora_prior_"),
    ("Wan", r"(^|[._])blocks[._]\d+[._](self_attn|cross_attn)[._][qkvo]([._]|$)"),
    ("a diffusion transformer", r"^(lora_)?transformer[._](transformer_)?blocks[._]|^t5xxl\.|^lora_te3_"),
)
_CONTEXTS = {768: TITLES["sd15"], 1024: "Stable Diffusion 2", 2048: TITLES["sdxl"], 1280: TITLES["sdxl-refiner"]}
_CONTEXT = re.compile(r"attn2[._](processor[._])?to_[kv].*(down\.weight|lora_A.*\.weight|hada_w1_b|\.diff|a2\.weight)$")


def family_of(state: Mapping[str, Any]) -> str | None:
    """The family's title; None if it can't be recognised.

    Other networks are recognised by the names of their blocks. UNets are recognised by the context width of their
    cross-attention, which is the input width of a change to `attn2.to_k` or `to_v`.
    """
    for title, pattern in _BY_NAME:
        if any(re.search(pattern, key) for key in state):
            return title
    widths = {
        value.shape[1]
        for key, value in state.items()
        if isinstance(value, Tensor) and value.ndim > 1 and _CONTEXT.search(key)
    }
    titles = {_CONTEXTS[width] for width in widths if width in _CONTEXTS}
    return titles.pop() if len(titles) == 1 else None
