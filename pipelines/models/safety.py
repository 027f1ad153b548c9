"""The Stable Diffusion safety checker: a CLIP vision encoder and embeddings of concepts (Fooocus extras/censor.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from ..errors import BadFile
from ..functional import safety as scoring
from .hints.clip_vision import add_position_ids, vision_config
from .weights.files import Weights, open_weights
from .weights.filling import build, derive_for_file, fill, to_dtype
from .weights.key_names import Part

CONCEPTS, SPECIAL = "concept_embeds", "special_care_embeds"
THRESHOLDS = "_weights"  # the file's word for the thresholds of embeddings
WIDTH_OF_REAL = 1024  # of the published checker, a ViT-L/14
_NESTED, _VISION = "vision_model.vision_model.", "vision_model."

Picture = NDArray[np.uint8]


class ImageEmbeds(Protocol):
    """Output of transformers' CLIPVisionModelWithProjection: `image_embeds` (B, D)."""

    image_embeds: Tensor


@dataclass(frozen=True, eq=False)
class Concepts:
    """Embeddings (C, D) of concepts and the similarities (C,) from which an image counts as one of them."""

    embeds: Tensor
    thresholds: Tensor


@dataclass(frozen=True, eq=False)
class SafetyChecker:
    """The checker of the file `name`, which sees images of `size` pixels a side."""

    name: str
    module: nn.Module
    size: int
    width: int
    concepts: Concepts
    special: Concepts

    @property
    def protects(self) -> bool:
        """False for a checker too small to know more than a test card, such as the pocket model's."""
        return self.width >= WIDTH_OF_REAL


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of B images: `special` (B, S) and `concepts` (B, C), rounded to three decimals."""

    special: Tensor
    concepts: Tensor

    @property
    def flagged(self) -> list[bool]:
        """True for each image with a concept whose score is above 0."""
        return [bool(one) for one in (self.concepts > 0).any(dim=1)]

    @property
    def highest(self) -> list[float]:
        """The highest score of each image, rounded to three decimals."""
        return [round(float(one), scoring.DECIMALS) for one in self.concepts.amax(dim=1)]


class _Stored(nn.Module):
    """Everything that a file of the checker stores."""

    def __init__(self, config: CLIPVisionConfig, concepts: int, special: int) -> None:
        super().__init__()
        self.vision = CLIPVisionModelWithProjection(config)
        for name, count in ((CONCEPTS, concepts), (SPECIAL, special)):
            self.register_parameter(name, nn.Parameter(torch.empty(count, config.projection_dim)))
            self.register_parameter(name + THRESHOLDS, nn.Parameter(torch.empty(count)))

    def concepts(self, name: str) -> Concepts:
        return Concepts(self.get_parameter(name), self.get_parameter(name + THRESHOLDS))


def load_safety_checker(path: Path) -> SafetyChecker:
    """Load a safety checker in diffusers' old or new layout, float32 on the CPU.

    Raises MissingFile, and BadFile for a file that is damaged or another kind of model.
    """
    with open_weights(path) as weights:
        if CONCEPTS not in weights.shapes or SPECIAL not in weights.shapes:
            raise BadFile(f"{path.name} is not a safety checker: choose stable-diffusion-safety-checker")
        parts = _parts(weights)
        shapes = {name: weights.shapes[part.key] for name, part in parts.items()}
        settings = derive_for_file(path, _config, shapes)
        counts = (shapes[CONCEPTS][0], shapes[SPECIAL][0])
        config = CLIPVisionConfig(**settings)
        stored = build(lambda: _Stored(config, *counts))
        fill(stored, weights, parts, to_dtype(torch.float32), "the safety checker")
    add_position_ids(stored.vision, shapes["vision.vision_model.embeddings.position_embedding.weight"][0])
    sizes = settings["image_size"], settings["hidden_size"]
    return SafetyChecker(path.name, stored.vision, *sizes, stored.concepts(CONCEPTS), stored.concepts(SPECIAL))


def pixels(pictures: Sequence[Picture], size: int) -> Tensor:
    """uint8 RGB pictures (H, W, 3) as CLIP sees them: (B, 3, size, size).

    By transformers' image processor on PIL: the one on torchvision resamples differently, by up to 0.015.
    """
    processor = _processor()(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
    images = [Image.fromarray(picture) for picture in pictures]
    return cast(Tensor, processor(images=images, return_tensors="pt")["pixel_values"])


@torch.no_grad()
def embeddings(checker: SafetyChecker, x: Tensor) -> Tensor:
    """Embeddings (B, D) of what `pixels` returned, on the CPU."""
    parameter = next(checker.module.parameters())
    out = cast(ImageEmbeds, checker.module(pixel_values=x.to(parameter)))
    return out.image_embeds.float().cpu()


def scores(checker: SafetyChecker, embeds: Tensor) -> Scores:
    """Scores of image embeddings (B, D) for all concepts."""
    special, added = scoring.special_scores(
        scoring.similarity(embeds, checker.special.embeds), checker.special.thresholds
    )
    similar = scoring.similarity(embeds, checker.concepts.embeds)
    return Scores(special, scoring.concept_scores(similar, checker.concepts.thresholds, added))


def _processor() -> Any:
    try:
        from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    except ImportError:  # before transformers 5 it is the only one of this name
        from transformers import CLIPImageProcessor

        return CLIPImageProcessor
    return CLIPImageProcessorPil


def _parts(weights: Weights) -> dict[str, Part]:
    """The source of each weight by the names of `_Stored`; older files nest one vision model in another."""
    parts = {}
    for key in weights.shapes:
        if key.endswith("position_ids"):
            continue
        if key.startswith(_NESTED):
            parts["vision." + key.removeprefix(_VISION)] = Part(key)
        elif key.startswith((_VISION, "visual_projection.")):
            parts["vision." + key] = Part(key)
        else:
            parts[key] = Part(key)
    return parts


def _config(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    inside = {name.removeprefix("vision."): shape for name, shape in shapes.items()}
    return {**vision_config(inside), "hidden_act": "quick_gelu"}
