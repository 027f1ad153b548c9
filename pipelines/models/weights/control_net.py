"""The weights of a control network, as its file has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .tensors import Tensors


@dataclass(frozen=True, eq=False)
class ControlNet:
    """The tensors of a control network, under diffusers' names.

    Those of a control-LoRA change the UNet that it is used with: the product of `LAYER.up` and `LAYER.down` is added to
    `LAYER.weight`, biases and norms replace the UNet's, and missing tensors are the UNet's own.
    """

    name: str
    tensors: Tensors
    is_lora: bool
