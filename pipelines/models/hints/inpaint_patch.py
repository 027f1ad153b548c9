"""Fooocus's inpaint model: a head that gives the UNet the mask and the known area, and a patch of its weights.

Fooocus modules/inpaint_worker.py: InpaintHead, InpaintWorker.patch; modules/lora.py: match_lora.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from ...errors import BadFile
from ..handles import Model
from ..lora.matching import patches, source_of
from ..lora.refusals import named
from ..weights.files import read_state
from ..weights.merging import WeightPatch
from ..weights.networks import UNetModule

HEAD_INPUTS, HEAD_KERNEL = 5, 3  # channels: the mask and four of the latent; size of the kernel


def load_head(path: Path, model: Model) -> Tensor:
    """Load the head's weight (C, 5, 3, 3) in float32; C is the number of channels of the UNet's first level.

    Raises MissingFile, and BadFile for a file that is no inpaint head or that is for a model of another width.
    """
    head = read_state(path).get("head")
    if not isinstance(head, Tensor):
        raise BadFile(
            f"{path.name} contains no inpaint head (an entry 'head'): download fooocus_inpaint_head.pth again"
        )
    expected = (
        cast(UNetModule, model.network.module).config.block_out_channels[0],
        HEAD_INPUTS,
        HEAD_KERNEL,
        HEAD_KERNEL,
    )
    if head.shape != expected:
        raise BadFile(
            f"{path.name} has the shape {tuple(head.shape)}, but {model.name or 'the model'} needs {expected}: "
            "use an SDXL checkpoint, or the engine None"
        )
    return head.float()


def load_patch(path: Path, model: Model) -> WeightPatch:
    """Load the weight changes of an inpaint patch, at strength 1.

    Raises MissingFile, and BadFile for a file that is no inpaint patch or that does not fit the model completely.
    """
    state = read_state(path)
    foreign = [key for key, value in state.items() if not isinstance(value, tuple | list)]
    if foreign or not state:
        first = f", first {foreign[0]}" if foreign else ""
        raise BadFile(
            f"{path.name} is not an inpaint patch: {len(foreign)} of its {len(state)} entries are not bytes with a "
            f"lowest and a highest value{first}; choose one such as inpaint_v26.fooocus.patch"
        )
    found = patches(state, path.name, 1.0, model, None, source_of(path))
    if found.left_out or found.unet is None:
        raise BadFile(
            f"{path.name} does not fit {model.name or 'the model'}: {len(found.left_out)} of its {found.total} entries "
            f"match none of its weights ({named(found.left_out)}); use an SDXL checkpoint, or the engine None"
        )
    return found.unet


def feature(head: Tensor, mask: Tensor, masked: Tensor) -> Tensor:
    """Compute the feature (B, C, h, w) that the head adds after the UNet's first convolution.

    `mask`: (B, 1, h, w), 1 = repaint. `masked`: (B, 4, h, w), the latents of the image with its masked part gray, in
    the network's scale. Both are padded by repeating their border.
    """
    return conv2d(pad(torch.cat([mask, masked], dim=1), (1, 1, 1, 1), mode="replicate"), head.to(masked))


@contextmanager
def head_attached(unet: nn.Module, feature: Tensor | None) -> Iterator[None]:
    """Add the head's feature (B, C, h, w) to the output of the UNet's first convolution while the context lasts.

    It is added for the conditional and the unconditional side, and reaches the first skip connection. None adds
    nothing.
    """
    if feature is None:
        yield
        return

    def add(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        return output + feature.to(output).repeat(len(output) // len(feature), 1, 1, 1)

    hook = cast(UNetModule, unet).conv_in.register_forward_hook(add)
    try:
        yield
    finally:
        hook.remove()
