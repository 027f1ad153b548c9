"""Which of Fooocus's model families a MODEL of ComfyUI belongs to."""

from __future__ import annotations

from typing import Any

import comfy.model_base
import torch

from ....pipelines.errors import BadValue
from ....pipelines.types import Family

LATENT_CHANNELS = 4
WIDTH_OF_SD2 = 1024


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
