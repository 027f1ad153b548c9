"""The values on wires that hold networks. Importing this module needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..types import Family, FreeU, Lora, Prediction, Prompt, SamplingSettings, SwapMethod, TextNorm
from .weights.control_net import ControlNet as ControlNet

if TYPE_CHECKING:
    from torch import Tensor

    from ..text.tokenizer import ClipTokenizer
    from .protocols import DenoisingNetwork, SeededVae, TextNetwork
    from .weights.merging import Network, WeightPatch


@dataclass(frozen=True, eq=False)
class InpaintEngine:
    """An inpaint engine: the head's weight (C, 5, 3, 3) and the patch on the model's weights.

    Without a refiner, both are switched off after the fraction `at` of the steps, by `method`.
    """

    name: str
    head: Tensor
    patch: WeightPatch
    at: float = 0.8
    method: SwapMethod = "joint"


class Handle:
    """A value of ours, which says what it is where a node of ComfyUI takes it for its own."""

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> object:
            raise AttributeError(
                f"this is the {type(self).__name__} of a Fooocus node, which has no {name}: nodes of ComfyUI "
                "take what ComfyUI's own loaders give"
            )


@dataclass(frozen=True)
class Model(Handle):
    """A UNet, of the pack or of ComfyUI, with the settings chosen for it.

    `zero_snr` is True for a network trained to zero terminal SNR. `home` is the models folder to search first,
    `native_size` the side in pixels that the network was trained at, `vae_name` the VAE that was chosen with it, and
    `text_norm` the final norm of its checkpoint's CLIP-L, for conditioning that has none. `inpaint` is not among
    `patches`, because refiners do not use it.
    """

    network: DenoisingNetwork
    family: Family
    prediction: Prediction = "eps"
    zero_snr: bool = False
    name: str = ""
    home: Path | None = None
    native_size: int = 1024
    vae_name: str = ""
    patches: tuple[WeightPatch, ...] = ()
    loras: tuple[Lora, ...] = ()
    freeu: FreeU | None = None
    text_norm: TextNorm | None = None
    switch: RefinerSwitch | None = None
    inpaint: InpaintEngine | None = None

    @property
    def patcher(self) -> object | None:
        """ComfyUI's ModelPatcher of the UNet, by which its cache recognises a value that holds a network."""
        return self.network.patcher


@dataclass(frozen=True)
class TextEncoder:
    """A CLIP text encoder: `pad` fills up sections of 77 tokens; `pooled` is True for one with a projection.

    `normed` is True when the UNet takes the hidden states through the final norm, as SD 1.5 does.
    """

    network: TextNetwork
    pad: int
    pooled: bool
    patches: tuple[WeightPatch, ...] = ()
    normed: bool = False


@dataclass(frozen=True)
class Embedding:
    """A textual inversion: vectors (n, D), float32, by the text encoder that they fit ('clip_l', 'clip_g').

    `count` is the number of tokens that it takes in a section, also in an encoder without vectors; `widths` are all D
    of the file.
    """

    vectors: Mapping[str, Tensor]
    count: int
    widths: tuple[int, ...]


@dataclass(frozen=True)
class Clip(Handle):
    """The text encoders of a checkpoint (SDXL: L, then G) and the layer to read: `skip` 1 is the last.

    `home` is the models folder to search first. `embeddings` are those bundled in LoRA files, by name.
    """

    encoders: tuple[TextEncoder, ...]
    tokenizer: ClipTokenizer
    skip: int = 2
    name: str = ""
    home: Path | None = None
    embeddings: Mapping[str, Embedding] = field(default_factory=dict)

    @property
    def patcher(self) -> object | None:
        """ComfyUI's ModelPatcher of the first encoder, by which its cache recognises a value that holds a network."""
        return self.encoders[0].network.patcher if self.encoders else None


@dataclass(frozen=True)
class Vae(Handle):
    """An autoencoder; `name` is '' for the checkpoint's own.

    `refiner` is the VAE of a refiner of another `family`, which decodes the latents that the refiner finished.
    """

    network: Network
    name: str = ""
    family: Family = "sdxl"
    refiner: AnyVae | None = None

    @property
    def patcher(self) -> object | None:
        """ComfyUI's ModelPatcher of the network, by which its cache recognises a value that holds a network."""
        return self.network.patcher


@dataclass(frozen=True)
class HostVae(Handle):
    """An autoencoder of the program around us, ComfyUI's VAE; `refiner` as in `Vae`.

    It does not tell its family: one that is not a refiner's counts as SDXL's.
    """

    network: SeededVae
    name: str = ""
    family: Family = "sdxl"
    refiner: AnyVae | None = None


AnyVae = Vae | HostVae


@dataclass(frozen=True)
class Refiner:
    """A second model for the last steps, with its VAE if its latents are not SDXL's."""

    model: Model
    vae: AnyVae | None = None

    @property
    def patcher(self) -> object | None:
        """ComfyUI's ModelPatcher of the model, by which its cache recognises a value that holds a network."""
        return self.model.patcher


@dataclass(frozen=True)
class RefinerSwitch:
    """A refiner that takes over after the fraction `at` of the steps, or at step `step` if that is above 0."""

    refiner: Refiner
    at: float = 0.5
    method: SwapMethod = "joint"
    step: int = -1


@dataclass(frozen=True)
class ControlHint:
    """Images (1 or B, H, W, 3) in 0…1 that a control network reads from `start_at` to `stop_at` of the run.

    Both are fractions of the timesteps, not of the steps. `weight` scales the network's outputs; `softness` (0…1)
    reduces those for the shallow layers.
    """

    network: ControlNet
    image: Tensor
    weight: float = 1.0
    start_at: float = 0.0
    stop_at: float = 0.5
    softness: float = 0.25


@dataclass(frozen=True)
class ImageHint:
    """Image prompts that the cross-attentions read until `stop_at`, a fraction of the timesteps.

    `positive` and `negative` are the keys and values (1 or B, n, C) of each side of guidance for every cross-attention
    of the UNet that the file `adapter` was made for. `together`: one softmax with the text, as in Fooocus; otherwise
    one of their own, as in IP-Adapter.
    """

    positive: tuple[tuple[Tensor, Tensor], ...]
    negative: tuple[tuple[Tensor, Tensor], ...]
    adapter: str = ""
    weight: float = 0.6
    stop_at: float = 0.5
    together: bool = True


Hint = ControlHint | ImageHint


@dataclass(frozen=True)
class Info:
    """Parameters with which an image of `width` × `height` pixels was sampled, for its metadata."""

    model: Model
    settings: SamplingSettings
    seed: int
    width: int
    height: int
    prompt: Prompt | None = None
    clip_skip: int | None = None
