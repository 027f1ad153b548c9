"""Reading ComfyUI conditioning: each entry's area, mask, strength, range of timesteps and sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...errors import BadValue
from ...functional import regions
from ...functional.adm import Ids, SizeIds, refiner_ids, size_ids
from ...functional.latents import CELL
from ...functional.model_sampling import ModelSampling
from ...functional.regions import Area
from ...host import Host
from ...models.handles import Model
from ...models.protocols import DenoisingNetwork
from ...types import CONDITIONING_CLIP_SKIP, CONDITIONING_NORM, CONDITIONING_PROMPT, Conditioning, SamplingSettings
from .entries import Entry

Options = Mapping[str, Any]

SIZES = ("width", "height", "crop_w", "crop_h", "target_width", "target_height")
RANGE = ("start_percent", "end_percent", "clip_start_percent", "clip_end_percent")
READ = {
    *SIZES, *RANGE, "pooled_output", "area", "strength", "mask", "mask_strength", "set_area_to_bounds", "default",
    "aesthetic_score", "prompt_type", "control_apply_to_uncond", CONDITIONING_PROMPT, CONDITIONING_CLIP_SKIP,
    CONDITIONING_NORM,
}  # fmt: skip
REFUSED = {
    "control": ("a ControlNet", "connect Fooocus Control to the sampler's control input instead"),
    "hooks": ("hooks", "use Fooocus Apply LoRAs for LoRAs, or sample with a KSampler"),
    "gligen": ("a GLIGEN box", "use Conditioning (Set Area) instead"),
    "unclip_conditioning": ("an unCLIP image", "use Fooocus Image Prompt instead"),
}
WITHOUT_EFFECT = {
    "guidance", "attention_mask", "reference_latents", "reference_latents_method", "concat_latent_image",
    "concat_mask", "noise_augmentation", "clip_vision_output",
}  # of other model families: SDXL and SD 1.5 do not read them in ComfyUI either  # fmt: skip
AREA_PARTS = 4  # height, width, top, left


def check_options(host: Host, conditioning: Conditioning, name: str) -> None:
    """Refuse what the sampler cannot apply, and give a notice about options that no model here reads.

    Raises BadValue for conditioning without entries, for ControlNets, hooks, GLIGEN and unCLIP, and for unknown
    options, naming the entry.
    """
    if not conditioning:
        raise BadValue(f"the {name} conditioning has no entries: connect Fooocus Encode Prompt")
    for i, (_, options) in enumerate(conditioning):
        entry = named(name, i, conditioning)
        given = {key for key, value in options.items() if value is not None}
        for key in sorted(given & set(REFUSED)):
            what, instead = REFUSED[key]
            raise BadValue(f"{entry} carries {what}, which Fooocus's sampler cannot apply: {instead}")
        if unknown := sorted(map(repr, given - READ - WITHOUT_EFFECT)):
            raise BadValue(
                f"{entry} has the option {', '.join(unknown)}, which Fooocus's sampler does not know: connect "
                "conditioning without it, or sample with a KSampler"
            )
        if without := sorted(given & WITHOUT_EFFECT):
            host.notice(f"{entry} has {', '.join(without)}, which has no effect on this kind of model")


def named(name: str, i: int, conditioning: Conditioning) -> str:
    """Name an entry for a message: 'the positive conditioning', or 'entry 2 of the positive conditioning'."""
    return f"the {name} conditioning" if len(conditioning) == 1 else f"entry {i + 1} of the {name} conditioning"


@dataclass(frozen=True)
class Reader:
    """Reads conditioning for a network and latents of `shape` (B, C, h, w)."""

    network: DenoisingNetwork
    sampling: ModelSampling
    model: Model
    settings: SamplingSettings
    shape: torch.Size
    device: torch.device

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the latents."""
        return self.shape[-2], self.shape[-1]

    def entries(self, conditioning: Conditioning, name: str) -> list[Entry]:
        """Return the entries of one side, 'positive' or 'negative'. Raises BadValue when they do not fit."""
        if not conditioning:
            raise BadValue(f"the {name} conditioning has no entries: connect Fooocus Encode Prompt")
        return [
            self._entry(tokens, options, named(name, i, conditioning), options.get("prompt_type", name) == "negative")
            for i, (tokens, options) in enumerate(conditioning)
        ]

    def _entry(self, tokens: Tensor, options: Options, name: str, negative: bool) -> Entry:
        pooled, network = options.get("pooled_output"), self.network
        if tokens.shape[-1] != network.token_width:
            raise BadValue(
                f"{name} is {tokens.shape[-1]} wide and {self.model.name or 'the model'} takes {network.token_width}: "
                "encode the prompt with the text encoders of the same checkpoint"
            )
        if pooled is None and network.takes_sizes:
            raise BadValue(f"{name} has no pooled output: encode the prompt with Fooocus Encode Prompt")
        area, weights = self._region(options, name)
        first, last = range_of(options, self.sampling)
        return Entry(
            self._expanded(tokens, name),
            None if pooled is None else self._expanded(pooled, name),
            sizes_of(options, self.model, self.settings, self.size, negative),
            area,
            restricts(options),
            weights,
            first,
            last,
            bool(options.get("default")),
        )

    def _expanded(self, values: Tensor, name: str) -> Tensor:
        """Expand one row to the batch, or return one row for each latent, on the device."""
        batch = self.shape[0]
        if len(values) not in (1, batch):
            raise BadValue(f"{name} has {len(values)} rows and the latent has {batch}: give one, or one for each")
        return values.expand(batch, *values.shape[1:]).to(self.device)

    def _region(self, options: Options, name: str) -> tuple[Area, Tensor | None]:
        """Return the area of an entry and its weights there; None for weight 1 everywhere."""
        whole, mask = Area(*self.size), options.get("mask")
        area = area_of(options["area"], self.size, name) if options.get("area") is not None else whole
        strength = float(options.get("strength", 1.0))
        if mask is None:
            if area == whole and strength == 1:
                return area, None
        else:
            mask = regions.fitted_mask(mask, self.size)
            strength *= float(options.get("mask_strength", 1.0))
            mask = self._rows_of(mask, name)
            if options.get("set_area_to_bounds"):
                area = regions.bounds(mask)
        area = area.clipped(*self.size)
        if min(area.height, area.width) < 1 or min(area.top, area.left) < 0:
            raise BadValue(
                f"the area of {name} starts at row {area.top * CELL} and column {area.left * CELL}, outside the image "
                f"of {self.size[1] * CELL}×{self.size[0] * CELL} pixels: move it inside"
            )
        return area, regions.weights(self.size, area, mask, strength).to(self.device)

    def _rows_of(self, mask: Tensor, name: str) -> Tensor:
        """Repeat the rows of a mask (n, h, w) over the batch; one row stays one."""
        batch = self.shape[0]
        mask = mask[:batch]
        if batch % len(mask):
            raise BadValue(
                f"the mask of {name} has {len(mask)} rows and the latent has {batch}: give one, or one for each"
            )
        return mask if len(mask) == 1 else mask.repeat(batch // len(mask), 1, 1)


def restricts(options: Options) -> bool:
    """True when an entry names an area, or takes that of its mask."""
    by_mask = options.get("mask") is not None and bool(options.get("set_area_to_bounds"))
    return by_mask or options.get("area") is not None


def area_of(value: Any, size: tuple[int, int], name: str) -> Area:
    """Read ComfyUI's area: (height, width, top, left) in cells, or 'percentage' and fractions of a latent of `size`."""
    fractions = value[0] == "percentage"
    parts = value[1:] if fractions else value
    if len(parts) != AREA_PARTS:
        raise BadValue(f"the area of {name} is one of a video: use Conditioning (Set Area)")
    height, width, top, left = parts
    if fractions:
        return regions.fractional_area(height, width, top, left, size)
    return Area(int(height), int(width), int(top), int(left))


def range_of(options: Options, sampling: ModelSampling) -> tuple[float, float]:
    """Return the highest and the lowest sigma at which an entry applies; percentages are fractions of the timesteps."""
    start = max(options.get("start_percent", 0.0), options.get("clip_start_percent", 0.0))
    end = min(options.get("end_percent", 1.0), options.get("clip_end_percent", 1.0))
    first = sampling.percent_to_sigma(start) if start > 0 else float("inf")
    return first, sampling.percent_to_sigma(end)


def sizes_of(
    options: Options, model: Model, settings: SamplingSettings, size: tuple[int, int], negative: bool
) -> SizeIds:
    """Return the size ids of an entry for latents of `size` (h, w).

    Sizes that the entry states, as CLIP Text Encode SDXL does, are used as they are at every step. Without them SDXL
    gets the image size with Fooocus's ADM scaling, and its refiner the image size and an aesthetic score.
    """
    height, width = size[0] * CELL, size[1] * CELL
    stated = any(key in options for key in SIZES)
    if not stated and model.family != "sdxl-refiner":
        return size_ids(width, height, settings.adm_negative if negative else settings.adm_positive)
    height, width = options.get("height", height), options.get("width", width)
    original = (height, width, options.get("crop_h", 0), options.get("crop_w", 0))
    if model.family == "sdxl-refiner":
        *_, score = refiner_ids(width, height, negative)
        ids: Ids = (*original, options.get("aesthetic_score", score))
    else:
        ids = (*original, options.get("target_height", height), options.get("target_width", width))
    return SizeIds(ids, ids)
