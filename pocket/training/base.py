"""The committed base model, frozen, for the training of its refiner, control networks, adapters and inpaint engine."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor, nn

from . import data, diffusion, draw, export, networks, refiner, tokenizer
from .loop import in_bfloat16


@dataclass(frozen=True)
class Base:
    """UNet, text encoders and autoencoder without gradients."""

    unet: nn.Module
    text: diffusion.TextEncoders
    vae: AutoencoderKL


def open_base() -> Base:
    """Load the committed model in float32."""
    model, clip, vae = refiner.open_base()
    text = diffusion.TextEncoders(tokenizer.load(refiner.MODELS / "checkpoints" / f"{export.CHECKPOINT}.tokenizer"))
    for mine, theirs in zip((text.clip_l, text.clip_g), clip.encoders, strict=True):
        mine.load_state_dict(theirs.network.module.state_dict())
    text.eval().requires_grad_(False)
    return Base(model.network.module, text, networks.autoencoder(vae.network.module))


@torch.no_grad()
def encode_latents(base: Base, pictures: Tensor) -> Tensor:
    """Encode images (B, 3, 8h, 8w) in -1..1 to scaled latents (B, 4, h, w), without sampling."""
    with in_bfloat16():
        means = [base.vae.encode(part).latent_dist.mean.float() for part in torch.split(pictures, 16)]
    return torch.cat(means) * networks.SCALING_FACTOR


def condition_for(
    base: Base, texts: Sequence[str], size: tuple[int, int], rng: np.random.Generator
) -> diffusion.Condition:
    """Encode texts of one section each, for images of `size` (height, width)."""
    return condition_for_sections(base, [[text] for text in texts], size, rng)


@torch.no_grad()
def condition_for_sections(
    base: Base, texts: Sequence[Sequence[str]], size: tuple[int, int], rng: np.random.Generator
) -> diffusion.Condition:
    """Encode prompts with the same number of sections each, summing the pooled vectors of the first sections."""
    kept = torch.from_numpy(np.stack([data.pooled_weights(len(sections), rng) for sections in texts]))
    ids = torch.tensor([data.size_ids(*size, rng) for _ in texts], dtype=torch.float32)
    return base.text.condition(texts, ids, kept)


def caption_without(scene: draw.Scene, left_out: Collection[str], rng: np.random.Generator) -> str:
    """Return a caption without the fields left out (of draw.WORDS), which only the hint can supply."""
    kept = {name: getattr(scene, name) for name in draw.WORDS if name not in left_out}
    words = [
        kept.get("size", "medium"),
        kept.get("pattern", "plain"),
        kept.get("colour", ""),
        kept.get("shape", "shape"),
    ]
    thing = " ".join(word for word in words if word not in ("", "medium", "plain"))
    ground = f"{kept['background']} background" if "background" in kept else ""
    place = str(rng.choice(draw.PLACES[kept["position"]])) if "position" in kept else ""
    parts = [f"a {thing} on a {ground}" if ground and thing and rng.random() < 0.5 else "", thing, place, ground]
    parts = [parts[0], place] if parts[0] else parts[1:]
    return ", ".join(part for part in parts if part)
