"""Generation parameters in the formats of Fooocus and A1111 (Fooocus modules/meta_parser.py)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...names import stem
from ...settings import NO_FILE
from ...types import FreeU, Lora

SOFTWARE = "Fooocus Stages"

A1111_SAMPLERS = {
    "euler": "Euler", "euler_ancestral": "Euler a", "heun": "Heun", "dpm_2": "DPM2", "dpm_2_ancestral": "DPM2 a",
    "lms": "LMS", "dpm_fast": "DPM fast", "dpm_adaptive": "DPM adaptive", "dpmpp_2s_ancestral": "DPM++ 2S a",
    "dpmpp_sde": "DPM++ SDE", "dpmpp_sde_gpu": "DPM++ SDE", "dpmpp_2m": "DPM++ 2M",
    "dpmpp_2m_sde": "DPM++ 2M SDE", "dpmpp_2m_sde_gpu": "DPM++ 2M SDE", "lcm": "LCM", "tcd": "TCD",
    "restart": "Restart", "ddim": "DDIM", "uni_pc": "UniPC",
}  # fmt: skip

HashOf = Callable[[str, str], str | None]
"""(kind, file name) -> the file's short hash, or None if the file is missing."""


@dataclass(frozen=True)
class PictureInfo:
    """Generation parameters of one image; unknown ones are None and are not written.

    `prompt`, `negative_prompt`: the texts after wildcards and arrays, before styles. `full_prompt`,
    `full_negative_prompt`: all texts that the text encoders read. `home`: the models folder of its files.
    `base_model_hash`: as read from a file; it is recomputed for writing.
    """

    prompt: str | None = None
    negative_prompt: str | None = None
    prompt_expansion: str | None = None
    styles: tuple[str, ...] | None = None
    performance: str | None = None
    steps: int | None = None
    resolution: tuple[int, int] | None = None
    guidance_scale: float | None = None
    sharpness: float | None = None
    adm_guidance: tuple[float, float, float] | None = None
    base_model: str | None = None
    base_model_hash: str | None = None
    refiner_model: str | None = None
    refiner_switch: float | None = None
    overwrite_switch: int = -1
    refiner_swap_method: str = "joint"
    adaptive_cfg: float = 7.0
    clip_skip: int = 1
    sampler: str | None = None
    scheduler: str | None = None
    as_fooocus: bool = False
    vae: str | None = None
    seed: int | None = None
    freeu: FreeU | None = None
    loras: tuple[Lora, ...] = ()
    full_prompt: tuple[str, ...] = ()
    full_negative_prompt: tuple[str, ...] = ()
    created_by: str = ""
    version: str = SOFTWARE
    home: Path | None = None

    @property
    def refined(self) -> bool:
        """True if a refiner was used."""
        return self.refiner_model not in (None, "", NO_FILE)


Row = tuple[str, str, Any]


def rows(info: PictureInfo, scheme: str = "fooocus") -> list[Row]:
    """Return (label, key, value) of known parameters, in the order of Fooocus's log (async_worker: save_and_log)."""
    freeu = info.freeu and (info.freeu.b1, info.freeu.b2, info.freeu.s1, info.freeu.s2)
    switched = info.refined and info.overwrite_switch > 0
    swapped = info.refined and info.refiner_swap_method != "joint"
    table: list[Row] = [
        ("Prompt", "prompt", info.prompt),
        ("Negative Prompt", "negative_prompt", info.negative_prompt),
        ("Fooocus V2 Expansion", "prompt_expansion", info.prompt_expansion),
        ("Styles", "styles", None if info.styles is None else str(list(info.styles))),
        ("Performance", "performance", info.performance),
        ("Steps", "steps", info.steps),
        ("Resolution", "resolution", _text(info.resolution)),
        ("Guidance Scale", "guidance_scale", info.guidance_scale),
        ("Sharpness", "sharpness", info.sharpness),
        ("ADM Guidance", "adm_guidance", _text(info.adm_guidance)),
        ("Base Model", "base_model", info.base_model),
        ("Refiner Model", "refiner_model", info.refiner_model),
        ("Refiner Switch", "refiner_switch", info.refiner_switch),
        ("Overwrite Switch", "overwrite_switch", info.overwrite_switch if switched else None),
        ("Refiner Swap Method", "refiner_swap_method", info.refiner_swap_method if swapped else None),
        ("CFG Mimicking from TSNR", "adaptive_cfg", info.adaptive_cfg if info.adaptive_cfg != 7.0 else None),
        ("CLIP Skip", "clip_skip", info.clip_skip if info.clip_skip > 1 else None),
        ("Sampler", "sampler", info.sampler),
        ("Scheduler", "scheduler", info.scheduler),
        ("Scheduler As Fooocus", "as_fooocus", info.as_fooocus or None),
        ("VAE", "vae", info.vae),
        ("Seed", "seed", _text(info.seed)),
        ("FreeU", "freeu", _text(freeu)),
        *(
            (f"LoRA {i}", f"lora_combined_{i}", f"{lora.name} : {lora.weight}")
            for i, lora in enumerate(info.loras, start=1)
        ),
        ("Metadata Scheme", "metadata_scheme", scheme),
        ("Version", "version", info.version),
    ]
    return [row for row in table if row[2] is not None]


def fooocus_text(info: PictureInfo, hash_of: HashOf) -> str:
    """Write the scheme `fooocus`: a JSON object of the rows with file stems, hashes, LoRAs and the final texts."""
    values: dict[str, Any] = {key: value for _, key, value in rows(info)}
    values["full_prompt"] = list(info.full_prompt)
    values["full_negative_prompt"] = list(info.full_negative_prompt)
    values["loras"] = [[stem(lo.name), lo.weight, hash_of("loras", lo.name) or ""] for lo in info.loras]
    for i, lora in enumerate(info.loras, start=1):
        values[f"lora_combined_{i}"] = f"{stem(lora.name)} : {lora.weight}"
    if info.base_model is not None:
        values["base_model"] = stem(info.base_model)
        values["base_model_hash"] = hash_of("checkpoints", info.base_model)
    if info.refined:
        values["refiner_model"] = stem(str(info.refiner_model))
        values["refiner_model_hash"] = hash_of("checkpoints", str(info.refiner_model))
    if info.vae is not None:
        values["vae"] = stem(info.vae)
    values["created_by"] = info.created_by or None
    return json.dumps({key: value for key, value in values.items() if value is not None}, sort_keys=True)


def a1111_text(info: PictureInfo, hash_of: HashOf) -> str:
    """Write the scheme `a1111`: the positive texts, the negative ones, and one line of `Key: value` pairs."""
    known = {key: value for _, key, value in rows(info)}
    model, refiner = info.base_model, info.refiner_model if info.refined else None
    hashes = [(lora, hash_of("loras", lora.name)) for lora in info.loras]
    pairs = {
        "Steps": info.steps,
        "Sampler": _a1111_sampler(info),
        "Seed": info.seed,
        "Size": info.resolution and f"{info.resolution[0]}x{info.resolution[1]}",
        "CFG scale": info.guidance_scale,
        "Sharpness": info.sharpness,
        "ADM Guidance": known.get("adm_guidance"),
        "Model": model and stem(model),
        "Model hash": model and hash_of("checkpoints", model),
        "Performance": info.performance,
        "Scheduler": info.scheduler,
        "Scheduler As Fooocus": known.get("as_fooocus"),
        "VAE": info.vae and stem(info.vae),
        "Raw prompt": info.prompt,
        "Raw negative prompt": info.negative_prompt,
        "Refiner": refiner and stem(refiner),
        "Refiner hash": refiner and hash_of("checkpoints", refiner),
        "Adaptive CFG": known.get("adaptive_cfg"),
        "Clip skip": known.get("clip_skip"),
        "Overwrite Switch": known.get("overwrite_switch"),
        "Refiner Swap Method": known.get("refiner_swap_method"),
        "FreeU": known.get("freeu"),
        "Lora hashes": ", ".join(f"{stem(lora.name)}: {digest}" for lora, digest in hashes if digest) or None,
        "Lora weights": ", ".join(f"{stem(lora.name)}: {lora.weight}" for lora in info.loras) or None,
        "Version": info.version,
        "User": info.created_by or None,
    }
    negative = ", ".join(info.full_negative_prompt)
    lines = [
        ", ".join(info.full_prompt),
        *([f"Negative prompt: {negative}"] if negative else []),
        ", ".join(_pair(key, value) for key, value in pairs.items() if value is not None),
    ]
    return "\n".join(lines)


def _a1111_sampler(info: PictureInfo) -> str | None:
    name = A1111_SAMPLERS.get(info.sampler or "")
    if name is None:
        return info.sampler
    return f"{name} Karras" if info.scheduler == "karras" else name


def _pair(key: str, value: Any) -> str:
    text = str(value)
    if text == key:
        return key
    quoted = any(sign in text for sign in ",:\n") or text.startswith('"') or text != text.strip()
    return f"{key}: {json.dumps(text, ensure_ascii=False) if quoted else text}"


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
