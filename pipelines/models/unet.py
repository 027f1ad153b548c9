"""diffusers' UNet2DConditionModel as a `DenoisingNetwork`, with FreeU attached for the length of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, TypedDict, cast

import torch
from torch import Tensor, nn

from ..functional import freeu as freeu_maths
from ..functional.image_attention import ImagePrompts
from ..functional.latents import batchable, tiled_tokens
from ..functional.model_sampling import ModelSampling
from ..types import FreeU
from .hints import attention, controlnet, inpaint_patch
from .protocols import AreaResiduals, Combine, Condition, Evaluation, Load, NetworkInputs, Residuals, Run
from .weights.control_net import ControlNet
from .weights.merging import Network, WeightPatch

BYTES_PER_CELL = 8 * 1024  # of activations, per latent cell and byte of the dtype


class UNetConfig(Protocol):
    """The entries of the UNet's configuration that are read here."""

    in_channels: int
    cross_attention_dim: int
    block_out_channels: Sequence[int]
    addition_embed_type: str | None


class Resnet(Protocol):
    """A residual layer."""

    out_channels: int

    def register_forward_pre_hook(self, hook: FreeUHook, /) -> Removable: ...


class Block(Protocol):
    """A level of the UNet."""

    @property
    def resnets(self) -> Sequence[Resnet]: ...


class Removable(Protocol):
    """A registered hook."""

    def remove(self) -> None: ...


class Decoder(Protocol):
    """The parts of the UNet that FreeU reads."""

    @property
    def config(self) -> UNetConfig: ...
    @property
    def mid_block(self) -> Block: ...
    @property
    def up_blocks(self) -> Sequence[Block]: ...


class ResidualArguments(TypedDict, total=False):
    """Residuals as the UNet takes them."""

    down_block_additional_residuals: list[Tensor]
    mid_block_additional_residual: Tensor


class Forward(Protocol):
    """The UNet's forward pass."""

    def __call__(
        self,
        sample: Tensor,
        timestep: Tensor,
        *,
        encoder_hidden_states: Tensor,
        added_cond_kwargs: dict[str, Tensor],
        return_dict: bool,
        down_block_additional_residuals: list[Tensor] | None = None,
        mid_block_additional_residual: Tensor | None = None,
    ) -> tuple[Tensor]: ...


class WithLayout(Protocol):
    """A network with the layout of a diffusers UNet."""

    @property
    def module(self) -> nn.Module: ...


class UNetFacts:
    """Facts about a network that the layout of its diffusers UNet gives."""

    @property
    def in_channels(self: WithLayout) -> int:
        return config_of(self.module).in_channels

    @property
    def token_width(self: WithLayout) -> int:
        return config_of(self.module).cross_attention_dim

    @property
    def takes_sizes(self: WithLayout) -> bool:
        return config_of(self.module).addition_embed_type == "text_time"

    @property
    def attention_widths(self: WithLayout) -> tuple[int, ...]:
        return attention.widths(self.module)


def config_of(module: nn.Module) -> UNetConfig:
    """Return the configuration of a diffusers UNet."""
    return cast(Decoder, module).config


class UNet(Network, UNetFacts):
    """A UNet of diffusers as a `DenoisingNetwork`, with the weight patches merged into it."""

    @property
    def weights(self) -> nn.Module:
        return self.module

    @property
    def dtype(self) -> torch.dtype:
        return next(self.module.parameters()).dtype

    @torch.no_grad()
    def predict(
        self,
        x: Tensor,
        timestep: float,
        conditions: Sequence[Condition],
        residuals: Residuals | None = None,
        images: ImagePrompts | None = None,
        inpaint: Tensor | None = None,
    ) -> list[Tensor]:
        """Return the network's output for each condition, (B, 4, h, w) float32, in their order.

        `x` (B, 4, h, w) are latents already divided by sqrt(sigma² + sigma_d²). All conditions run in one
        batch, their tokens repeated to equal length, unless that would repeat one of them more than four times (Fooocus
        ldm_patched/modules/samplers.py: calc_cond_uncond_batch).
        """
        if len(conditions) > 1 and not batchable([condition.tokens.shape[1] for condition in conditions]):
            return [
                output
                for i, condition in enumerate(conditions)
                for output in self.predict(
                    x, timestep, [condition], residuals, images and images.of_sides([i]), inpaint
                )
            ]
        inputs = self._inputs(x, timestep, conditions)
        added = _residual_arguments(residuals(inputs)) if residuals else {}
        with (
            attention.image_prompts_attached(self.module, images),
            inpaint_patch.head_attached(self.module, inpaint),
        ):
            output = cast(Forward, self.module)(
                inputs.x,
                inputs.timesteps,
                encoder_hidden_states=inputs.tokens,
                added_cond_kwargs=controlnet.added_conditions(inputs),
                return_dict=False,
                **added,
            )[0]
        return list(output.float().chunk(len(conditions)))

    @contextmanager
    def running(
        self,
        load: Load,
        run: Run,
        patches: tuple[WeightPatch, ...] = (),
        freeu: FreeU | None = None,
        beside: Sequence[nn.Module] = (),
    ) -> Iterator[torch.device]:
        """Keep the network on its device, with patches and FreeU attached, while the context lasts."""
        cells = 2 * run.shape[0] * run.shape[-2] * run.shape[-1]
        device = load([self.module, *beside], cells * BYTES_PER_CELL * self.dtype.itemsize)
        with self.patched(patches), freeu_attached(cast(Decoder, self.module), freeu):
            yield device

    def denoised(
        self,
        x: Tensor,
        sigma: float,
        sampling: ModelSampling,
        conditions: Sequence[Condition],
        residuals: Residuals | None = None,
        images: ImagePrompts | None = None,
        inpaint: Tensor | None = None,
    ) -> list[Tensor]:
        """Return the denoised prediction for each condition, (B, 4, h, w) float32, in their order."""
        scaled, timestep = sampling.scaled_input(x, sigma), sampling.timestep(sigma)
        outputs = self.predict(scaled, timestep, conditions, residuals, images, inpaint)
        return [sampling.denoised(x, output, sigma) for output in outputs]

    @property
    def reads_negative(self) -> bool:
        return False

    def guided(self, predictions: Sequence[Tensor], combine: Combine, evaluation: Evaluation) -> Tensor:
        """Combine the predictions of the sides."""
        return combine(predictions)

    @torch.no_grad()
    def controlled_by(self, control: ControlNet, image: Tensor, name: str) -> AreaResiduals:
        """Return the residuals of a control network that reads `image` (1 or B, 3, 8h, 8w)."""
        return area_residuals(controlnet.on_unet(control, self.module, name), image)

    def _inputs(self, x: Tensor, timestep: float, conditions: Sequence[Condition]) -> NetworkInputs:
        """The inputs of one forward pass for all conditions."""
        parameter = next(self.module.parameters())
        sides, batch = len(conditions), len(x)

        def stacked(values: Sequence[Tensor]) -> Tensor:
            return torch.cat([value.expand(batch, *value.shape[1:]) for value in values]).to(parameter)

        timesteps = torch.full((sides * batch,), timestep, dtype=torch.float32, device=parameter.device)
        tokens = stacked(tiled_tokens([condition.tokens for condition in conditions]))
        rows = x.to(parameter).repeat(sides, 1, 1, 1)
        if not self.takes_sizes:
            return NetworkInputs(rows, timesteps, tokens)
        pooled = stacked([condition.pooled for condition in conditions if condition.pooled is not None])
        ids = [ids_on(parameter.device, condition.time_ids or ()).expand(batch, -1) for condition in conditions]
        return NetworkInputs(rows, timesteps, tokens, pooled, torch.cat(ids))


def area_residuals(branch: nn.Module, image: Tensor) -> AreaResiduals:
    """Return the residuals of a control network (of `controlnet.on_unet`) that reads `image` (1 or B, 3, 8h, 8w)."""
    embedding = controlnet.embedded(branch, image.to(next(branch.parameters())))
    return lambda inputs, area: controlnet.residuals(branch, area.crop(embedding), inputs)


def _residual_arguments(residuals: list[Tensor]) -> ResidualArguments:
    *down, middle = residuals
    return {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}


@lru_cache(maxsize=64)
def ids_on(device: torch.device, ids: tuple[float, ...]) -> Tensor:
    """Return size ids (n,) float32 on a device. Each tuple is copied once: a copy at every step would stall a GPU."""
    with torch.inference_mode(False):
        return torch.tensor(ids, dtype=torch.float32, device=device)


@contextmanager
def freeu_attached(unet: Decoder, freeu: FreeU | None) -> Iterator[None]:
    """Apply FreeU V2 to the UNet's decoder while the context lasts; None attaches nothing.

    A decoder layer receives the hidden state and the skip already concatenated: a hook in front of it splits them,
    applies the gains for that width, and concatenates them again.
    """
    hooks = []
    try:
        if freeu is not None:
            base = unet.config.block_out_channels[0]
            for resnet, channels in decoder_resnets(unet):
                if found := freeu_maths.gains(channels, base, freeu.b1, freeu.b2, freeu.s1, freeu.s2):
                    hooks.append(resnet.register_forward_pre_hook(FreeUHook(channels, *found)))
        yield
    finally:
        for hook in hooks:
            hook.remove()


def decoder_resnets(unet: Decoder) -> Iterator[tuple[Resnet, int]]:
    """Yield the decoder's residual layers in order, each with the channel count of the hidden state entering it."""
    channels = unet.mid_block.resnets[-1].out_channels
    for block in unet.up_blocks:
        for resnet in block.resnets:
            yield resnet, channels
            channels = resnet.out_channels


@dataclass(frozen=True)
class FreeUHook:
    """FreeU's gains in front of a decoder layer whose hidden state has `channels` channels."""

    channels: int
    b: float
    s: float

    def __call__(self, resnet: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        joined, *rest = inputs
        hidden, skip = joined[:, : self.channels], joined[:, self.channels :]
        changed = torch.cat([freeu_maths.backbone(hidden, self.b), freeu_maths.thinned(skip, self.s)], dim=1)
        return (changed, *rest)
