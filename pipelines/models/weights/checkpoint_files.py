"""Opening a checkpoint: a single file, one in several parts, or a diffusers folder with a file for each network."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from ...errors import MissingFile
from .files import Weights, open_weights

UNET_FOLDER = "unet"
COMPANIONS = ("text_encoder", "text_encoder_2", "vae")
SCHEDULER = Path("scheduler", "scheduler_config.json")
BROKEN_SCHEDULER = "broken scheduler"  # a key of the metadata that no file has
SCHEDULER_KEYS = ("prediction_type", "rescale_betas_zero_snr")
_FILES = re.compile(r"(?:model|pytorch_model|diffusion_pytorch_model)(?P<variant>\.[\w.-]+)?\.(?:safetensors|bin)")
_PART = re.compile(r"(?P<start>.+)-\d{5}-of-(?P<count>\d{5})(?P<end>(?:\.\w+)?\.(?:safetensors|bin))")
_KINDS = (
    ("a ControlNet", r"(?:^|\.)(?:input_hint_block|controlnet_cond_embedding)\.|lora_controlnet$"),
    ("a LoRA", r"lora_(?:up|down|A|B)\b|^lora_|hada_w1|lokr_w"),
    ("an IP-Adapter", r"^(?:image_proj|ip_adapter)\."),
    ("a textual inversion embedding", r"^(?:clip_[gl]|text_encoders_[01]|emb_params)$|^string_to_param\b"),
    ("an upscaler", r"^(?:module\.)?(?:model\.1\.sub\.0|RRDB_trunk|body\.0\.rdb1)\."),
    ("an inpaint head", r"^head$"),
    ("an expansion model (GPT-2)", r"^(?:transformer\.)?h\.\d+\.attn\.c_attn\."),
    ("a Flux model", r"(?:^|\.)(?:double_blocks|single_transformer_blocks)\.\d"),
    ("a Stable Diffusion 3 model", r"(?:^|\.)joint_blocks\.\d"),
    ("a diffusion transformer", r"^(?:model\.diffusion_model\.)?(?:transformer_blocks|blocks|layers)\.\d"),
    ("a CLIP vision encoder", r"(?:^|\.)(?:vision_model|visual)\."),
    ("a text encoder alone", r"(?:^|\.)(?:text_model\.encoder|transformer\.resblocks|encoder\.block)\."),
    ("a tiny autoencoder (TAESD)", r"^(?:(?:taesd_)?(?:en|de)coder\.)?(?:layers\.)?1\.(?:conv\.0\.)?weight$"),
    ("a VAE alone", r"(?:^|\.)decoder\.conv_in\.weight$"),
)  # fmt: skip


@contextmanager
def open_checkpoint(path: Path) -> Iterator[Weights]:
    """Open a checkpoint file; the UNet of a diffusers folder together with the other networks of that folder.

    In a folder, the names of weights begin with that of their sub-folder: 'unet.', 'text_encoder.', 'text_encoder_2.',
    'vae.'; the metadata includes the prediction settings of the scheduler. Raises the errors of `open_weights`.
    """
    with ExitStack() as files:
        weights = files.enter_context(open_parts(path))
        found = companions(path)
        if not found:
            yield weights
            return
        parts = {UNET_FOLDER: weights, **{name: files.enter_context(open_parts(one)) for name, one in found.items()}}
        yield replace(_joined(parts), path=path, metadata={**_of_scheduler(path), **weights.metadata})


@contextmanager
def open_parts(path: Path) -> Iterator[Weights]:
    """Open a file, together with its other parts if it is one of several, such as model-00001-of-00002.safetensors.

    Raises the errors of `open_weights`, and MissingFile that names the missing part.
    """
    match = _PART.fullmatch(path.name)
    if match is None:
        with open_weights(path) as weights:
            yield weights
        return
    numbers = range(1, int(match["count"]) + 1)
    names = (f"{match['start']}-{number:05}-of-{match['count']}{match['end']}" for number in numbers)
    with ExitStack() as files:
        sources: dict[str, Weights] = {}
        for name in names:
            if not (path.parent / name).is_file():
                raise MissingFile(
                    f"{path.name} is one of the {len(numbers)} parts of a model, and {name} is missing beside it: "
                    "download all parts"
                )
            part = files.enter_context(open_weights(path.parent / name))
            sources |= dict.fromkeys(part.shapes, part)
        shapes = {key: part.shapes[key] for key, part in sources.items()}
        yield Weights(path, shapes, lambda key: sources[key].read(key), part.metadata)


def companions(path: Path) -> dict[str, Path]:
    """Return the weight files of the other networks beside a UNet file in a diffusers folder, by their folders.

    Of several files, the one with the UNet's variant (such as fp16) is chosen, else the first by name.
    """
    if path.parent.name != UNET_FOLDER or not (of_unet := _match(path)):
        return {}
    found: dict[str, Path] = {}
    for name in COMPANIONS:
        folder = path.parent.parent / name
        files = sorted(one for one in folder.glob("*") if one.is_file() and _match(one))
        files.sort(key=lambda one: (_variant(one) != of_unet["variant"], one.suffix != ".safetensors"))
        if files:
            found[name] = files[0]
    return found


def kind_of(names: Iterable[str]) -> str:
    """Describe a file that is not a checkpoint by the names of its weights; '' if they are unknown."""
    listed = list(names)
    return next((kind for kind, pattern in _KINDS if any(re.search(pattern, name) for name in listed)), "")


def _match(path: Path) -> re.Match[str] | None:
    part = _PART.fullmatch(path.name)
    return _FILES.fullmatch(part["start"] + part["end"] if part else path.name)


def _variant(path: Path) -> str | None:
    match = _match(path)
    return match["variant"] if match else None


def _joined(parts: Mapping[str, Weights]) -> Weights:
    """Combine the weights of several files; each name gets the prefix of its part."""
    shapes = {f"{part}.{key}": shape for part, weights in parts.items() for key, shape in weights.shapes.items()}

    def read(key: str) -> Tensor:
        part, _, name = key.partition(".")
        return parts[part].read(name)

    return Weights(Path(), shapes, read)


def _of_scheduler(path: Path) -> dict[str, str]:
    """Return the prediction settings in the scheduler configuration of a diffusers folder.

    For a broken file, the entry BROKEN_SCHEDULER holds the reason; the weights are sound without it.
    """
    config = path.parent.parent / SCHEDULER
    if not config.is_file():
        return {}
    try:
        content = json.loads(config.read_text("utf-8-sig"))
        return {key: str(content[key]) for key in SCHEDULER_KEYS if key in content}
    except (OSError, ValueError, TypeError, RecursionError) as error:
        return {BROKEN_SCHEDULER: str(error)}
