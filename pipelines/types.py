"""The frozen values on wires. Importing this module needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from torch import Tensor

Family = Literal["sdxl", "sdxl-refiner", "sd15"]
Prediction = Literal["eps", "v"]
SwapMethod = Literal["joint", "separate", "vae"]
SWAP_METHODS: tuple[SwapMethod, ...] = get_args(SwapMethod)

Latent = dict[str, Any]
"""ComfyUI's LATENT: `samples` (B, 4, h, w), unscaled; `noise_mask`, 1 = repaint; and the keys below."""
LATENT_MASK = "noise_mask"
LATENT_FAMILY = "fooocus_family"  # the `Family` whose VAE decodes it
LATENT_KNOWN = "fooocus_known"  # `Known`

Conditioning = list[list[Any]]
"""ComfyUI's CONDITIONING: pairs of tokens (B, n, D) and a dict with `pooled_output` and the keys below."""
CONDITIONING_PROMPT = "fooocus_prompt"  # `Prompt`, on the positive side
CONDITIONING_CLIP_SKIP = "fooocus_clip_skip"
CONDITIONING_NORM = "fooocus_final_norm"  # `TextNorm` of the CLIP-L that read it


@dataclass(frozen=True)
class Lora:
    """A LoRA file and its weight.

    `required`: a performance mode needs it, so it is exempt from the limit of five. `optional`: it is left out when its
    file is missing.
    """

    name: str
    weight: float
    required: bool = False
    optional: bool = False


@dataclass(frozen=True)
class Prompt:
    """The composed texts of one image, in the order in which the text encoders read them."""

    positive: tuple[str, ...]
    negative: tuple[str, ...]
    positive_top_k: int
    negative_top_k: int
    seed: int
    text: str = ""
    negative_text: str = ""
    styles: tuple[str, ...] = ()
    expansion: str = ""


@dataclass(frozen=True, eq=False)
class TextNorm:
    """The layer norm after a text encoder's last layer: weight and bias (D,), float32 on the CPU."""

    weight: Tensor
    bias: Tensor
    eps: float


@dataclass(frozen=True)
class SamplingSettings:
    """Sampling settings. The ADM factors scale the image size that SDXL is conditioned on while t > 999·(1 - adm_end).

    `as_fooocus` samples the schedulers `turbo` and `align_your_steps` as `normal`, as Fooocus does.
    """

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
    as_fooocus: bool = False


@dataclass(frozen=True)
class FreeU:
    """FreeU V2: backbone factors b1, b2 and skip factors s1, s2 of the two lower decoder levels."""

    b1: float = 1.01
    b2: float = 1.02
    s1: float = 0.99
    s2: float = 0.95


@dataclass(frozen=True)
class InpaintRegion:
    """The region of images that is inpainted, at the size at which it is sampled.

    `image` (B, H, W, 3) in 0…1 are the whole images, `area` is the region's rows (from, to) and columns (from, to), and
    `soft` (B, H, W) the opacity of the new image. `crop` (B, h, w, 3) is the region and `mask` (B, h, w) its mask, 0 or
    1 = repaint.
    """

    image: Tensor
    area: tuple[int, int, int, int]
    soft: Tensor
    crop: Tensor
    mask: Tensor

    @property
    def width(self) -> int:
        """Width of the sampled region in pixels, a multiple of 8."""
        return self.crop.shape[2] // 8 * 8

    @property
    def height(self) -> int:
        """Height of the sampled region in pixels, a multiple of 8."""
        return self.crop.shape[1] // 8 * 8


@dataclass(frozen=True)
class Known:
    """Latents of an image that is inpainted, unscaled (1 or B, 4, h, w).

    `latents` are kept outside the mask. `masked` are those of the image with its masked part filled with gray, for an
    inpaint engine. `swapped` are kept in place of `latents` after a refiner with a VAE of its own has taken over.
    """

    latents: Tensor
    masked: Tensor | None = None
    swapped: Tensor | None = None
