"""Control hints during a run: the residuals of their networks (Fooocus modules/patch.py: patched_cldm_forward)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...errors import BadValue
from ...functional.control import centre_fitted, layer_factors, total
from ...functional.latents import CELL, over_white
from ...functional.model_sampling import ModelSampling
from ...functional.regions import Area
from ...models.handles import ControlHint, Hint
from ...models.protocols import AreaResiduals, DenoisingNetwork, NetworkInputs, Residuals


@dataclass(frozen=True)
class ActiveRange:
    """A control network's residuals, added while `last` <= sigma <= `first` and scaled by weight and softness."""

    residuals: AreaResiduals
    first: float
    last: float
    weight: float
    softness: float

    def is_active(self, sigma: float) -> bool:
        """True when the hint acts at noise level sigma."""
        return self.last <= sigma <= self.first

    def scaled(self, inputs: NetworkInputs, area: Area) -> list[Tensor]:
        """Return the scaled residuals in an area of each skip, and last of the middle block."""
        added = self.residuals(inputs, area)
        return [a * f for a, f in zip(added, layer_factors(len(added), self.weight, self.softness), strict=True)]


def control_hints_in(hints: Sequence[Hint]) -> list[ControlHint]:
    """Return the hints of control networks whose weight and range let them act."""
    return [hint for hint in hints if isinstance(hint, ControlHint) and hint.weight and hint.stop_at > 0]


def modules_of(hints: Sequence[Hint]) -> list[nn.Module]:
    """Return the modules of the control networks, each once."""
    return list({id(hint.network): hint.network.tensors for hint in control_hints_in(hints)}.values())


def attach(
    network: DenoisingNetwork, name: str, hints: Sequence[Hint], sampling: ModelSampling, shape: torch.Size
) -> list[ActiveRange]:
    """Build the control networks of `hints` beside a network, for latents of `shape` (B, C, h, w).

    Start and stop of a hint are fractions of the timesteps. Raises BadValue for hints that do not fit the network,
    called `name`, or the batch.
    """
    return [
        ActiveRange(
            network.controlled_by(hint.network, fitted_image(hint.image, shape), name),
            sampling.percent_to_sigma(hint.start_at),
            sampling.percent_to_sigma(hint.stop_at),
            hint.weight,
            hint.softness,
        )
        for hint in control_hints_in(hints)
    ]


def fitted_image(image: Tensor, shape: torch.Size) -> Tensor:
    """Fit images (1 or B, H, W, 1, 3 or 4) to latents of `shape`: (1 or B, 3, 8h, 8w). Raises BadValue."""
    if len(image) not in (1, shape[0]):
        raise BadValue(
            f"the control image input has {len(image)} images and the latent has {shape[0]}: give one image, or one "
            "for each latent"
        )
    return centre_fitted(over_white(image).movedim(-1, 1), shape[-2] * CELL, shape[-1] * CELL)


def residuals_at(sigma: float, hints: Sequence[ActiveRange], area: Area) -> Residuals | None:
    """Return the sum of the residuals in an area of all hints that act at sigma, or None when none does."""
    active = [hint for hint in hints if hint.is_active(sigma)]
    if not active:
        return None
    return lambda inputs: total([hint.scaled(inputs, area) for hint in active], inputs.x.dtype)
