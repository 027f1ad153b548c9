"""The parts of diffusers' and transformers' networks that the pack uses, as protocols."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn


class UNetSizes(Protocol):
    """The sizes in a UNet's configuration."""

    @property
    def block_out_channels(self) -> Sequence[int]:
        """The channels of each level."""
        ...

    @property
    def cross_attention_dim(self) -> int:
        """The width of the text tokens."""
        ...

    @property
    def in_channels(self) -> int:
        """The channels of the latents."""
        ...


class UNetModule(Protocol):
    """diffusers' UNet2DConditionModel."""

    conv_in: nn.Conv2d

    @property
    def config(self) -> UNetSizes:
        """Its configuration."""
        ...


class Posterior(Protocol):
    """The distribution of a VAE's latents, (B, 4, h, w)."""

    mean: Tensor
    std: Tensor


class VaeEncoderOutput(Protocol):
    """The output of a VAE's encoder."""

    latent_dist: Posterior


class VaeModule(Protocol):
    """diffusers' AutoencoderKL."""

    def encode(self, x: Tensor) -> VaeEncoderOutput:
        """Encode pixels (B, 3, 8h, 8w) in -1…1."""
        ...

    def decode(self, z: Tensor, *, return_dict: bool) -> tuple[Tensor]:
        """Decode latents (B, 4, h, w)."""
        ...


class EncoderOutput(Protocol):
    """Hidden states of a transformer, (B, n, D) each: that of the input embedding, then one for each layer."""

    hidden_states: Sequence[Tensor]
    last_hidden_state: Tensor


class TextModule(Protocol):
    """transformers' CLIPTextModel and CLIPTextModelWithProjection."""

    def __call__(self, *, input_ids: Tensor, output_hidden_states: bool) -> EncoderOutput:
        """Encode token ids (B, n)."""
        ...

    def get_input_embeddings(self) -> nn.Module:
        """The table of token vectors."""
        ...


class VisionModule(Protocol):
    """transformers' CLIPVisionModelWithProjection."""

    def __call__(self, *, pixel_values: Tensor, output_hidden_states: bool) -> EncoderOutput:
        """Encode normalised images (B, 3, H, W)."""
        ...


class LanguageOutput(Protocol):
    """Logits (B, n, V) of the next token, and the key-value cache for the next call."""

    logits: Tensor
    past_key_values: object


class LanguageSizes(Protocol):
    """The sizes in a language model's configuration."""

    @property
    def n_positions(self) -> int:
        """The longest text in tokens."""
        ...


class LanguageModule(Protocol):
    """transformers' GPT2LMHeadModel."""

    def __call__(self, *, input_ids: Tensor, past_key_values: object, use_cache: bool) -> LanguageOutput:
        """Score the tokens that may follow ids (B, n)."""
        ...

    @property
    def config(self) -> LanguageSizes:
        """Its configuration."""
        ...
