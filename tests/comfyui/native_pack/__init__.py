"""A node for the tests: a MODEL, a CLIP and a VAE of ComfyUI's own classes, small enough for a CPU.

ComfyUI's own loader does not recognise the pocket's checkpoint. The MODEL has the weights of its UNet; the CLIP and the
VAE are random.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import comfy.model_base
import comfy.model_detection
import comfy.model_patcher
import comfy.sd
import comfy.sdxl_clip
import comfy.supported_models
import comfy.utils
import torch

POCKET = Path(__file__).resolve().parents[3] / "pocket/models/checkpoints/juggernautXL_v8Rundiffusion.safetensors"
PREFIX = "model.diffusion_model."
CPU = torch.device("cpu")
TEXT = {
    f"clip_{letter}_model_config": {
        "num_hidden_layers": 3,
        "hidden_size": width,
        "intermediate_size": width,
        "num_attention_heads": width // 64,
    }
    for letter, width in (("l", 64), ("g", 128))
}
PIXELS = {
    "double_z": True, "z_channels": 4, "resolution": 256, "in_channels": 3, "out_ch": 3, "dropout": 0.0, "ch": 32,
    "ch_mult": [1, 1, 1, 1], "num_res_blocks": 1, "attn_resolutions": [],
}  # fmt: skip


class TestNativeCheckpoint:
    """Takes the place of Load Checkpoint."""

    RETURN_TYPES = ("MODEL", "CLIP", "VAE")
    FUNCTION = "run"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {}}

    def run(self) -> tuple[Any, Any, Any]:
        torch.manual_seed(0)
        return _model(), _clip(), _vae()


def _model() -> Any:
    state = comfy.utils.load_torch_file(str(POCKET))
    config = comfy.supported_models.SDXL(comfy.model_detection.detect_unet_config(state, PREFIX))
    config.unet_config |= comfy.supported_models.SDXL.unet_extra_config
    config.set_inference_dtype(torch.float32, None)
    model = comfy.model_base.SDXL(config)
    model.load_model_weights(state, PREFIX)
    return comfy.model_patcher.ModelPatcher(model, CPU, CPU)


def _clip() -> Any:
    target = SimpleNamespace(params={}, clip=comfy.sdxl_clip.SDXLClipModel, tokenizer=comfy.sdxl_clip.SDXLTokenizer)
    clip = comfy.sd.CLIP(target, model_options={**TEXT, "dtype": torch.float32})
    _fill(clip.cond_stage_model)
    return clip


def _vae() -> Any:
    vae = comfy.sd.VAE(sd={}, config={"params": {"ddconfig": PIXELS, "embed_dim": 4}}, dtype=torch.float32)
    _fill(vae.first_stage_model)
    return vae


def _fill(module: torch.nn.Module) -> None:
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.05)


NODE_CLASS_MAPPINGS = {"TestNativeCheckpoint": TestNativeCheckpoint}
