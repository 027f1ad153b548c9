"""The interfaces that the stages need from networks, whoever implements them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ..functional.image_attention import ImagePrompts
from ..functional.model_sampling import ModelSampling
from ..functional.regions import Area
from ..types import FreeU, TextNorm
from .weights.control_net import ControlNet
from .weights.merging import WeightPatch


@dataclass(frozen=True, eq=False)
class Condition:
    """Conditioning of one side of guidance.

    `tokens` (B, n, D) are the text encoders' hidden states. The SDXL family also takes the pooled text `pooled`
    (B, P) and the size ids `time_ids` of `functional.adm`: six, or five for the refiner.
    """

    tokens: Tensor
    pooled: Tensor | None = None
    time_ids: tuple[float, ...] | None = None


@dataclass(frozen=True, eq=False)
class NetworkInputs:
    """Inputs of one forward pass over N = sides · B rows, in the network's dtype and on its device.

    `x` (N, 4, h, w) scaled latents, `timesteps` (N,) float32, `tokens` (N, n, D); in the SDXL family also `pooled`
    (N, P) and `time_ids` (N, 6 or 5), float32.
    """

    x: Tensor
    timesteps: Tensor
    tokens: Tensor
    pooled: Tensor | None = None
    time_ids: Tensor | None = None


Residuals = Callable[[NetworkInputs], list[Tensor]]
"""Tensors to add inside the network, for its inputs: one for each skip connection, then one for the middle block."""

AreaResiduals = Callable[[NetworkInputs, Area], list[Tensor]]
"""Residuals of a control network for inputs that are an area of the latents, and for the control image there."""


Load = Callable[[Sequence[nn.Module], int], torch.device]
"""Moves modules to the device on which they run, with so many bytes free for activations, and returns the device."""


@dataclass(frozen=True, eq=False)
class Run:
    """A run that is about to start: latents of `shape` (B, C, h, w) at decreasing noise `levels`."""

    shape: tuple[int, ...]
    levels: Tensor
    sampling: ModelSampling


@dataclass(frozen=True, eq=False)
class Part:
    """A condition in an area of the latents, and the residuals there.

    `weights` (1 or B, 1, h, w, or a single number) are those in the area; None is weight 1 in the whole latent.
    """

    condition: Condition
    area: Area
    weights: Tensor | None = None
    residuals: Residuals | None = None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """One evaluation of the sides of guidance: latents `x` (B, 4, h, w) at noise level `sigma`, guidance scale `cfg`.

    `parts` returns the conditions of each side. `images` and `inpaint` are those of `DenoisingNetwork.denoised`, for
    all sides and the whole latent.
    """

    x: Tensor
    sigma: float
    sampling: ModelSampling
    cfg: float
    parts: Callable[[], list[list[Part]]]
    images: ImagePrompts | None = None
    inpaint: Tensor | None = None


Combine = Callable[[Sequence[Tensor]], Tensor]
"""Guidance: the predictions of the positive and, unless the scale is 1, the negative side, to the guided one."""


@dataclass(frozen=True, eq=False)
class TextStates:
    """What a text encoder makes of sections of tokens, in float32.

    `hidden` (n, 77, D) of one layer; `pooled` (n, D), the normed last layer at the end token, and `projected` (n, P),
    its projection; None without one.
    """

    hidden: Tensor
    pooled: Tensor
    projected: Tensor | None


class WeightedNetwork(Protocol):
    """A network whose weights are in a module of ours or of ComfyUI's."""

    @property
    def module(self) -> nn.Module:
        """The module of diffusers or transformers with the names and shapes of the weights.

        Perhaps without their values (on meta).
        """
        ...

    @property
    def weights(self) -> nn.Module:
        """The module that holds the weights, under whatever names."""
        ...

    @property
    def patcher(self) -> object | None:
        """ComfyUI's ModelPatcher of the network; None outside ComfyUI."""
        ...


class DenoisingNetwork(WeightedNetwork, Protocol):
    """A denoising network and what can be attached to it for a run."""

    @property
    def dtype(self) -> torch.dtype:
        """The dtype in which the network computes."""
        ...

    @property
    def in_channels(self) -> int:
        """The number of latent channels."""
        ...

    @property
    def token_width(self) -> int:
        """The width D of the text tokens that the cross-attentions take."""
        ...

    @property
    def takes_sizes(self) -> bool:
        """True when the network takes pooled text and size ids, as the SDXL family does."""
        ...

    @property
    def attention_widths(self) -> tuple[int, ...]:
        """The key width of each cross-attention, in the order of image prompt adapters."""
        ...

    def running(
        self,
        load: Load,
        run: Run,
        patches: tuple[WeightPatch, ...] = (),
        freeu: FreeU | None = None,
        beside: Sequence[nn.Module] = (),
    ) -> AbstractContextManager[torch.device]:
        """Keep the network on its device, with patches and FreeU attached, while the context lasts.

        The modules `beside` run with it. `load` is the program's way to move modules to a device.
        """
        ...

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
        """Return the denoised prediction for each condition, (B, 4, h, w) float32, in their order.

        `x` (B, 4, h, w) are latents at noise level sigma. `images` has the rows of all conditions. `inpaint` (B or 1,
        C, h, w) is the output of the inpaint head. Call it while `running` is open.
        """
        ...

    @property
    def reads_negative(self) -> bool:
        """True when `guided` needs the prediction of the negative side at guidance scale 1 too."""
        ...

    def guided(self, predictions: Sequence[Tensor], combine: Combine, evaluation: Evaluation) -> Tensor:
        """Combine the predictions of the sides, and apply what others have attached around guidance.

        Call it while `running` is open.
        """
        ...

    def controlled_by(self, control: ControlNet, image: Tensor, name: str) -> AreaResiduals:
        """Return the residuals of a control network that reads `image` (1 or B, 3, 8h, 8w).

        Raises BadValue when the control network was made for another model; `name` is this model's name.
        """
        ...


class TextNetwork(WeightedNetwork, Protocol):
    """The network of a CLIP text encoder."""

    @property
    def token_table(self) -> nn.Module:
        """The module that returns token vectors (n, 77, D) for ids (n, 77)."""
        ...

    @property
    def final_norm(self) -> TextNorm:
        """The norm after the last layer, with the patches of `running`."""
        ...

    def running(self, load: Load, patches: tuple[WeightPatch, ...] = ()) -> AbstractContextManager[torch.device]:
        """Keep the network on its device, with exactly these patches in its weights, while the context lasts.

        `load` is the program's way to move modules to a device.
        """
        ...

    def states(self, ids: Tensor, ends: Tensor, skip: int, normed: bool = False) -> TextStates:
        """Read sections of token ids (n, 77), each pooled at its position in `ends` (n,); all on the device.

        The hidden states are those of the `skip`-th layer from the end, through the final norm if `normed`; a `skip`
        beyond the layers selects the final state, which is normed. Call it while `running` is open.
        """
        ...


class ImageVae(Protocol):
    """An autoencoder that manages its own device, as ComfyUI's VAE does."""

    def encode(self, pixels: Tensor, /) -> Tensor:
        """Encode images (B, H, W, 3) in 0…1 as unscaled latents (B, 4, H/8, W/8)."""
        ...

    def decode(self, samples: Tensor, /) -> Tensor:
        """Decode unscaled latents (B, 4, h, w) to images (B, 8h, 8w, 3) in 0…1."""
        ...


class SeededVae(Protocol):
    """An `ImageVae` that can sample the distribution of the latents."""

    def encode(self, pixels: Tensor, seed: int | None = None) -> Tensor:
        """Encode images as `ImageVae.encode` does; a seed samples the latents' distribution, None takes its mean."""
        ...

    def decode(self, samples: Tensor) -> Tensor:
        """Decode latents as `ImageVae.decode` does."""
        ...


@runtime_checkable
class TiledImageVae(Protocol):
    """An `ImageVae` that can also work in tiles, as ComfyUI's does, in tiles of a size of its own."""

    def encode_tiled(self, pixels: Tensor, /) -> Tensor:
        """Encode images as `ImageVae.encode` does, tile by tile."""
        ...

    def decode_tiled(self, samples: Tensor, /) -> Tensor:
        """Decode latents as `ImageVae.decode` does, tile by tile."""
        ...


class UpscaleModel(Protocol):
    """A super-resolution network, as spandrel and ComfyUI's UPSCALE_MODEL describe it."""

    @property
    def model(self) -> nn.Module:
        """The module to move to a device."""
        ...

    @property
    def scale(self) -> float:
        """The enlargement factor."""
        ...

    def __call__(self, tiles: Tensor, /) -> Tensor:
        """Enlarge tiles (T, 3, h, w) in 0…1 to (T, 3, scale·h, scale·w)."""
        ...
