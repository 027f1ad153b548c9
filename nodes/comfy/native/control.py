"""Control networks beside ComfyUI's UNet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import comfy.model_management
import comfy.ops
import torch
from torch import Tensor, nn

from ....pipelines.functional.model_sampling import ModelSampling
from ....pipelines.models.hints.control_lora import set_parameter
from ....pipelines.models.hints.controlnet import UNET_MODULES
from ....pipelines.models.protocols import Condition, NetworkInputs, Residuals
from ....pipelines.models.unet import ids_on
from .layout import Layout


@dataclass(frozen=True, eq=False)
class NativeControl:
    """Residuals in the form of ComfyUI's ControlNets, for the batch that it put together from the conditions."""

    residuals: Residuals
    conditions: Mapping[UUID, Condition]
    sampling: ModelSampling
    dtype: torch.dtype

    def get_control(self, x: Tensor, sigma: Tensor, cond: dict[str, Any], *_: object) -> dict[str, list[Tensor]]:
        """Return what is added to each skip connection, and to the middle block."""
        *down, middle = self.residuals(self._inputs(x, float(sigma.flatten()[0]), cond))
        return {"input": [], "middle": [middle], "output": down}

    def _inputs(self, x: Tensor, sigma: float, cond: dict[str, Any]) -> NetworkInputs:
        chosen = [self.conditions[one] for one in cond["transformer_options"]["uuids"]]
        batch = len(x) // len(chosen)
        rows = self.sampling.scaled_input(x, sigma).to(self.dtype)
        timesteps = torch.full((len(x),), self.sampling.timestep(sigma), dtype=torch.float32, device=x.device)
        tokens = cond["c_crossattn"].to(rows)
        if chosen[0].pooled is None:
            return NetworkInputs(rows, timesteps, tokens)
        pooled = torch.cat([one.pooled.expand(batch, -1) for one in chosen if one.pooled is not None])
        ids = torch.cat([ids_on(x.device, one.time_ids or ()).expand(batch, -1) for one in chosen])
        return NetworkInputs(rows, timesteps, tokens, pooled.to(rows), ids)


def with_encoder(
    layout: Layout, unet: Mapping[str, nn.Module], empty: nn.Module, device: torch.device, dtype: torch.dtype
) -> nn.Module:
    """Put the weights of ComfyUI's UNet, given by its modules, that a control-LoRA shares into an empty UNet.

    They have the patches that the UNet has now. A weight that is on the device in that dtype is not copied.
    """
    for name in layout.native:
        if name.startswith(UNET_MODULES):
            set_parameter(
                empty, name, nn.Parameter(weight_of(unet, layout.native[name], device, dtype), requires_grad=False)
            )
    return empty


def weight_of(modules: Mapping[str, nn.Module], key: str, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return a weight as the layer, one of the modules by name, uses it: patched, dequantized and on the device."""
    path, _, leaf = key.rpartition(".")
    layer: Any = modules[path]
    if hasattr(layer, "comfy_cast_weights"):
        weight, bias = comfy.ops.cast_bias_weight(layer, dtype=dtype, device=device, bias_dtype=dtype)
        value: Tensor = weight if leaf == "weight" else bias
    else:
        value = getattr(layer, leaf)
    return value.detach().to(device, dtype)
