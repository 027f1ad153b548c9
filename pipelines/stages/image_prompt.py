"""Image prompts: loading an adapter, and making hints from images (Fooocus extras/ip_adapter.py)."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from ...preprocessors import geometry
from ..errors import BadFile, BadValue, chosen
from ..files import file_state
from ..functional.image_attention import KeyValue
from ..host import Host, find_or_pocket
from ..models.handles import Hint, ImageHint
from ..models.hints.clip_vision import ClipVision, hidden_states, load_clip_vision, normalised
from ..models.hints.ip_adapter import ImagePromptModel, load_adapter, load_negative
from ..models.weights.soundness import require_finite
from ..settings import (
    DEFAULT_CLIP_VISION,
    DEFAULT_IMAGE_PROMPT,
    DEFAULT_IP_NEGATIVE,
    IMAGE_PROMPT_FORMULAS,
    MAX_IMAGE_PROMPT_WEIGHT,
    NO_FILE,
    TOGETHER,
)
from . import pictures

KIND, VISION_KIND = "controlnet", "clip_vision"
ADAPTER_KINDS = (KIND, "ipadapter")
Keys = tuple[KeyValue, ...]


def find(host: Host, adapter: str, vision: str, negative: str) -> tuple[Path, Path, Path | None]:
    """Paths of adapter, vision encoder and negative tokens; 'None' means no negative tokens. Raises MissingFile."""
    kind = next((kind for kind in ADAPTER_KINDS if adapter in host.names(kind)), KIND)
    return (
        find_or_pocket(host, kind, adapter, DEFAULT_IMAGE_PROMPT),
        find_or_pocket(host, VISION_KIND, vision, DEFAULT_CLIP_VISION),
        None if negative == NO_FILE else find_or_pocket(host, KIND, negative, DEFAULT_IP_NEGATIVE),
    )


def load(host: Host, adapter: str, vision: str, negative: str = DEFAULT_IP_NEGATIVE) -> ImagePromptModel:
    """Load an adapter with its vision encoder and negative tokens. Adapters share a vision encoder while in use.

    Raises MissingFile, and BadFile for files that are damaged, of another kind, or don't match each other.
    """
    paths = find(host, adapter, vision, negative)
    key = ("image prompt", *(file_state(path) for path in paths if path is not None), host.dtype("unet"))
    model = host.keep_networks(key, lambda: _read(host, *paths))
    host.manage("unet", model.adapter, model.vision.module)
    return model


def _read(host: Host, adapter_path: Path, vision_path: Path, negative_path: Path | None) -> ImagePromptModel:
    dtype = _dtype(host)
    maps, seeing = load_adapter(adapter_path, dtype), _vision(host, vision_path, dtype)
    if maps.embed != seeing.width:
        raise BadFile(
            f"{adapter_path.name} reads a vision encoder {maps.embed} wide, {vision_path.name} is {seeing.width} wide: "
            f"choose the encoder that the adapter was trained with ({DEFAULT_CLIP_VISION})"
        )
    tokens = None if negative_path is None else load_negative(negative_path, maps)
    files = [path for path in (adapter_path, vision_path, negative_path) if path is not None]
    key = (*(file_state(path) for path in files), host.dtype("unet"))
    return ImagePromptModel(adapter_path.name, maps, seeing, tokens, key)


def prompt(
    host: Host,
    model: ImagePromptModel,
    image: Tensor,
    weight: float = 0.6,
    stop_at: float = 0.5,
    formula: str = TOGETHER,
    control: tuple[Hint, ...] = (),
) -> tuple[Hint, ...]:
    """The hints in `control` and one more: an image (1 or B, H, W, 1, 3 or 4) in 0…1 that is read beside the prompt.

    Several images go with one latent each of a batch. `weight` is 0…2; with the formula that joins image and text, an
    image of weight 0 still takes attention from the text. The hint acts until the fraction `stop_at` of the timesteps;
    0 switches it off. Raises BadValue for values out of range and for what is no image, and UnknownName for another
    formula.
    """
    check(weight, stop_at)
    formula = chosen("image prompt formula", formula, IMAGE_PROMPT_FORMULAS)
    arrays = prepared(image, model.vision.size)
    if stop_at == 0:
        return control
    if formula == TOGETHER and model.negative is None:
        raise BadValue(
            f"the formula {TOGETHER} needs the negative tokens: choose {DEFAULT_IP_NEGATIVE} in the load node, or "
            "another formula"
        )
    keys = [_positive(host, model, array) for array in arrays]
    positive = keys[0] if len(keys) == 1 else tuple(_stacked(pairs) for pairs in zip(*keys, strict=True))
    hint = ImageHint(positive, _negative(host, model, formula), model.name, weight, stop_at, formula == TOGETHER)
    return (*control, hint)


def check(weight: float, stop_at: float) -> None:
    """Raise BadValue for a weight outside 0…2 or a stop outside 0…1."""
    if not 0 <= weight <= MAX_IMAGE_PROMPT_WEIGHT:
        raise BadValue(f"weight is {weight}: choose one from 0 to {MAX_IMAGE_PROMPT_WEIGHT:g}")
    if not 0 <= stop_at <= 1:
        raise BadValue(f"stop_at is {stop_at}: choose a fraction between 0 and 1")


def prepared(image: Tensor, size: int) -> list[geometry.Picture]:
    """Images (B, H, W, 1, 3 or 4) as RGB arrays, stretched to `size` × `size` pixels. Raises BadValue."""
    return [geometry.resample(array, size, size) for array in pictures.to_arrays(image, "an image prompt")]


def _positive(host: Host, model: ImagePromptModel, picture: geometry.Picture) -> Keys:
    """Keys and values of an image for the positive side."""
    pixels = pictures.from_arrays([picture]).movedim(-1, 1)
    content = sha256(picture.tobytes()).hexdigest()
    return host.keep((model.key, content), lambda: _keys(host, model, _tokens(host, model, normalised(pixels))))


def _negative(host: Host, model: ImagePromptModel, formula: str) -> Keys:
    """Keys and values for the negative side: of Fooocus's tokens, which bypass the resampler, if image and text are
    joined; else of an input of zeros, as IP-Adapter was trained."""
    given = model.negative
    if formula == TOGETHER and given is not None:
        return host.keep((model.key, "negative"), lambda: _keys(host, model, given))
    blank = torch.zeros(1, 3, model.vision.size, model.vision.size)
    return host.keep((model.key, "blank"), lambda: _keys(host, model, _tokens(host, model, blank)))


def _tokens(host: Host, model: ImagePromptModel, x: Tensor) -> Tensor:
    """The adapter's tokens (1, n, D) of a normalised image (1, 3, size, size), on the CPU."""
    host.check_interrupted()
    device = host.load("unet", model.vision.module)
    hidden = hidden_states(model.vision, x.to(device)).cpu()
    device = host.load("unet", model.adapter)
    tokens = model.adapter(hidden.to(device)).cpu()
    networks = [(model.vision.name, model.vision.module), (model.name, model.adapter)]
    return require_finite(tokens, "the image prompt", networks, "choose another image")


def _keys(host: Host, model: ImagePromptModel, tokens: Tensor) -> Keys:
    """Keys and values of the tokens for every cross-attention, on the CPU."""
    host.load("unet", model.adapter)
    pairs = model.adapter.keys_and_values(tokens.to(next(model.adapter.parameters())))
    return tuple((key.cpu(), value.cpu()) for key, value in pairs)


def _stacked(pairs: Sequence[KeyValue]) -> KeyValue:
    """One layer's keys and values of several images: (B, n, C)."""
    keys, values = zip(*pairs, strict=True)
    return torch.cat(keys), torch.cat(values)


def _vision(host: Host, path: Path, dtype: torch.dtype) -> ClipVision:
    """The vision encoder of a file, the same for all adapters while one of them is in use."""
    encoders: WeakValueDictionary[object, ClipVision] = host.keep("vision encoders in use", WeakValueDictionary)
    key = (*file_state(path), dtype)
    found = encoders.get(key)
    if found is None:
        found = encoders[key] = load_clip_vision(path, dtype)
    return found


def _dtype(host: Host) -> torch.dtype:
    """The UNet's dtype, or float16 if that is a dtype for storage only."""
    dtype = host.dtype("unet")
    return dtype if dtype in (torch.float32, torch.bfloat16, torch.float16) else torch.float16
