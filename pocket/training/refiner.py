"""The pocket's refiner: a small SD 1.5 model that uses the base's CLIP-L and has latents of its own.

Its autoencoder is initialised from the base's with half the inner channels, and its latents are rotated. Its UNet is
trained from scratch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional as F

from ...pipelines.host import LocalHost
from ...pipelines.models.clip import final_norm
from ...pipelines.models.handles import Clip, Model, Vae
from ...pipelines.stages import load
from . import draw, export, networks, tokenizer
from .loop import in_bfloat16, to_tensor
from .published_names import unet_state_to_ldm, vae_state_to_ldm

FILE = "realisticVisionV60B1_v51VAE"
MODELS = Path(__file__).resolve().parents[1] / "models"
SCALING_FACTOR = 0.18215
VAE_CHANNELS = (96, 32, 32, 96)
UNET_CHANNELS = (64, 64, 64)
LOG_VARIANCE = -2.4  # of latents whose deviation is near 8
HEADS = 2  # the same at every level; the loader derives them from the first level's width


def open_base(models: Path = MODELS) -> tuple[Model, Clip, Vae]:
    """Load the committed base model."""
    return load.checkpoint(LocalHost([models], device="cpu"), f"{export.CHECKPOINT}.safetensors")


def base_vae() -> AutoencoderKL:
    """Load the committed base model's autoencoder."""
    return networks.autoencoder(open_base()[2].network.module)


# ---------------------------------------------------------------------------------------------- the autoencoder


def build_vae() -> AutoencoderKL:
    """Build the base's autoencoder with inner levels half as wide."""
    return networks.build_vae(VAE_CHANNELS, SCALING_FACTOR)


@torch.no_grad()
def init_from(vae: AutoencoderKL, base: nn.Module) -> None:
    """Copy every weight from the base's, keeping the first channels, which carry its thumbnail.

    The fourth latent channel, which the base does not use, is initialised anew, and all start with little noise.
    """
    theirs = base.state_dict()
    for name, mine in vae.state_dict().items():
        mine.copy_(theirs[name][tuple(slice(n) for n in mine.shape)])
    nn.init.normal_(vae.get_parameter("encoder.conv_out.weight")[3], std=0.07)
    nn.init.normal_(vae.get_parameter("decoder.conv_in.weight")[:, 3], std=0.02)
    for name, gain in (("quant_conv", 1 / networks.SCALING_FACTOR), ("post_quant_conv", networks.SCALING_FACTOR)):
        weight, bias = networks.layer(vae, name)
        nn.init.zeros_(weight[3])
        nn.init.zeros_(bias[3])
        weight[3, 3] = gain
    weight, bias = networks.layer(vae, "quant_conv")
    nn.init.zeros_(weight[4:])
    nn.init.constant_(bias[4:], LOG_VARIANCE)


@torch.no_grad()
def rotate_latents(vae: AutoencoderKL, mean: Tensor, covariance: Tensor, seed: int = 15) -> None:
    """Change quant_conv and post_quant_conv so that scaled latents are white, along random axes.

    `mean` (4,) and `covariance` (4, 4) are those of the unscaled latents before the change. Decoded images stay the
    same, and the posterior becomes as narrow as the base's.
    """
    axes = np.linalg.qr(np.random.default_rng(seed).normal(size=(4, 4)))[0]
    values, vectors = torch.linalg.eigh(covariance.double())
    white = vectors @ torch.diag(values**-0.5) @ vectors.T
    matrix = (torch.from_numpy(axes) @ white / SCALING_FACTOR).to(mean)
    (weight, bias), (back, shift) = (networks.layer(vae, name) for name in ("quant_conv", "post_quant_conv"))
    weight[:4, :, 0, 0] = matrix @ weight[:4, :, 0, 0]
    bias[:4] = matrix @ (bias[:4] - mean)
    weight[4:], bias[4:] = 0.0, networks.POSTERIOR_LOGVAR
    shift.add_(back[:, :, 0, 0] @ mean)
    back[:, :, 0, 0] = back[:, :, 0, 0] @ torch.linalg.inv(matrix)


@torch.no_grad()
def encode_means(vae: AutoencoderKL, pictures: Tensor) -> Tensor:
    """Encode images (B, 3, H, W) in -1…1 to unscaled latents without sampling, float32, sixteen at a time."""
    with in_bfloat16():
        return torch.cat([vae.encode(part).latent_dist.mean.float() for part in torch.split(pictures, 16)])


def load_vae(folder: Path) -> AutoencoderKL:
    """Load the trained autoencoder with its latents rotated, which is computed once and cached."""
    path, vae = folder / "refiner_vae_turned.pt", build_vae().eval().requires_grad_(False)
    if path.exists():
        vae.load_state_dict(torch.load(path, weights_only=True))
        return vae
    vae.load_state_dict(torch.load(folder / "refiner-vae.pt", weights_only=True)["vae"])
    latents = encode_means(vae, pictures(np.random.default_rng(5), 256)).transpose(0, 1).flatten(1)
    rotate_latents(vae, latents.mean(1), torch.cov(latents))
    torch.save(vae.state_dict(), path)
    return vae


def pictures(rng: np.random.Generator, count: int) -> Tensor:
    """Draw random scenes, float32 (B, 3, 128, 128) in -1…1."""
    return to_tensor(np.stack([draw.draw(draw.random_scene(rng), rng) for _ in range(count)]))


# ---------------------------------------------------------------------------------------------- the UNet


def build_unet() -> UNet2DConditionModel:
    """Build a UNet like SD 1.5's: no size or pooled conditioning, the same heads at every level; context (B, T, 64)."""
    unet: UNet2DConditionModel = UNet2DConditionModel(
        sample_size=networks.NATIVE_SIZE // 8,
        in_channels=4,
        out_channels=4,
        block_out_channels=UNET_CHANNELS,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=HEADS,
        cross_attention_dim=networks.WIDTH_L,
    )
    return unet


class TextReader:
    """The base's CLIP-L as an SD 1.5 refiner uses it: the second-to-last hidden state, through the final norm."""

    def __init__(self, clip: Clip) -> None:
        self.encoder = clip.encoders[0].network.module.eval().requires_grad_(False)
        self.norm = final_norm(clip)
        folder = MODELS / "checkpoints" / f"{export.CHECKPOINT}.tokenizer"
        self.words = tokenizer.load(folder)

    @torch.no_grad()
    def __call__(self, texts: Sequence[Sequence[str]]) -> Tensor:
        """Encode B prompts of k sections each to context (B, 77 k, 64)."""
        ids = torch.tensor([self.words.section(text, self.words.end) for prompt in texts for text in prompt])
        hidden = self.encoder(ids, output_hidden_states=True).hidden_states[-2].float()
        normed = F.layer_norm(hidden, self.norm.weight.shape, self.norm.weight, self.norm.bias, self.norm.eps)
        return normed.reshape(len(texts), -1, normed.shape[-1])


# ---------------------------------------------------------------------------------------------- the file


def write(models: Path, unet: UNet2DConditionModel, vae: AutoencoderKL) -> Path:
    """Write the checkpoint in SD 1.5's layout, float16, without text encoders, to the models folder."""
    description = (
        "A very small model in SD 1.5's layout, a refiner for the Fooocus Stages pocket model: it reads that model's "
        "text and knows the same drawings and nothing else. It is not the model whose file name it carries."
    )
    state = {
        **unet_state_to_ldm(unet.state_dict()),
        **vae_state_to_ldm(vae.state_dict()),
    }
    path = models / "checkpoints" / f"{FILE}.safetensors"
    export.write(path, state, export.metadata("Fooocus Stages pocket refiner", description, "stable-diffusion-v1"))
    return path
