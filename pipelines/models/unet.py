"""Asking the UNet: all sides of guidance in one call, and FreeU attached for the length of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..functional import freeu as freeu_maths
from ..functional.latents import batchable, tiled_tokens
from ..types import FreeU
from .hints import attention


@dataclass(frozen=True)
class Condition:
    """What the UNet is told about one side of guidance: tokens (B, n, D), and in the SDXL family the pooled text
    (B, P) and the ids of `functional.adm` (six, for the refiner five); SD 1.5 reads the tokens alone."""

    tokens: Tensor
    pooled: Tensor | None = None
    time_ids: tuple[float, ...] | None = None


Residuals = Callable[[Tensor, Tensor, Mapping[str, Any]], Mapping[str, Any]]
"""The UNet's latents, timesteps and further arguments -> arguments that add to its skips and its middle."""


@torch.no_grad()
def predict(
    unet: nn.Module,
    x_in: Tensor,
    t: float,
    sides: Sequence[Condition],
    residuals: Residuals | None = None,
    readings: attention.Readings | None = None,
) -> list[Tensor]:
    """The network's output for each side, (B, 4, h, w) float32 in the order of `sides`.

    `x_in` (B, 4, h, w) is the latent already divided by √(σ² + σd²), `t` the timestep. Sides run in one batch, their
    tokens repeated to equal length, unless that would repeat one more than four times (Fooocus
    ldm_patched/modules/samplers.py: calc_cond_uncond_batch). `residuals` finds what is added inside, from the same
    input; `readings` are the pictures that all sides read.
    """
    if len(sides) > 1 and not batchable([side.tokens.shape[1] for side in sides]):
        return [
            output
            for i, side in enumerate(sides)
            for output in predict(unet, x_in, t, [side], residuals, readings and readings.side(i))
        ]
    parameter = next(unet.parameters())
    many, batch = len(sides), len(x_in)

    def stacked(values: Sequence[Tensor]) -> Tensor:
        return torch.cat([v.expand(batch, *v.shape[1:]) for v in values]).to(parameter)

    added: dict[str, Tensor] = {}
    if reads_sizes(unet):
        ids = [ids_on(parameter.device, side.time_ids or ()).expand(batch, -1) for side in sides]
        added = {
            "text_embeds": stacked([side.pooled for side in sides if side.pooled is not None]),
            "time_ids": torch.cat(ids),
        }
    x = x_in.to(parameter).repeat(many, 1, 1, 1)
    timesteps = torch.full((many * batch,), t, dtype=torch.float32, device=parameter.device)
    given: dict[str, Any] = {
        "encoder_hidden_states": stacked(tiled_tokens([side.tokens for side in sides])),
        "added_cond_kwargs": added,
        "return_dict": False,
    }
    inside = residuals(x, timesteps, given) if residuals else {}
    with attention.reading(unet, readings):
        output = cast(Any, unet)(x, timesteps, **given, **inside)[0]
    return list(output.float().chunk(many))


@lru_cache(maxsize=64)
def ids_on(device: torch.device, ids: tuple[float, ...]) -> Tensor:
    """Ids (n,) float32 on a device: copied there once, since a copy at every step makes a GPU wait."""
    with torch.inference_mode(False):
        return torch.tensor(ids, dtype=torch.float32, device=device)


def reads_sizes(unet: nn.Module) -> bool:
    """Whether the UNet wants the pooled text and the picture size: the SDXL family does."""
    return bool(cast(Any, unet).config.addition_embed_type == "text_time")


@contextmanager
def freeu_attached(unet: nn.Module, freeu: FreeU | None) -> Iterator[None]:
    """FreeU V2 on the UNet's decoder while the context lasts; None attaches nothing.

    A decoder layer receives the hidden state and the skip already joined: a hook in front of it takes them apart,
    applies the gains of that width, and joins them again.
    """
    hooks = []
    try:
        if freeu is not None:
            base = cast(Any, unet).config.block_out_channels[0]
            for resnet, channels in decoder_resnets(unet):
                if found := freeu_maths.gains(channels, base, freeu.b1, freeu.b2, freeu.s1, freeu.s2):
                    hooks.append(resnet.register_forward_pre_hook(_FreeUHook(channels, *found)))
        yield
    finally:
        for hook in hooks:
            hook.remove()


def decoder_resnets(unet: nn.Module) -> Iterator[tuple[nn.Module, int]]:
    """The decoder's residual layers in order, each with the channels of the hidden state that enters it."""
    channels = cast(Any, unet).mid_block.resnets[-1].out_channels
    for block in cast(Any, unet).up_blocks:
        for resnet in block.resnets:
            yield resnet, channels
            channels = resnet.out_channels


@dataclass(frozen=True)
class _FreeUHook:
    channels: int
    b: float
    s: float

    def __call__(self, resnet: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        joined, *rest = inputs
        hidden, skip = joined[:, : self.channels], joined[:, self.channels :]
        changed = torch.cat([freeu_maths.backbone(hidden, self.b), freeu_maths.thinned(skip, self.s)], dim=1)
        return (changed, *rest)
