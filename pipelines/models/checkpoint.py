"""Checkpoints, in one file or in a folder of diffusers: recognising the model family, and loading the networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn

from ..errors import BadFile
from ..settings import AUTO
from ..types import Family
from .clip import load_clip
from .handles import Clip, Model, Vae
from .prediction import predicts
from .unet import UNet
from .weights import key_names
from .weights.checkpoint_files import kind_of, open_checkpoint
from .weights.configs import CONTEXT_OF_SD2, unet_config, vae_config
from .weights.files import Weights, open_weights
from .weights.filling import build, constructor_of, derive_for_file, fill, raise_for_names, to_dtype
from .weights.key_names import Part
from .weights.merging import Network
from .weights.wrappers import prefixes_of, under

REFINER_ADM = 2560
LATENT_CHANNELS = 4
FIRST_OF_VAE = "decoder.conv_in.weight"
PARTS_OF_VAE = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
NATIVE_SIZE_KEY = "fooocus_stages.native_size"


@dataclass(frozen=True)
class Checkpoint:
    """The networks of one file, and `notices` about it for the user, without its name.

    The text encoders of an SDXL refiner are not read: Fooocus uses those of the base.
    """

    model: Model
    clip: Clip | None
    vae: Vae | None
    notices: tuple[str, ...] = ()


def load_checkpoint(
    path: Path,
    unet_dtype: torch.dtype,
    vae_dtype: torch.dtype,
    home: Path | None = None,
    text: bool = True,
    prediction: str = AUTO,
    vae: bool = True,
) -> Checkpoint:
    """Load the UNet, text encoders (float32; none without `text`) and VAE (none without `vae`) of a checkpoint.

    The networks are on the CPU. A UNet file in a folder of diffusers is loaded with the other networks of the folder.

    `home` is the models folder that is searched first for companion files. The metadata entry
    'fooocus_stages.native_size' gives the image side in pixels of the training; by default the family decides.
    `prediction` is one of PREDICTIONS; 'auto' reads it from the file. Raises MissingFile when the file or the
    tokenizer's vocabulary is missing, and BadFile for a file that is damaged, of an unknown family, or incomplete.
    """
    with open_checkpoint(path) as weights:
        family = recognise(weights)
        found = predicts(weights, prediction)
        model = Model(
            network=UNet(load_unet(weights, family, unet_dtype)),
            family=family,
            prediction=found.prediction,
            zero_snr=found.zero_snr,
            name=path.name,
            home=home,
            native_size=_native_size(weights, family),
        )
        clip = load_clip(weights, family, home) if text and family != "sdxl-refiner" else None
        module = _vae(weights, safe_vae_dtype(vae_dtype, family)) if vae else None
        own_vae = Vae(Network(module), family="sd15" if family == "sd15" else "sdxl") if module else None
    return Checkpoint(model, clip, own_vae, found.notices)


def load_vae(path: Path, dtype: torch.dtype) -> Vae:
    """Load the VAE of a VAE file or a whole checkpoint, in ldm or diffusers names. Raises BadFile, MissingFile."""
    with open_weights(path) as weights:
        if (module := _vae(weights, safe_vae_dtype(dtype))) is not None:
            return Vae(Network(module), path.name)
        kind = kind_of(weights.shapes)
    what = f"no VAE; it is {kind}" if kind else "no VAE"
    raise BadFile(f"{path.name} contains {what}: choose a VAE file or a checkpoint that has one")


def recognise(weights: Weights) -> Family:
    """Recognise the model family of a checkpoint by its tensors. Raises BadFile for an unknown family."""
    shapes = under(weights.shapes, unet_prefix(weights))
    channels = next(shapes[key] for key in key_names.FIRST_OF_UNET if key in shapes)[1]
    if channels != LATENT_CHANNELS:
        raise BadFile(f"{weights.path.name} has {channels} input channels (an inpainting model?): choose one with 4")
    contexts = {shape[1] for key, shape in shapes.items() if key.endswith("attn2.to_k.weight")}
    adm = shapes.get("label_emb.0.0.weight", shapes.get("add_embedding.linear_1.weight"))
    if adm is None:
        if CONTEXT_OF_SD2 in contexts:
            raise BadFile(f"{weights.path.name} is a Stable Diffusion 2 model: choose one of SDXL or SD 1.5")
        return "sd15"
    openclip_alone = any(key.startswith("conditioner.embedders.0.model.") for key in weights.shapes)
    return "sdxl-refiner" if adm[1] == REFINER_ADM or openclip_alone else "sdxl"


def unet_prefix(weights: Weights) -> str:
    """Return the prefix of the UNet's weights, '' for a file that holds only a UNet. Raises BadFile if there is none.

    ControlNets, averages of the weights, and parts of other networks with the same names are not taken for a UNet.
    """
    for prefix in prefixes_of(weights.shapes, key_names.FIRST_OF_UNET):
        if not any(prefix + key in weights.shapes for key in key_names.ONLY_IN_CONTROLNETS) and any(
            prefix + key in weights.shapes for key in key_names.TIMESTEPS_OF_UNET
        ):
            return prefix
    kind = kind_of(weights.shapes)
    what = f"no UNet of Stable Diffusion; it is {kind}" if kind else "no UNet of Stable Diffusion"
    raise BadFile(f"{weights.path.name} contains {what}: choose a checkpoint file")


def load_unet(weights: Weights, family: Family, dtype: torch.dtype) -> nn.Module:
    """Load the UNet of an open checkpoint onto the CPU, ready for inference. Raises BadFile."""
    prefix = unet_prefix(weights)
    shapes = {key: shape for key, shape in under(weights.shapes, prefix).items() if "." in key}  # others are markers
    is_ldm = key_names.FIRST_OF_UNET[0] in shapes
    new_names = key_names.unet_to_diffusers(shapes) if is_ldm else {key: key for key in shapes}
    raise_for_names(weights.path, "the UNet", left_over=shapes.keys() - new_names.keys())
    config, middle = derive_for_file(
        weights.path, unet_config, {new: shapes[old] for old, new in new_names.items()}, family
    )

    parts = {new: Part(prefix + old) for old, new in new_names.items()}
    return fill(empty_unet(config, middle), weights, parts, to_dtype(dtype), "the UNet")


def empty_unet(config: Mapping[str, Any], middle: int | None) -> nn.Module:
    """Build the UNet of a configuration from `unet_config` on the meta device."""

    def make() -> nn.Module:
        unet: nn.Module = constructor_of(UNet2DConditionModel)(**config)
        last = config["transformer_layers_per_block"][-1]
        if middle is not None and middle != (last if isinstance(last, int) else last[0]):
            depths = [*config["transformer_layers_per_block"][:-1], middle]
            other: nn.Module = constructor_of(UNet2DConditionModel)(
                **{**config, "transformer_layers_per_block": depths}
            )
            unet.mid_block = other.mid_block
        return unet

    return build(make)


def vae_parts(weights: Weights) -> dict[str, Part]:
    """Return the source in the file of each weight of a diffusers VAE; empty if there is no VAE."""
    prefix = next(prefixes_of(weights.shapes, [FIRST_OF_VAE]), None)
    if prefix is None:
        return {}
    keys = [key for key in under(weights.shapes, prefix) if key.startswith(PARTS_OF_VAE)]
    new_names = key_names.vae_to_diffusers(keys)
    raise_for_names(weights.path, "the VAE", left_over=set(keys) - new_names.keys())
    return {new: Part(prefix + old) for old, new in new_names.items()}


def safe_vae_dtype(dtype: torch.dtype, family: Family = "sdxl") -> torch.dtype:
    """Replace float16, in which SDXL's VAE overflows, by bfloat16 if the device supports it, otherwise by float32."""
    if dtype != torch.float16 or family == "sd15":
        return dtype
    bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return torch.bfloat16 if bf16 else torch.float32


def _vae(weights: Weights, dtype: torch.dtype) -> nn.Module | None:
    parts = vae_parts(weights)
    if not parts:
        return None
    shapes = {new: weights.shapes[part.key] for new, part in parts.items()}
    if (channels := shapes[FIRST_OF_VAE][1]) != LATENT_CHANNELS:
        raise BadFile(
            f"{weights.path.name} is a VAE with {channels} latent channels, for another model family such as Flux: "
            "choose one for SDXL"
        )
    config = derive_for_file(weights.path, vae_config, shapes)
    module: nn.Module = build(lambda: constructor_of(AutoencoderKL)(**config))
    return fill(module, weights, parts, to_dtype(dtype), "the VAE")


def _native_size(weights: Weights, family: Family) -> int:
    text = weights.metadata.get(NATIVE_SIZE_KEY, "")
    return int(text) if text.isdecimal() and int(text) >= 8 else 512 if family == "sd15" else 1024
