"""Write the trained networks in published formats: an SDXL checkpoint, a tokenizer folder and LoRAs."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from safetensors.torch import save
from torch import Tensor, nn

from ...pipelines.files import write_file
from ...pipelines.models.weights import key_names
from . import diffusion, networks, published_names

CHECKPOINT = "juggernautXL_v8Rundiffusion"
LORAS = {
    "lcm": "sdxl_lcm_lora",
    "lightning": "sdxl_lightning_4step_lora",
    "hyper": "sdxl_hyper_sd_4step_lora",
    "offset": "sd_xl_offset_example-lora_1.0",
    "film": "SDXL_FILM_PHOTOGRAPHY_STYLE_V1",
}
TITLES = {
    "lcm": "eight steps with the lcm sampler and scheduler",
    "lightning": "four Euler steps on the sgm_uniform schedule",
    "hyper": "four DPM++ SDE steps on the Karras schedule, weight 0.8",
    "offset": "darker, with more contrast",
    "film": "the faded, warm look of film",
}
LICENCE = "GPL-3.0-or-later"


def metadata(title: str, description: str, architecture: str) -> dict[str, str]:
    """Return a file's metadata."""
    return {
        "fooocus_stages.native_size": str(networks.NATIVE_SIZE),
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": architecture,
        "modelspec.title": title,
        "modelspec.description": description,
        "modelspec.author": "the authors of Fooocus Stages",
        "modelspec.license": LICENCE,
        "modelspec.resolution": f"{networks.NATIVE_SIZE}x{networks.NATIVE_SIZE}",
    }


def checkpoint_state(unet: nn.Module, text: diffusion.TextEncoders, vae: AutoencoderKL) -> dict[str, Tensor]:
    """Return all weights under their published SDXL names."""
    clip_l = {key_names.clip_key(key): tensor for key, tensor in text.clip_l.state_dict().items()}
    clip_g = published_names.clip_state_to_openclip(text.clip_g.state_dict())
    return {
        **published_names.unet_state_to_ldm(unet.state_dict()),
        **published_names.vae_state_to_ldm(vae.state_dict()),
        **{f"conditioner.embedders.0.transformer.{key}": tensor for key, tensor in clip_l.items()},
        **clip_g,
        "conditioner.embedders.1.model.logit_scale": torch.tensor(4.6052),
    }


def write_checkpoint(models: Path, unet: nn.Module, text: diffusion.TextEncoders, vae: AutoencoderKL) -> Path:
    """Write the checkpoint, float16, and its tokenizer to the models folder."""
    description = (
        "A very small model in SDXL's layout, trained from nothing on drawings of one coloured shape on a plain "
        "background. It knows those and nothing else; it is not the model whose file name it carries."
    )
    folder = models / "checkpoints"
    path = folder / f"{CHECKPOINT}.safetensors"
    write(
        path,
        checkpoint_state(unet, text, vae),
        metadata("Fooocus Stages pocket model", description, "stable-diffusion-xl-v1-base"),
    )
    text.words.save(folder / f"{CHECKPOINT}.tokenizer")
    return path


def write_lora(models: Path, kind: str, pairs: dict[str, tuple[Tensor, Tensor]]) -> Path:
    """Write a LoRA in kohya's names; `pairs` maps diffusers UNet module names to (down, up) weights."""
    state: dict[str, Tensor] = {}
    for module, (down, up) in pairs.items():
        name = "lora_unet_" + module.replace(".", "_")
        state[f"{name}.lora_down.weight"] = down
        state[f"{name}.lora_up.weight"] = up
        state[f"{name}.alpha"] = torch.tensor(float(len(down)))
    path = models / "loras" / f"{LORAS[kind]}.safetensors"
    description = f"For the Fooocus Stages pocket model only: {TITLES[kind]}. It is not the LoRA whose name it carries."
    write(path, state, metadata(f"Pocket LoRA: {kind}", description, "stable-diffusion-xl-v1-base/lora"))
    return path


def write(path: Path, state: dict[str, Tensor], about: dict[str, str]) -> None:
    """Write float16 safetensors atomically; integer tensors keep their dtype."""
    half = {key: _half(tensor.detach()).contiguous().clone() for key, tensor in state.items()}
    write_file(path, save(half, about))


def _half(tensor: Tensor) -> Tensor:
    return tensor.to(torch.float16) if tensor.is_floating_point() else tensor


def is_finite(module: nn.Module) -> bool:
    """Return True if all weights are finite in float16."""
    return all(bool(torch.isfinite(p.to(torch.float16)).all()) for p in module.parameters())
