"""Weights of diffusers and transformers networks under the names of published single files (ldm and OpenCLIP)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from ...pipelines.models.hints.ip_adapter import ImageAdapter
from ...pipelines.models.weights.key_names import CLIP_LAYER, UNET, VAE, VAE_ATTENTION, clip_key, unet_to_ldm


def unet_state_to_ldm(state: Mapping[str, Tensor], prefix: str = UNET) -> dict[str, Tensor]:
    """A diffusers UNet's weights under their published names. Tensors are shared, not copied."""
    return {prefix + new: state[old] for old, new in unet_to_ldm(state).items()}


def vae_state_to_ldm(state: Mapping[str, Tensor], prefix: str = VAE) -> dict[str, Tensor]:
    """A diffusers VAE's weights under their published names: attention as 1×1 convolutions."""
    renamed = {prefix + new: state[old] for old, new in vae_to_ldm(state).items()}
    is_linear = re.compile(r".*\.attn_1\.(q|k|v|proj_out)\.weight")
    return {
        key: tensor[:, :, None, None] if is_linear.fullmatch(key) and tensor.ndim == 2 else tensor
        for key, tensor in renamed.items()
    }


def clip_state_to_openclip(
    state: Mapping[str, Tensor], prefix: str = "conditioner.embedders.1.model."
) -> dict[str, Tensor]:
    """A transformers CLIP text model's weights under OpenCLIP's names: q, k and v fused, projection transposed."""
    state = {clip_key(key): tensor for key, tensor in state.items()}
    out: dict[str, Tensor] = {}
    layer_names = {new: old for old, new in CLIP_LAYER.items()}
    for key, tensor in state.items():
        if match := re.match(r"text_model\.encoder\.layers\.(\d+)\.(.*)\.(weight|bias)$", key):
            layer, inner, leaf = f"transformer.resblocks.{match[1]}", match[2], match[3]
            if inner == "self_attn.q_proj":
                qkv = [state[key.replace("q_proj", f"{q}_proj")] for q in "qkv"]
                out[f"{prefix}{layer}.attn.in_proj_{leaf}"] = torch.cat(qkv)
            elif inner in layer_names:
                out[f"{prefix}{layer}.{layer_names[inner]}.{leaf}"] = tensor
        elif key.endswith("token_embedding.weight"):
            out[prefix + "token_embedding.weight"] = tensor
        elif key.endswith("position_embedding.weight"):
            out[prefix + "positional_embedding"] = tensor
        elif "final_layer_norm." in key:
            out[prefix + "ln_final." + key.rsplit(".", 1)[1]] = tensor
        elif key == "text_projection.weight":
            out[prefix + "text_projection"] = tensor.T.contiguous()
    return out


def adapter_state_published(adapter: ImageAdapter) -> dict[str, dict[str, Tensor]]:
    """Return an image prompt adapter's weights as a .bin file holds them: `image_proj`, and `ip_adapter` with its
    maps numbered 1, 3, 5, …"""
    maps: dict[str, Tensor] = {}
    for key, tensor in adapter.state_dict().items():
        if match := re.fullmatch(r"(to_[kv])\.(\d+)\.weight", key):
            maps[f"{2 * int(match[2]) + 1}.{match[1]}_ip.weight"] = tensor
    return {"image_proj": adapter.resampler.state_dict(), "ip_adapter": maps}


def vae_to_ldm(keys: Iterable[str]) -> dict[str, str]:
    """diffusers VAE key to ldm key (no prefix)."""
    keys = list(keys)
    levels = 1 + max((int(m[1]) for k in keys if (m := re.match(r"decoder\.up_blocks\.(\d+)\.", k))), default=-1)
    return {key: _vae_ldm_key(key, levels) for key in keys}


def _vae_ldm_key(key: str, levels: int) -> str:
    blocks = r"(encoder|decoder)\.(down|up)_blocks\.(\d+)\.(resnets|downsamplers|upsamplers)\.(\d+)\.(.*)"
    if match := re.match(blocks, key):
        level = int(match[3]) if match[2] == "down" else levels - 1 - int(match[3])
        rest = match[6].replace("conv_shortcut", "nin_shortcut")
        inner = f"block.{match[5]}" if match[4] == "resnets" else match[4].removesuffix("rs")
        return f"{match[1]}.{match[2]}.{level}.{inner}.{rest}"
    if match := re.match(r"(encoder|decoder)\.mid_block\.resnets\.(\d+)\.(.*)", key):
        return f"{match[1]}.mid.block_{int(match[2]) + 1}.{match[3].replace('conv_shortcut', 'nin_shortcut')}"
    if match := re.match(r"(encoder|decoder)\.mid_block\.attentions\.0\.(.*)\.(weight|bias)$", key):
        names = {new: old for old, new in VAE_ATTENTION.items()}
        return f"{match[1]}.mid.attn_1.{names[match[2]]}.{match[3]}"
    return key.replace(".conv_norm_out.", ".norm_out.")
