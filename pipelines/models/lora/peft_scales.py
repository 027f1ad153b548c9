"""LoRA scales from PEFT's configuration, which is in the file's metadata or in adapter_config.json."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import BadFile
from .entries import ADAPTER

METADATA_KEY = "lora_adapter_metadata"
_FACTOR = re.compile(
    rf"^(?P<base>.+)\.(?:(?P<down>lora_A{ADAPTER}\.weight|lora_embedding_A{ADAPTER}|"
    rf"(?:hada_w1|lokr_w[12])_b{ADAPTER})|lokr_w1{ADAPTER})$"
)
_OWNER = re.compile(r"^(unet|text_encoder|text_encoder_2)\.")


def scales(path: Path, metadata: Mapping[str, str], state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The entries that a PEFT file's configuration adds or changes; empty without a configuration.

    Modules without an '.alpha' entry get one. A LoKr whose second factor is a whole matrix ignores alpha, so its first
    factor is scaled instead. diffusers writes the configuration into the metadata, by network ("unet.lora_alpha"), PEFT
    into adapter_config.json beside adapter_model.safetensors. Raises BadFile if it is not a JSON object.
    """
    configs = _from_metadata(path, metadata) or _from_neighbour(path)
    return dict(_scales(configs, state)) if configs else {}


def _from_metadata(path: Path, metadata: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    configs: dict[str, dict[str, Any]] = {}
    for key, value in _parsed(f"the metadata of {path.name}", metadata.get(METADATA_KEY, "{}")).items():
        match = _OWNER.match(key)
        configs.setdefault(match[1] if match else "", {})[key[match.end() :] if match else key] = value
    return configs


def _from_neighbour(path: Path) -> dict[str, dict[str, Any]]:
    neighbour = path.with_name("adapter_config.json")
    if path.stem != "adapter_model" or not neighbour.is_file():
        return {}
    return {"": _parsed(str(neighbour), neighbour.read_bytes())}


def _parsed(where: str, text: str | bytes) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise BadFile(f"the LoRA configuration in {where} can't be read ({error}): download it again") from error
    if not isinstance(content, dict):
        raise BadFile(
            f"the LoRA configuration in {where} is a {type(content).__name__}, not a JSON object: download it again"
        )
    return content


def _scales(configs: Mapping[str, Mapping[str, Any]], state: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    for key, value in state.items():
        match = _FACTOR.match(key)
        if match is None or f"{match['base']}.alpha" in state or not isinstance(value, Tensor) or not value.ndim:
            continue
        base = match["base"]
        owner = _OWNER.match(key)
        config = configs.get(owner[1] if owner else "", configs.get("", {}))
        alpha = _setting(config, "alpha_pattern", base, config.get("lora_alpha", config.get("alpha")))
        rank = _setting(config, "rank_pattern", base, config.get("r"))
        if alpha is None or not rank:
            continue
        if match["down"]:
            # alpha/sqrt(r) written as alpha'/r (Kalajdzievski 2023, arXiv 2312.03732)
            stabilised = math.sqrt(value.shape[0]) if config.get("use_rslora") else 1.0
            yield f"{base}.alpha", torch.tensor(alpha * stabilised)
        elif f"{base}.lokr_w2" in state:
            yield key, value * (alpha / rank)


def _setting(config: Mapping[str, Any], patterns: str, module: str, common: Any) -> float | None:
    """A setting of one module: the value of the first pattern that its name ends with, else the common value."""
    by_name = config.get(patterns)
    special = (value for name, value in by_name.items() if _ends_in(module, name)) if isinstance(by_name, dict) else ()
    value = next(iter(special), common)
    return float(value) if isinstance(value, int | float) else None


def _ends_in(module: str, pattern: str) -> bool:
    return module == pattern or module.endswith("." + pattern.removeprefix("^"))
