"""The pocket model's networks: SDXL's shape at a few per cent of its size."""

from __future__ import annotations

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
HIDDEN_MEAN = 0.5  # prompt weights rescale by the mean of the hidden states, which must therefore stay off zero


VAE_CHANNELS = (96, 64, 64, 96)


def build_vae(channels: tuple[int, ...] = VAE_CHANNELS, factor: float = SCALING_FACTOR) -> AutoencoderKL:
    """An eightfold autoencoder of two and a half million parameters.

    The outer levels have three channels for each of the 32 groups of SDXL's norms: with one or two, the last norm
    takes every flat colour away (a constant group normalises to -1 and 1 whatever its values were).
    """
    return AutoencoderKL(
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


ANCHOR = 1.5


@torch.no_grad()
def begin_as_thumbnail(vae: AutoencoderKL) -> None:
    """Set the weights so that, before any training, the latents are a thumbnail and decoding enlarges it.

    Residual branches start at zero and the trunk carries 32 signals: plus and minus each colour. In front of a
    closing norm each group is (signal, +ANCHOR, -ANCHOR), so the norm is almost linear, and since
    silu(x) - silu(-x) = x, the closing convolution can read the signal exactly.
    """
    for resnet in (m for m in vae.modules() if isinstance(m, ResnetBlock2D)):
        nn.init.zeros_(resnet.conv2.weight)
        nn.init.zeros_(resnet.conv2.bias)
    for side in (vae.encoder, vae.decoder):
        nn.init.zeros_(side.mid_block.attentions[0].to_out[0].weight)
    for block in vae.encoder.down_blocks[:3]:
        _carry(block.downsamplers[0].conv, taps=[(0, 0), (0, 1), (1, 0), (1, 1)])
    for block in vae.decoder.up_blocks[:3]:
        _carry(block.upsamplers[0].conv)
    _spread(vae.encoder.conv_in, 3, 1)
    _route(vae.encoder.down_blocks[1].resnets[0].conv_shortcut, 3, 1)
    _route(vae.encoder.down_blocks[3].resnets[0].conv_shortcut, 1, 3)
    _gather(vae.encoder.conv_out, 8)
    _identity_1x1(vae.quant_conv)
    _identity_1x1(vae.post_quant_conv)
    nn.init.constant_(vae.quant_conv.bias[4:], -4.0)
    _spread(vae.decoder.conv_in, 3, 3)
    _route(vae.decoder.up_blocks[1].resnets[0].conv_shortcut, 3, 1)
    _route(vae.decoder.up_blocks[3].resnets[0].conv_shortcut, 1, 3)
    _gather(vae.decoder.conv_out, 3)


def _identity_1x1(conv: nn.Conv2d) -> None:
    conv.weight.mul_(0.02)
    conv.weight[:, :, 0, 0] += torch.eye(conv.out_channels)
    nn.init.zeros_(conv.bias)


def _carry(conv: nn.Conv2d, taps: list[tuple[int, int]] | None = None) -> None:
    """Each channel to itself, averaged over the taps (the middle one by default)."""
    taps = taps or [(1, 1)]
    conv.weight.mul_(0.1)
    conv.bias.zero_()
    for channel in range(conv.out_channels):
        for y, x in taps:
            conv.weight[channel, channel, y, x] += 1 / len(taps)


def _spread(conv: nn.Conv2d, colours: int, _step: int) -> None:
    """Plus and minus the colours in turn on every third channel, anchors on the others."""
    conv.weight.mul_(0.1)
    conv.bias.zero_()
    for g in range(32):
        conv.weight[3 * g, (g // 2) % colours, 1, 1] += 1.0 if g % 2 == 0 else -1.0
        conv.bias[3 * g + 1], conv.bias[3 * g + 2] = ANCHOR, -ANCHOR


def _route(conv: nn.Conv2d, source: int, target: int) -> None:
    """Signal g from channel source x g to channel target x g; anchors where the target leaves room for them."""
    conv.weight.mul_(0.1)
    conv.bias.zero_()
    for g in range(32):
        conv.weight[target * g, :, 0, 0] = 0
        conv.weight[target * g, source * g, 0, 0] = 1.0
        if target == 3:
            conv.bias[3 * g + 1], conv.bias[3 * g + 2] = ANCHOR, -ANCHOR


def _gather(conv: nn.Conv2d, outputs: int) -> None:
    """Undo the closing norm and silu: differences of plus and minus signals, averaged per colour."""
    conv.weight.mul_(0.1)
    conv.bias.zero_()
    gain = ANCHOR * 0.8165 * 1.5
    for g in range(32):
        colour = (g // 2) % 3
        same = sum(1 for k in range(16) if k % 3 == colour)
        conv.weight[colour, 3 * g, 1, 1] += (gain if g % 2 == 0 else -gain) / same


@torch.no_grad()
def fold_statistics(vae: AutoencoderKL, mean: torch.Tensor, std: torch.Tensor) -> None:
    """Change quant_conv and post_quant_conv so that latents times 0.13025 have mean 0 and deviation 1.

    The posterior becomes equally narrow in all channels: one that training left unused would drown in its noise.

    mean and std are those of the unscaled latents so far, each (4,).
    """
    gain = 1 / (std * SCALING_FACTOR)
    vae.post_quant_conv.bias += vae.post_quant_conv.weight[:, :, 0, 0] @ mean
    vae.post_quant_conv.weight /= gain.view(1, 4, 1, 1)
    vae.quant_conv.weight[:4] *= gain.view(4, 1, 1, 1)
    vae.quant_conv.bias[:4] = (vae.quant_conv.bias[:4] - mean) * gain
    vae.quant_conv.weight[4:], vae.quant_conv.bias[4:] = 0.0, POSTERIOR_LOGVAR


def build_unet(channels: tuple[int, int, int] = (64, 128, 128)) -> UNet2DConditionModel:
    """SDXL's three levels, heads of width 64, size conditioning; context (B, T, 192), pooled (B, 128)."""
    return UNet2DConditionModel(
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
    """CLIP-L's and CLIP-G's little relatives; the hidden states that SDXL reads are the last but one."""
    clip_l = CLIPTextModel(_text_config(WIDTH_L, 2, vocabulary, "quick_gelu"))
    clip_g = CLIPTextModelWithProjection(_text_config(WIDTH_G, 3, vocabulary, "gelu"))
    for name, weight in [*clip_l.named_parameters(), *clip_g.named_parameters()]:
        if "position_embedding" in name:
            weight.data += HIDDEN_MEAN
    return clip_l, clip_g


def count(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in module.parameters())
