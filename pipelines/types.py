"""The frozen values that travel on wires. Importing this module needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .models.hints.control_lora import ControlNet
    from .models.weights.merging import Network, WeightPatch
    from .text.tokenizer import ClipTokenizer

Family = Literal["sdxl", "sdxl-refiner", "sd15"]
Prediction = Literal["eps", "v"]
SwapMethod = Literal["joint", "separate", "vae"]


@dataclass(frozen=True)
class Lora:
    """A LoRA file and its weight. `required`: a performance mode needs it, so it stands outside the limit of five."""

    name: str
    weight: float
    required: bool = False


@dataclass(frozen=True)
class Prompt:
    """The texts of one picture, composed: what the text encoders read, in order."""

    positive: tuple[str, ...]
    negative: tuple[str, ...]
    positive_top_k: int
    negative_top_k: int
    seed: int
    text: str = ""
    negative_text: str = ""
    styles: tuple[str, ...] = ()
    expansion: str = ""


@dataclass(frozen=True)
class SamplingSettings:
    """How the sampler runs. ADM scales act on the picture size told to the UNet while t > 999·(1 − adm_end)."""

    performance: str = "Speed"
    steps: int = 30
    sampler: str = "dpmpp_2m_sde_gpu"
    scheduler: str = "karras"
    cfg: float = 4.0
    sharpness: float = 2.0
    adaptive_cfg: float = 7.0
    adm_positive: float = 1.5
    adm_negative: float = 0.8
    adm_end: float = 0.3


@dataclass(frozen=True)
class FreeU:
    """FreeU V2: backbone gains b1, b2 and skip gains s1, s2 of the two lower decoder levels."""

    b1: float = 1.01
    b2: float = 1.02
    s1: float = 0.99
    s2: float = 0.95


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
    """A UNet with what has been asked of it. `home` is a models folder to look in first, `native_size` the side in
    pixels that the network was trained for, `vae_name` the VAE that was chosen with it, `text_norm` the final norm of
    its checkpoint's CLIP-L. `inpaint` is apart from `patches`, since no refiner gets it."""

    network: Network
    family: Family
    prediction: Prediction = "eps"
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

    @property
    def latent_scale(self) -> float:
        """Factor from raw VAE latents to the UNet's latents."""
        return 0.18215 if self.family == "sd15" else 0.13025


@dataclass(frozen=True)
class TextEncoder:
    """One CLIP text tower: `pad` is the token that fills a 77-token section, `pooled` whether it has a projection."""

    network: Network
    pad: int
    pooled: bool
    patches: tuple[WeightPatch, ...] = ()


@dataclass(frozen=True)
class Clip:
    """The text encoders of a checkpoint (SDXL: L then G) and how deep they are read: `skip` 1 is the last layer.
    `home` is a models folder to look in first."""

    encoders: tuple[TextEncoder, ...]
    tokenizer: ClipTokenizer
    skip: int = 2
    name: str = ""
    home: Path | None = None


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


@dataclass(frozen=True)
class InpaintRegion:
    """The part of pictures that is painted anew, in the size that it is worked on.

    `image` (B, H, W, 3) in 0…1 are the whole pictures, `area` the rows (from, to) and columns (from, to) of the part,
    `soft` (B, H, W) how much of the new picture shows. `crop` (B, h, w, 3) is the part, `mask` (B, h, w) its mask, 0 or
    1 = repaint.
    """

    image: Tensor
    area: tuple[int, int, int, int]
    soft: Tensor
    crop: Tensor
    mask: Tensor

    @property
    def width(self) -> int:
        """In pixels, of what is painted: a latent has one place for eight."""
        return self.crop.shape[2] // 8 * 8

    @property
    def height(self) -> int:
        """In pixels, of what is painted."""
        return self.crop.shape[1] // 8 * 8


@dataclass(frozen=True)
class Known:
    """What is known of a picture beside its latent: unscaled latents (1 or B, 4, h, w).

    `latents` stay outside the mask; `masked` are those of the picture with its hole painted grey, for an inpaint
    engine; `swapped` those that stay once a refiner with a VAE of its own has taken over.
    """

    latents: Tensor
    masked: Tensor | None = None
    swapped: Tensor | None = None
