"""Which of Fooocus's model families a MODEL or a CLIP of ComfyUI belongs to, and the file that it came from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import comfy.clip_model
import comfy.model_base
import comfy.sd1_clip
import comfy.sdxl_clip
import torch

from ....pipelines.errors import BadValue
from ....pipelines.types import Family

LATENT_CHANNELS = 4
WIDTH_OF_SD2 = 1024
TEXT_ENCODERS: Mapping[Family, tuple[str, ...]] = {"sdxl": ("clip_l", "clip_g"), "sd15": ("clip_l",)}
TEXT_MODELS: Mapping[Family, type] = {"sdxl": comfy.sdxl_clip.SDXLClipModel, "sd15": comfy.sd1_clip.SD1ClipModel}


def dtype_of(model: Any) -> torch.dtype:
    """Return the dtype in which ComfyUI's model computes."""
    dtype: torch.dtype = model.manual_cast_dtype or model.get_dtype()
    return dtype


def family_of(patcher: Any) -> Family:
    """Return the family of a MODEL's network. Raises BadValue for one that Fooocus's stages cannot use."""
    model = patcher.model
    kind = type(model).__name__ if type(model) is not comfy.model_base.BaseModel else "a network that is no UNet"
    config = getattr(getattr(model, "model_config", None), "unet_config", {})
    unet = getattr(model, "diffusion_model", None)
    if type(unet).__name__ == "UNetModel" and getattr(unet, "in_channels", None) == LATENT_CHANNELS:
        if isinstance(model, comfy.model_base.SDXLRefiner):
            return "sdxl-refiner"
        if isinstance(model, comfy.model_base.SDXL):
            return "sdxl"
        if type(model) is comfy.model_base.BaseModel:
            if config.get("context_dim") != WIDTH_OF_SD2 and not config.get("adm_in_channels"):
                return "sd15"
            kind = "a model of Stable Diffusion 2"
    raise BadValue(
        f"the MODEL is {kind}, and Fooocus's sampling stages work on SDXL and, as a refiner, SD 1.5: load an SDXL "
        "checkpoint without extra input channels"
    )


def text_family_of(clip: Any) -> Family:
    """Return the family whose prompts a CLIP reads. Raises BadValue for one that Fooocus's stages cannot use."""
    model = clip.cond_stage_model
    transformers = {name: getattr(part, "transformer", None) for name, part in model.named_children()}
    for family, kind in TEXT_MODELS.items():
        known = isinstance(model, kind) and transformers.keys() == set(TEXT_ENCODERS[family])
        if known and all(isinstance(part, comfy.clip_model.CLIPTextModel) for part in transformers.values()):
            return family
    raise BadValue(
        f"the CLIP is {type(model).__name__} with {', '.join(transformers) or 'no encoders'}, and Fooocus's prompts "
        "are for the text encoders of SDXL and SD 1.5: connect the CLIP of an SDXL checkpoint"
    )


def file_of(patcher: Any) -> str:
    """Return the name of the file that a model was loaded from; '' where ComfyUI does not tell."""
    init = getattr(patcher, "cached_patcher_init", None) or (None, ())
    path = next((value for value in init[1] if isinstance(value, str)), "")
    return Path(path).name
