"""Noise schedules: ComfyUI's `model_sampling` read as ours, and ours in the place of ComfyUI's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import comfy.model_sampling
import torch
from torch import Tensor, nn

from ....pipelines.errors import BadValue
from ....pipelines.functional.model_sampling import ModelSampling, sigma_table, zero_snr_table
from ....pipelines.types import Prediction

KINDS: Mapping[Prediction, type] = {"eps": comfy.model_sampling.EPS, "v": comfy.model_sampling.V_PREDICTION}
SAME = 1e-3  # relative difference of tables that are computed in different precisions


def prediction_of(sampling: Any) -> tuple[Prediction, bool]:
    """Return what the network predicts, and whether it was trained to zero terminal SNR.

    Raises BadValue for a schedule that Fooocus does not have.
    """
    table = getattr(sampling, "sigmas", None)
    prediction = next((name for name, kind in KINDS.items() if _computes_as(sampling, kind)), None)
    if prediction is not None and isinstance(table, Tensor):
        for expected, zero_snr in ((sigma_table(), False), (zero_snr_table(), True)):
            if table.shape == expected.shape and _close(table[:-1], expected[:-1]):
                return prediction, zero_snr
    raise BadValue(_unknown(sampling))


def _computes_as(sampling: Any, kind: type) -> bool:
    """True if the prediction is computed as that kind does, not as a class derived from it, such as LCM from EPS."""
    own: object = getattr(type(sampling), "calculate_denoised", None)
    return own is vars(kind)["calculate_denoised"]


def _close(table: Tensor, expected: Tensor) -> bool:
    return torch.allclose(table.detach().cpu().float(), expected, rtol=SAME, atol=0.0)


def _unknown(sampling: Any) -> str:
    kinds = ", ".join(kind.__name__ for kind in type(sampling).__bases__) or type(sampling).__name__
    return (
        f"the MODEL has the noise schedule {kinds}, which Fooocus's sampler does not apply: remove the Model "
        "Sampling node, and choose the scheduler lcm, tcd or edm_playground_v2.5 in Fooocus Sampling Settings if needed"
    )


class Schedule(nn.Module):
    """Our noise schedule with the methods that ComfyUI's models and patches call."""

    def __init__(self, sampling: ModelSampling) -> None:
        super().__init__()
        self.ours = sampling
        self.sigma_data = sampling.sigma_data
        self.register_buffer("sigmas", sampling.table.clone(), persistent=False)

    @property
    def sigma_min(self) -> Tensor:
        return torch.tensor(self.ours.sigma_min)

    @property
    def sigma_max(self) -> Tensor:
        return torch.tensor(self.ours.sigma_max)

    def timestep(self, sigma: Tensor) -> Tensor:
        """Return the timestep of each noise level."""
        levels = sigma.flatten().tolist()
        found = {level: self.ours.timestep(level) for level in set(levels)}
        return sigma.new_tensor([found[level] for level in levels]).view_as(sigma)

    def sigma(self, timestep: Tensor) -> Tensor:
        """Return the noise level of each timestep."""
        return self.ours.sigmas_at(timestep.cpu()).to(timestep.device)

    def percent_to_sigma(self, percent: float) -> float:
        """Return the noise level after a fraction of the timesteps."""
        return self.ours.percent_to_sigma(percent)

    def calculate_input(self, sigma: Tensor, noise: Tensor) -> Tensor:
        """Return the network's input for latents at a noise level, the same for all rows."""
        return self.ours.scaled_input(noise, float(sigma.flatten()[0]))

    def calculate_denoised(self, sigma: Tensor, model_output: Tensor, model_input: Tensor) -> Tensor:
        """Return the denoised prediction from the network's output."""
        return self.ours.denoised(model_input, model_output, float(sigma.flatten()[0]))

    def noise_scaling(self, sigma: Tensor, noise: Tensor, latent_image: Tensor, max_denoise: bool = False) -> Tensor:
        """Return latents with noise added at a noise level."""
        return latent_image + noise * sigma.view(-1, *[1] * (noise.ndim - 1))

    def inverse_noise_scaling(self, sigma: Tensor, latent: Tensor) -> Tensor:
        """Return latents as they are: they are not scaled by the schedule."""
        return latent
