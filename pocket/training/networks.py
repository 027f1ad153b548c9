"""The pocket model's networks: SDXL's architecture at a small fraction of its size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

NATIVE_SIZE = 128
SCALING_FACTOR = 0.13025
POSTERIOR_LOGVAR = -5.0
WIDTH_L, WIDTH_G = 64, 128
HIDDEN_MEAN = 0.5  # prompt weights are rescaled by the mean of the hidden states, which must not be zero


VAE_CHANNELS = (96, 64, 64, 96)


def build_vae(channels: tuple[int, ...] = VAE_CHANNELS, factor: float = SCALING_FACTOR) -> AutoencoderKL:
    """Build an autoencoder with downsampling factor 8 and 2.5 million parameters.

    The outer levels have three channels for each of the 32 groups of SDXL's norms: with one or two, the last norm
    removes every flat colour (a constant group normalises to -1 and 1 whatever its values were).
    """
    vae: AutoencoderKL = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        norm_num_groups=32,
        layers_per_block=1,
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        sample_size=NATIVE_SIZE,
        scaling_factor=factor,
    )
    return vae


def autoencoder(module: nn.Module) -> AutoencoderKL:
    """Return the module typed as what it has to be. Raises TypeError."""
    if not isinstance(module, AutoencoderKL):
        raise TypeError(f"expected an AutoencoderKL, got {type(module).__name__}")
    vae: AutoencoderKL = module
    return vae


def layer(network: nn.Module, name: str) -> tuple[nn.Parameter, nn.Parameter]:
    """Return the weight and the bias of the layer with that name. Raises AttributeError."""
    return network.get_parameter(f"{name}.weight"), network.get_parameter(f"{name}.bias")


ANCHOR = 1.5


@torch.no_grad()
def init_as_thumbnail(vae: AutoencoderKL) -> None:
    """Set the weights so that the untrained encoder returns a thumbnail and the untrained decoder enlarges it.

    Residual branches start at zero and the trunk carries 32 signals: plus and minus each colour. Before the last norm
    each group is (signal, +ANCHOR, -ANCHOR), so the norm is almost linear, and since silu(x) - silu(-x) = x, the last
    convolution can recover the signal exactly.
    """
    for name, module in vae.named_modules():
        if isinstance(module, ResnetBlock2D):
            for parameter in layer(vae, f"{name}.conv2"):
                nn.init.zeros_(parameter)
    for side in ("encoder", "decoder"):
        nn.init.zeros_(vae.get_parameter(f"{side}.mid_block.attentions.0.to_out.0.weight"))
    for level in range(3):
        _carry(*layer(vae, f"encoder.down_blocks.{level}.downsamplers.0.conv"), [(0, 0), (0, 1), (1, 0), (1, 1)])
        _carry(*layer(vae, f"decoder.up_blocks.{level}.upsamplers.0.conv"), [(1, 1)])
    for side, blocks in (("encoder", "down_blocks"), ("decoder", "up_blocks")):
        _spread(*layer(vae, f"{side}.conv_in"))
        _route(*layer(vae, f"{side}.{blocks}.1.resnets.0.conv_shortcut"), 3, 1)
        _route(*layer(vae, f"{side}.{blocks}.3.resnets.0.conv_shortcut"), 1, 3)
        _gather(*layer(vae, f"{side}.conv_out"))
    for name in ("quant_conv", "post_quant_conv"):
        _identity_1x1(*layer(vae, name))
    nn.init.constant_(layer(vae, "quant_conv")[1][4:], -4.0)


def _identity_1x1(weight: nn.Parameter, bias: nn.Parameter) -> None:
    weight.mul_(0.02)
    weight[:, :, 0, 0] += torch.eye(len(weight))
    nn.init.zeros_(bias)


def _carry(weight: nn.Parameter, bias: nn.Parameter, taps: Sequence[tuple[int, int]]) -> None:
    """Pass each channel to itself, averaged over the taps of the kernel."""
    weight.mul_(0.1)
    bias.zero_()
    for channel in range(len(weight)):
        for y, x in taps:
            weight[channel, channel, y, x] += 1 / len(taps)


def _spread(weight: nn.Parameter, bias: nn.Parameter) -> None:
    """Put plus and minus the first three inputs in turn on every third channel, and anchors on the others."""
    weight.mul_(0.1)
    bias.zero_()
    for g in range(32):
        weight[3 * g, (g // 2) % 3, 1, 1] += 1.0 if g % 2 == 0 else -1.0
        bias[3 * g + 1], bias[3 * g + 2] = ANCHOR, -ANCHOR


def _route(weight: nn.Parameter, bias: nn.Parameter, source: int, target: int) -> None:
    """Send signal g from channel source x g to channel target x g, with anchors where the target has free channels."""
    weight.mul_(0.1)
    bias.zero_()
    for g in range(32):
        weight[target * g, :, 0, 0] = 0
        weight[target * g, source * g, 0, 0] = 1.0
        if target == 3:
            bias[3 * g + 1], bias[3 * g + 2] = ANCHOR, -ANCHOR


def _gather(weight: nn.Parameter, bias: nn.Parameter) -> None:
    """Undo the last norm and silu: differences of plus and minus signals, averaged per colour."""
    weight.mul_(0.1)
    bias.zero_()
    gain = ANCHOR * 0.8165 * 1.5
    for g in range(32):
        colour = (g // 2) % 3
        same = sum(1 for k in range(16) if k % 3 == colour)
        weight[colour, 3 * g, 1, 1] += (gain if g % 2 == 0 else -gain) / same


@torch.no_grad()
def fold_statistics(vae: AutoencoderKL, mean: torch.Tensor, std: torch.Tensor) -> None:
    """Change quant_conv and post_quant_conv so that latents times 0.13025 have mean 0 and deviation 1.

    The posterior becomes equally narrow in all channels, because a channel that training left unused would otherwise be
    mostly noise. `mean` and `std` are those of the unscaled latents before the change, each (4,).
    """
    gain = 1 / (std * SCALING_FACTOR)
    (weight, bias), (back, shift) = layer(vae, "quant_conv"), layer(vae, "post_quant_conv")
    shift.add_(back[:, :, 0, 0] @ mean)
    back.div_(gain.view(1, 4, 1, 1))
    weight[:4] *= gain.view(4, 1, 1, 1)
    bias[:4] = (bias[:4] - mean) * gain
    weight[4:], bias[4:] = 0.0, POSTERIOR_LOGVAR


def build_unet(channels: tuple[int, int, int] = (64, 128, 128)) -> UNet2DConditionModel:
    """Build a UNet with SDXL's levels, heads and size conditioning; context (B, T, 192), pooled (B, 128)."""
    unet: UNet2DConditionModel = UNet2DConditionModel(
        sample_size=NATIVE_SIZE // 8,
        in_channels=4,
        out_channels=4,
        block_out_channels=channels,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 1, 1),
        attention_head_dim=tuple(c // 64 for c in channels),
        cross_attention_dim=WIDTH_L + WIDTH_G,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=WIDTH_G + 6 * 256,
    )
    return unet


def _text_config(width: int, layers: int, vocabulary: int, activation: str) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        max_position_embeddings=77,
        hidden_act=activation,
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=vocabulary - 1,
    )


def build_text_encoders(vocabulary: int) -> tuple[CLIPTextModel, CLIPTextModelWithProjection]:
    """Build small versions of CLIP-L and CLIP-G; SDXL reads their second-to-last hidden states."""
    clip_l = CLIPTextModel(_text_config(WIDTH_L, 2, vocabulary, "quick_gelu"))
    clip_g = CLIPTextModelWithProjection(_text_config(WIDTH_G, 3, vocabulary, "gelu"))
    for name, weight in [*clip_l.named_parameters(), *clip_g.named_parameters()]:
        if "position_embedding" in name:
            weight.data += HIDDEN_MEAN
    return clip_l, clip_g


def count(module: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(p.numel() for p in module.parameters())
