"""The values that hold networks, as they travel on wires. Importing this module needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..types import Family, FreeU, Lora, Prediction, Prompt, SamplingSettings, SwapMethod

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..text.tokenizer import ClipTokenizer
    from .weights.merging import Network, WeightPatch
    from .weights.tensors import Tensors


@dataclass(frozen=True, eq=False)
class InpaintEngine:
    """What a model paints into a hole with: the head's weight (C, 5, 3, 3), and what its weights change by.

    A model without a refiner goes on without both after the share `at` of the steps, by the method named.
    """

    name: str
    head: Tensor
    patch: WeightPatch
    at: float = 0.8
    method: SwapMethod = "joint"


@dataclass(frozen=True)
class Model:
    """A UNet with the settings chosen for it.

    `prediction` is what the network predicts, `zero_snr` whether it was trained to zero terminal SNR. `home` is a
    models folder to look in first, `native_size` the side in pixels that the network was trained for, `vae_name` the
    VAE that was chosen with it, `text_norm` the final norm of its checkpoint's CLIP-L. `inpaint` is apart from
    `patches`, since no refiner gets it.
    """

    network: Network
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
    text_norm: nn.LayerNorm | None = None
    switch: RefinerSwitch | None = None
    inpaint: InpaintEngine | None = None


@dataclass(frozen=True)
class TextEncoder:
    """One CLIP text tower: `pad` is the token that fills a 77-token section, `pooled` whether it has a projection."""

    network: Network
    pad: int
    pooled: bool
    patches: tuple[WeightPatch, ...] = ()


@dataclass(frozen=True)
class Embedding:
    """Textual inversion: vectors (n, D), float32, for each text encoder ('clip_l', 'clip_g') that they fit.

    `count` is the number of tokens that the word takes in a section, also where an encoder has no vectors for it;
    `widths` are all the D in the file.
    """

    vectors: Mapping[str, Tensor]
    count: int
    widths: tuple[int, ...]


@dataclass(frozen=True)
class Clip:
    """The text encoders of a checkpoint (SDXL: L then G) and how deep they are read: `skip` 1 is the last layer.

    `home` is a models folder to look in first. `embeddings`: those that LoRA files brought along, by name.
    """

    encoders: tuple[TextEncoder, ...]
    tokenizer: ClipTokenizer
    skip: int = 2
    name: str = ""
    home: Path | None = None
    embeddings: Mapping[str, Embedding] = field(default_factory=dict)


@dataclass(frozen=True)
class Vae:
    """An autoencoder; `name` is '' for the checkpoint's own. `refiner` is that of a refiner whose latents are of
    another `family`: pictures that it finished are decoded with it."""

    network: Network
    name: str = ""
    family: Family = "sdxl"
    refiner: Vae | None = None


@dataclass(frozen=True)
class Refiner:
    """A second model for the last steps; `vae` is its own, when its latents are not those of SDXL."""

    model: Model
    vae: Vae | None = None


@dataclass(frozen=True)
class RefinerSwitch:
    """When a refiner takes over: after the share `at` of the steps, or at the step `step` when that is above 0."""

    refiner: Refiner
    at: float = 0.5
    method: SwapMethod = "joint"
    step: int = -1


@dataclass(frozen=True, eq=False)
class ControlNet:
    """The tensors of a control network's file, named as diffusers does.

    Those of a control-LoRA are changes to the UNet that it is used with: `LAYER.up` and `LAYER.down` are the factors
    of what is added to `LAYER.weight`; biases and norms replace the UNet's; what is absent is the UNet's own.
    """

    name: str
    tensors: Tensors
    is_lora: bool


@dataclass(frozen=True)
class ControlHint:
    """Pictures (1 or B, H, W, 3) in 0…1 that a control network reads while the run is from `start_at` to `stop_at`.

    Both are shares of the timesteps, not of the steps. `weight` scales what the network adds; `softness` (0…1) is how
    much less it adds to the shallow layers.
    """

    network: ControlNet
    image: Tensor
    weight: float = 1.0
    start_at: float = 0.0
    stop_at: float = 0.5
    softness: float = 0.25


@dataclass(frozen=True)
class ImageHint:
    """Pictures that the cross-attentions read beside the prompt while the run is before `stop_at`, a share of the
    timesteps.

    `positive` and `negative`: what each side of guidance reads, a key and a value (1 or B, n, C) for every
    cross-attention of the UNet that the file `adapter` is made for. `together` with the prompt in one softmax, as
    Fooocus does, or apart from it, as IP-Adapter does.
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
    """How a picture of `width` × `height` pixels was sampled, for the text in its file."""

    model: Model
    settings: SamplingSettings
    seed: int
    width: int
    height: int
    prompt: Prompt | None = None
    clip_skip: int | None = None
