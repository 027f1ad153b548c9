"""The committed base model as the trainings of what hangs on it use it: frozen, with its text encoders in a batch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor, nn

from . import data, diffusion, draw, export, networks, refiner, tokenizer


@dataclass(frozen=True)
class Base:
    """UNet, text encoders and autoencoder without gradients."""

    unet: nn.Module
    text: diffusion.TextEncoders
    vae: AutoencoderKL


def open_base() -> Base:
    """The committed model, float32."""
    model, clip, vae = refiner.open_base()
    text = diffusion.TextEncoders(tokenizer.load(refiner.MODELS / "checkpoints" / f"{export.CHECKPOINT}.tokenizer"))
    for mine, theirs in zip((text.clip_l, text.clip_g), clip.encoders, strict=True):
        mine.load_state_dict(theirs.network.module.state_dict())
    text.eval().requires_grad_(False)
    return Base(model.network.module, text, networks.autoencoder(vae.network.module))


@torch.no_grad()
def latents_of(base: Base, pictures: Tensor) -> Tensor:
    """Scaled latents (B, 4, h, w), the means, of pictures (B, 3, 8h, 8w) in -1..1."""
    with torch.autocast("cpu", torch.bfloat16):
        means = [base.vae.encode(part).latent_dist.mean.float() for part in torch.split(pictures, 16)]
    return torch.cat(means) * networks.SCALING_FACTOR


def told(base: Base, texts: Sequence[str], size: tuple[int, int], rng: np.random.Generator) -> diffusion.Condition:
    """What the UNet is told for texts of one section and a picture of `size` (height, width)."""
    return told_in_sections(base, [[text] for text in texts], size, rng)


@torch.no_grad()
def told_in_sections(
    base: Base, texts: Sequence[Sequence[str]], size: tuple[int, int], rng: np.random.Generator
) -> diffusion.Condition:
    """What the UNet is told for texts of equally many sections, the pooled vectors of the first ones added up."""
    kept = torch.from_numpy(np.stack([data.sum_weights(len(sections), rng) for sections in texts]))
    ids = torch.tensor([data.size_ids(*size, rng) for _ in texts], dtype=torch.float32)
    return base.text.condition(texts, ids, kept)


def caption_without(scene: draw.Scene, left_out: Collection[str], rng: np.random.Generator) -> str:
    """A caption that is silent about the fields left out (of draw.WORDS): what they are, a hint has to say."""
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
