"""LoRAs in the parameters of A1111 and compatible programs."""

from __future__ import annotations

import re

from ...names import same, stem
from .infotext import Infotext

PAIR = re.compile(r"(.+?): ([^,:]+)(?:, |$)")
TAG = re.compile(r"<lora:([^:<>]+)", re.IGNORECASE)
NUMBERED = re.compile(r"lora_(\d+) model name")  # of the node pack SaveImageWithMetaData


def loras_in_text(parts: Infotext) -> tuple[list[list[str]], list[str], list[str]]:
    """Return [name, weight] of each LoRA, a phrase for each one without a weight, and the keys read besides.

    A1111 lists hashes of the LoRAs that are tagged in the prompt; Fooocus adds the weight to each hash.
    """
    numbered, keys = _numbered(parts)
    if weights := parts.get("Lora weights"):
        return [*([match[1], match[2]] for match in PAIR.finditer(weights)), *numbered], [], keys
    entries = [entry.split(": ") for entry in (parts.get("Lora hashes") or "").split(", ") if entry]
    found = [[entry[0], entry[2]] for entry in entries if len(entry) == 3]
    known = [*TAG.findall(parts.positive), *(name for name, _ in numbered)]
    bare = [entry[0] for entry in entries if len(entry) < 3]
    missing = [name for name in bare if not any(same(stem(name), stem(other)) for other in known)]
    return [*found, *numbered], [f"LoRA {name[:60]!r}, which has no weight" for name in missing], keys


def _numbered(parts: Infotext) -> tuple[list[list[str]], list[str]]:
    """Return the LoRAs that are written as a name and a strength each, and the keys of their entries."""
    numbers = [match[1] for key in parts.pairs if (match := NUMBERED.fullmatch(key))]
    weighted = [number for number in numbers if parts.get(f"Lora_{number} Strength model")]
    loras = [[parts.pairs[f"lora_{n} model name"], parts.pairs[f"lora_{n} strength model"]] for n in weighted]
    keys = [f"lora_{n} {part}" for n in weighted for part in ("model name", "model hash", "strength model")]
    clips = [f"lora_{n} strength clip" for n in weighted]
    return loras, keys + [key for key in clips if parts.get(key) == parts.get(key.replace("clip", "model"))]
