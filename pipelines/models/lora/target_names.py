"""Names of weights in LoRA files, reduced to one canonical form.

A name consists of a prefix for the network, sometimes a wrapper's prefix, and the path of a module in the naming of
ldm, diffusers, transformers or OpenCLIP, joined with dots, underscores or both. `canonical` removes the prefixes and
replaces dots by underscores; `unet_names` and `text_names` list every path that a network's weights can then have.
Sources: kohya, LyCORIS, OneTrainer, SimpleTuner, ai-toolkit, diffusers, PEFT, ComfyUI and Fooocus
ldm_patched/modules/lora.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import nn

from ..weights import key_names

Owner = Literal["unet", "clip_l", "clip_g", "text", ""]
"""The network that a name belongs to: 'text' is either text encoder, '' any network."""

_WRAPPERS = "base_model|model|_orig_mod|module|pipeline|pipe|network|adapter|state_dict|transformer|lora|lycoris|sdxl"
_OWNERS: dict[Owner, str] = {
    "unet": r"unet|diffusion_model",
    "clip_g": r"te_?2|text_encoder_?(?:2|two)|text_encoders_(?:1|clip_g)|clip_g|conditioner_embedders_1",
    "clip_l": r"te(?:_?1)?|text_encoder(?:_?1|_one)?|text_encoders_(?:0|clip_l)|clip_l|conditioner_embedders_0|"
    r"cond_stage_model",
}
_PREFIX = re.compile(
    rf"(?:(?:{'|'.join(f'(?P<{owner}>{names})' for owner, names in _OWNERS.items())}|{_WRAPPERS})_)*", re.IGNORECASE
)
_TEXT_PREFIX = re.compile(r"(?:transformer_)*(?:text_model_)?")
_TEXT_PATH = re.compile(
    r"(?:transformer_)?(?:text_model_|resblocks_|encoder_layers_|embeddings_|final_layer_norm|text_projection)"
)
_OLD_TEXT = re.compile(r"self_attn_to_(q|k|v|out)$")  # diffusers until 0.20


@dataclass(frozen=True)
class Name:
    """A canonical name: the network, and the path of a weight in it, joined by underscores."""

    owner: Owner
    path: str


def canonical(name: str) -> Name:
    """The canonical form of the name of a weight or a module in a LoRA file."""
    flat = name.replace(".", "_")
    prefix = _PREFIX.match(flat)
    path = flat[prefix.end() :] if prefix else flat
    owner: Owner = next((one for one in _OWNERS if prefix and prefix[one]), "text" if _TEXT_PATH.match(path) else "")
    return Name(owner, _unet_path(path) if owner in ("unet", "") else _text_path(path))


def _unet_path(flat: str) -> str:
    path = flat.replace("_processor_", "_")
    return path + "_0" if path.endswith("_to_out") else path


def _text_path(flat: str) -> str:
    return _OLD_TEXT.sub(r"self_attn_\1_proj", _TEXT_PREFIX.sub("", flat, count=1))


def unet_names(unet: nn.Module) -> Iterator[tuple[str, str]]:
    """(canonical path, parameter) of every weight of a diffusers UNet, by its ldm and its diffusers path."""
    for key, ldm in key_names.unet_to_ldm(key for key, _ in unet.named_parameters()).items():
        for path in (ldm, key):
            yield from _paths(path, key)


def text_names(encoder: nn.Module) -> Iterator[tuple[str, str]]:
    """(canonical path, parameter) of every weight of a text encoder, by its transformers and its OpenCLIP path."""
    for key, _ in encoder.named_parameters():
        path = key_names.clip_key(key)
        yield from _paths(path.removeprefix("text_model."), key)
        if openclip := key_names.openclip_key(path):
            yield from _paths(openclip.removeprefix("transformer."), key)


def _paths(path: str, parameter: str) -> Iterator[tuple[str, str]]:
    """A weight is named by its module's path or by its own, a bias only by its own."""
    yield path.replace(".", "_"), parameter
    if path.endswith(".weight"):
        yield path.removesuffix(".weight").replace(".", "_"), parameter
