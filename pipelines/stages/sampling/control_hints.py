"""What control hints add to the network at each step (Fooocus modules/patch.py: patched_cldm_forward)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import BadValue
from ...functional.control import centre_fitted, layer_factors, total
from ...functional.latents import CELL, over_white
from ...functional.model_sampling import ModelSampling
from ...models.handles import ControlHint, Hint, Model
from ...models.hints import controlnet
from ...models.unet import Residuals


@dataclass(frozen=True)
class Steered:
    """One hint on the network of a run: what it reads, between which noise levels, and how much it adds."""

    network: nn.Module
    shown: Tensor
    first: float
    last: float
    weight: float
    softness: float

    def is_active(self, sigma: float) -> bool:
        return self.last <= sigma <= self.first

    def ask(self, x: Tensor, timesteps: Tensor, given: Mapping[str, Any]) -> list[Tensor]:
        """What it adds to each skip, and last to the middle block."""
        added = controlnet.ask(self.network, x, timesteps, self.shown, given)
        return [a * f for a, f in zip(added, layer_factors(len(added), self.weight, self.softness), strict=True)]


def hints_of(control: Sequence[Hint]) -> list[ControlHint]:
    """The hints of control networks that can act at all."""
    return [hint for hint in control if isinstance(hint, ControlHint) and hint.weight and hint.stop_at > 0]


def modules_of(control: Sequence[Hint]) -> list[nn.Module]:
    """What must be where the model is, once each."""
    return list({id(hint.network): hint.network.tensors for hint in hints_of(control)}.values())


def steering(model: Model, control: Sequence[Hint], sampling: ModelSampling, shape: torch.Size) -> list[Steered]:
    """The hints on the model's network, for latents (B, C, h, w) of that shape.

    Start and stop are shares of the timesteps: a hint acts while its noise levels hold the run's. Raises BadValue for
    hints that don't fit the model or the batch.
    """
    return [
        _steered(model, hint, sampling.percent_to_sigma(hint.start_at), sampling.percent_to_sigma(hint.stop_at), shape)
        for hint in hints_of(control)
    ]


@torch.no_grad()
def _steered(model: Model, hint: ControlHint, first: float, last: float, shape: torch.Size) -> Steered:
    network = controlnet.on_unet(hint.network, model.network.module, model.name)
    picture = picture_for(hint.image, shape).to(next(network.parameters()))
    return Steered(network, controlnet.show(network, picture), first, last, hint.weight, hint.softness)


def picture_for(image: Tensor, shape: torch.Size) -> Tensor:
    """Pictures (1 or B, H, W, 1, 3 or 4) as (1 or B, 3, 8h, 8w) for latents of that shape. Raises BadValue."""
    if len(image) not in (1, shape[0]):
        raise BadValue(
            f"the control image holds {len(image)} pictures, the latent {shape[0]}: give one picture, or one for each"
        )
    return centre_fitted(over_white(image).movedim(-1, 1), shape[-2] * CELL, shape[-1] * CELL)


def residuals(steered: Sequence[Steered], sigma: float) -> Residuals | None:
    """What the hints that are active at this noise level add together; None when none is."""
    active = [one for one in steered if one.is_active(sigma)]

    def added(x: Tensor, timesteps: Tensor, given: Mapping[str, Any]) -> Mapping[str, Any]:
        *down, middle = total([one.ask(x, timesteps, given) for one in active], x.dtype)
        return {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}

    return added if active else None
