"""The nano networks as ComfyUI's own models, when FOOOCUS_STAGES_NATIVE names a ComfyUI checkout.

The golden cases then run through ComfyUI's networks, in its Python (see tests/comfyui/test_native_models.py).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch
from fooocus_stages.nodes.comfy.host import ComfyHost
from fooocus_stages.pipelines.models.checkpoint import Checkpoint
from fooocus_stages.pipelines.models.clip import encoder_name
from fooocus_stages.pipelines.models.handles import Clip
from fooocus_stages.pipelines.models.weights.key_names import clip_key

COMFYUI = os.environ.get("FOOOCUS_STAGES_NATIVE", "")
PREFIX, VAE_PREFIX = "model.diffusion_model.", "first_stage_model."


def as_chosen(checkpoint: Checkpoint, state: Mapping[str, torch.Tensor]) -> Checkpoint:
    """Return the checkpoint, with the UNet of that state in ComfyUI's classes if they are chosen."""
    if not COMFYUI:
        return checkpoint
    from fooocus_stages.nodes.comfy.native.adoption import model_of

    own: Any = checkpoint.model.network
    adopted = model_of(model_patcher(dict(state), own.module.config.attention_head_dim), ComfyHost())
    assert adopted.family == checkpoint.model.family
    return replace(checkpoint, model=replace(checkpoint.model, network=adopted.network))


def clip_as_chosen(clip: Clip) -> Clip:
    """Return the text encoders, in ComfyUI's classes if they are chosen."""
    if not COMFYUI:
        return clip
    from fooocus_stages.nodes.comfy.native.clip import clip_of

    return replace(clip_of(clip_with_weights_of(clip), ComfyHost()), skip=clip.skip)


def clip_with_weights_of(clip: Clip) -> Any:
    """Return a CLIP of ComfyUI with the weights of ours: SDXL's, or SD 1.5's for one encoder."""
    import comfy.sd
    import comfy.sd1_clip
    import comfy.sdxl_clip

    target: Any = SimpleNamespace(params={}, clip=comfy.sd1_clip.SD1ClipModel, tokenizer=comfy.sd1_clip.SD1Tokenizer)
    if len(clip.encoders) > 1:
        target.clip, target.tokenizer = comfy.sdxl_clip.SDXLClipModel, comfy.sdxl_clip.SDXLTokenizer
    modules: dict[str, Any] = {encoder_name(one): one.network.module for one in clip.encoders}
    sizes = {
        f"{name}_model_config": {
            key: getattr(module.config, key)
            for key in ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads")
        }
        for name, module in modules.items()
    }
    native = comfy.sd.CLIP(target, model_options={**sizes, "dtype": torch.float32})
    for name, module in modules.items():
        state = {clip_key(key): value for key, value in module.state_dict().items()}
        left = getattr(native.cond_stage_model, name).transformer.load_state_dict(state, strict=False)
        assert left.unexpected_keys in ([], ["text_model.embeddings.position_ids"])
    return native


def model_patcher(
    state: dict[str, torch.Tensor], heads: int | tuple[int, ...], dtype: torch.dtype = torch.float32
) -> Any:
    """Return a MODEL of ComfyUI with the UNet of a checkpoint, as its loaders make it with weights of that dtype.

    `heads` as diffusers configures them. It computes in float32.
    """
    import comfy.model_base
    import comfy.model_detection
    import comfy.model_patcher
    import comfy.supported_models as kinds
    import comfy.utils

    if f"{PREFIX}scaled_fp8" in state and hasattr(comfy.utils, "convert_old_quants"):
        state, _ = comfy.utils.convert_old_quants(state, PREFIX)
    found = comfy.model_detection.detect_unet_config(state, PREFIX)
    adm = found.get("adm_in_channels")
    kind = kinds.SD15 if adm is None else kinds.SDXLRefiner if adm == 2560 else kinds.SDXL
    config = kind(found)
    config.unet_config |= (
        {"num_heads": heads, "num_head_channels": -1} if isinstance(heads, int) else kind.unet_extra_config
    )
    if quantized := getattr(comfy.utils, "detect_layer_quantization", lambda *_: None)(state, PREFIX):
        config.quant_config = quantized
    if (marker := state.pop(f"{PREFIX}scaled_fp8", None)) is not None:
        config.scaled_fp8 = marker.dtype
    config.set_inference_dtype(dtype, None if dtype == torch.float32 else torch.float32)
    model = {
        kinds.SD15: comfy.model_base.BaseModel,
        kinds.SDXL: comfy.model_base.SDXL,
        kinds.SDXLRefiner: comfy.model_base.SDXLRefiner,
    }[kind](config)
    model.load_model_weights(state, PREFIX)
    return comfy.model_patcher.ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))


def vae(state: Mapping[str, torch.Tensor], channels: Sequence[int], layers: int) -> Any:
    """Return a VAE of ComfyUI with the weights of a checkpoint; `channels` of each level."""
    import comfy.sd

    own = {key.removeprefix(VAE_PREFIX): value for key, value in state.items() if key.startswith(VAE_PREFIX)}
    sizes = {"double_z": True, "z_channels": 4, "resolution": 256, "in_channels": 3, "out_ch": 3, "dropout": 0.0}
    multiples = [width // channels[0] for width in channels]
    sizes |= {"ch": channels[0], "ch_mult": multiples, "num_res_blocks": layers, "attn_resolutions": []}
    return comfy.sd.VAE(sd=own, config={"params": {"ddconfig": sizes, "embed_dim": 4}}, dtype=torch.float32)


def import_comfyui() -> None:
    """Make ComfyUI's modules importable, as its own start does on the CPU."""
    sys.path.insert(0, COMFYUI)
    arguments, sys.argv = sys.argv, ["main.py", "--cpu"]
    try:
        import comfy.options

        comfy.options.enable_args_parsing()
        import comfy.cli_args
    finally:
        sys.argv = arguments


if COMFYUI:
    import_comfyui()
