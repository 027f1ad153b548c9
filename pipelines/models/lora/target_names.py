"""The names by which LoRA files call the weights of a UNet and of text encoders (Fooocus ldm_patched/modules/lora.py).

kohya and LyCORIS write `lora_unet_` and the path with underscores, in ldm or diffusers names; diffusers and PEFT write
the dotted path, with or without `unet.`, `base_model.model.` and `.processor.`; ComfyUI writes its own paths.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from torch import nn

from ..weights import key_names

OF_TEXT = ("lora_te", "text_encoder", "text_model.", "clip_l.", "clip_g.", "te_")
UNUSED = ("lora_te1_text_projection", "text_encoder.text_projection")  # no Fooocus model reads CLIP-L's projection

_PEFT = re.compile(r"^((?:unet|text_encoder|text_encoder_2)\.|)(?:base_model\.model\.)?")
_BARE_TEXT = re.compile(r"^(text_encoder\.|text_encoder_2\.|)(?=encoder\.layers\.|embeddings\.|final_layer_norm$)")
_OLD_TEXT = re.compile(r"\.self_attn\.to_(q|k|v|out)$")


def plain(base: str) -> str:
    """A name as the maps below know it: without the prefixes and levels that wrappers put around the same weight."""
    path = _PEFT.sub(r"\1", base).removeprefix("unet.").replace(".processor.", ".")
    path = _OLD_TEXT.sub(r".self_attn.\1_proj", _BARE_TEXT.sub(r"\1text_model.", path))
    return path + ".0" if path.endswith(".to_out") else path


def unet_names(unet: nn.Module) -> Iterator[tuple[str, str]]:
    """(name in a file, weight of a diffusers UNet) for every plain name by which LoRA files may call a weight."""
    for key, ldm in key_names.unet_to_ldm(key for key, _ in unet.named_parameters()).items():
        yield "diffusion_model." + ldm, key
        if not key.endswith(".weight"):
            continue
        module, ldm = key.removesuffix(".weight"), ldm.removesuffix(".weight")
        yield "diffusion_model." + ldm, key
        yield "lora_unet_" + ldm.replace(".", "_"), key
        yield "lora_unet_" + module.replace(".", "_"), key
        yield "lycoris_" + module.replace(".", "_"), key
        yield module, key


def text_names(encoder: nn.Module, pooled: bool) -> Iterator[tuple[str, str]]:
    """The same for a text encoder, CLIP-G when `pooled`, else CLIP-L. The last name does not tell which."""
    flat = ("lora_te2_",) if pooled else ("lora_te_", "lora_te1_")
    comfy = "clip_g.transformer." if pooled else "clip_l.transformer."
    for key, _ in encoder.named_parameters():
        if not key.endswith(".weight"):
            continue
        module = key_names.clip_key(key).removesuffix(".weight")
        for prefix in flat:
            yield prefix + module.replace(".", "_"), key
        yield ("text_encoder_2." if pooled else "text_encoder.") + module, key
        yield comfy + module, key
        yield "text_encoders." + comfy + module, key
        yield module, key
