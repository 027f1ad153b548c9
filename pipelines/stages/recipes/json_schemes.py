"""Metadata in JSON, recognised by its keys as that of Fooocus, of a fork of it, or of another program."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ...errors import BadFile
from . import literals

FOOOCUS, RUINED, MRE = "fooocus", "RuinedFooocus", "Fooocus-MRE"
FEW = 5

LABELS = {
    "Prompt": "prompt", "Negative Prompt": "negative_prompt", "Fooocus V2 Expansion": "prompt_expansion",
    "Styles": "styles", "Performance": "performance", "Steps": "steps", "Resolution": "resolution",
    "Guidance Scale": "guidance_scale", "Sharpness": "sharpness", "ADM Guidance": "adm_guidance",
    "Base Model": "base_model", "Base Model Hash": "base_model_hash", "Refiner Model": "refiner_model",
    "Refiner Model Hash": "refiner_model_hash", "Refiner Switch": "refiner_switch",
    "Overwrite Switch": "overwrite_switch", "Refiner Swap Method": "refiner_swap_method",
    "CFG Mimicking from TSNR": "adaptive_cfg", "CLIP Skip": "clip_skip", "Sampler": "sampler",
    "Scheduler": "scheduler", "Scheduler As Fooocus": "as_fooocus",
    "VAE": "vae", "Seed": "seed", "FreeU": "freeu", "Version": "version", "LoRAs": "loras",
    "Full Prompt": "full_prompt", "Full Negative Prompt": "full_negative_prompt", "User": "created_by",
    "Metadata Scheme": "metadata_scheme", "Backend Engine": "backend_engine", "Image Number": "image_number",
    "Inpaint Engine Version": "inpaint_engine_version", "Inpaint Mode": "inpaint_mode",
}  # fmt: skip
WITHOUT_EFFECT = (
    "refiner_model_hash", "metadata_scheme", "image_number", "user", "styles_definition", "backend_engine",
    "Metadata Scheme", "lora_downloads",
)  # fmt: skip
RUINED_KEYS = {
    "Prompt": "prompt", "Negative": "negative_prompt", "steps": "steps", "cfg": "guidance_scale", "seed": "seed",
    "sampler_name": "sampler", "scheduler": "scheduler", "base_model_name": "base_model",
    "base_model_hash": "base_model_hash", "loras": "loras", "clip_skip": "clip_skip", "software": "version",
}  # fmt: skip
RUINED_WITHOUT_EFFECT = ("width", "height", "start_step", "denoise")  # the two sides are read together
MRE_KEYS = {
    "cfg": "guidance_scale", "real_prompt": "full_prompt", "real_negative_prompt": "full_negative_prompt",
    "software": "version",
}  # fmt: skip
MRE_WITHOUT_EFFECT = ("width", "height", "base_clip_skip", "refiner_clip_skip", "switch")
MRE_LORA = re.compile(r"[lw][1-9]")  # names and weights
OLD_LORA_KEY = re.compile(r"LoRA \[(.+)\] weight")  # of Fooocus up to 2.1.8
LORA_KEY = re.compile(r"(?:lora_combined_|LoRA )(\d{1,3})")

OWN = {  # keys that only a program of this family writes, besides those that tools of many kinds share
    "adm_guidance", "base_model", "base_model_hash", "full_negative_prompt", "full_prompt", "metadata_scheme",
    "performance", "prompt_expansion", "refiner_switch", "sharpness", "styles", "resolution", "negative_prompt",
}  # fmt: skip
OTHERS = (
    ("SwarmUI", {"sui_image_params"}),
    ("InvokeAI", {"positive_prompt", "generation_mode", "app_version", "model_weights"}),
    ("NovelAI", {"uc", "v4_prompt", "request_type", "uncond_scale"}),
    ("Easy Diffusion", {"use_stable_diffusion_model", "stable_diffusion_model"}),
    ("Civitai", {"extraMetadata", "resource-stack"}),
    ("Fooocus-API, a request", {"style_selections", "performance_selection", "aspect_ratios_selection"}),
    ("Tensor.Art", {"negativePrompt", "cfgScale"}),
    ("A1111's API, a request", {"cfg_scale", "sampler_index"}),
)
DRAW_THINGS = {"c", "v2"}


def object_in(text: str) -> dict[str, Any] | None:
    """Return the JSON object in a text, even if encoded twice or alone in a list; None for any other text."""
    value: Any = text
    for _ in range(2):
        if not isinstance(value, str) or value.lstrip()[:1] not in ("{", '"', "["):
            break
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, dict) else None


def scheme_of(values: Mapping[str, Any]) -> str:
    """Return FOOOCUS, RUINED or MRE. Raises BadFile, naming the program or the keys of other JSON."""
    if values.get("software") == RUINED or "Negative" in values or {"base_model_name", "sampler_name"} <= set(values):
        return RUINED
    if {"base_clip_skip", "real_prompt"} & set(values):
        return MRE
    if program := program_of(values):
        raise BadFile(f"its JSON is from {program}, which can't be read")
    known = {key for key in values if key in LABELS or key in LABELS.values() or _names_lora(key)}
    if OWN & {LABELS.get(key, key) for key in known} or known == set(values):
        return FOOOCUS
    listed = ", ".join(list(values)[:FEW]) or "none at all"
    raise BadFile(
        f"its JSON is from an unknown program (keys: {listed}): it has none of the entries that Fooocus writes"
    )


def program_of(values: Mapping[str, Any]) -> str:
    """Return the other program that writes such JSON, or '' if it is unknown."""
    if any(isinstance(node, dict) and "class_type" in node for node in values.values()) or "nodes" in values:
        return "ComfyUI, a workflow"
    if DRAW_THINGS & set(values) and "prompt" not in values:
        return "Draw Things"
    return next((program for program, keys in OTHERS if keys & set(values)), "")


def from_fooocus(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries by key; FooocusPlus and older logs of Fooocus store them by label."""
    entries = {LABELS[label]: value for label, value in values.items() if label in LABELS}
    entries |= {key: value for key, value in values.items() if key not in LABELS and not _names_lora(key)}
    if not entries.get("loras"):
        entries["loras"] = _combined_loras(values) or None
    return entries


def from_ruined(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return RuinedFooocus's entries under Fooocus's keys."""
    entries = {RUINED_KEYS.get(key, key): value for key, value in values.items() if key not in RUINED_WITHOUT_EFFECT}
    if "width" in values and "height" in values:
        entries["resolution"] = [values["width"], values["height"]]
    return entries


def from_mre(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return Fooocus-MRE's entries under Fooocus's keys."""
    others = {key: value for key, value in values.items() if key not in MRE_WITHOUT_EFFECT and not _of_mre_lora(key)}
    entries = {MRE_KEYS.get(key, key): value for key, value in others.items()}
    if "width" in values and "height" in values:
        entries["resolution"] = [values["width"], values["height"]]
    if entries.get("freeu") is False:
        del entries["freeu"]
    if isinstance(skip := values.get("base_clip_skip"), int):
        entries["clip_skip"] = abs(skip)
    if values.get("refiner_model") not in (None, "", "None"):
        entries["overwrite_switch"] = values.get("switch")
    if not entries.get("loras"):
        names = sorted(key for key in values if _of_mre_lora(key) and key[0] == "l")
        entries["loras"] = [[values[key], values.get(f"w{key[1:]}", 1.0)] for key in names] or None
    return entries


def _of_mre_lora(key: str) -> bool:
    return MRE_LORA.fullmatch(key) is not None


def _names_lora(key: str) -> bool:
    return LORA_KEY.fullmatch(key) is not None or OLD_LORA_KEY.fullmatch(key) is not None


def _combined_loras(values: Mapping[str, Any]) -> list[Any]:
    """Return the entries `lora_combined_N` or `LoRA N` in the order of N, and those of `LoRA [NAME] weight`."""
    old = [[match[1], value] for key, value in values.items() if (match := OLD_LORA_KEY.fullmatch(key))]
    numbered = [(LORA_KEY.fullmatch(key), value) for key, value in values.items()]
    combined = sorted(((int(key[1]), value) for key, value in numbered if key), key=_number)
    return [*(str(value) for _, value in combined), *old]


def _number(pair: tuple[int, Any]) -> int:
    return pair[0]


LORA_TAG = re.compile(r"<\s*(?:lora:)?\s*([^<>]+?)\s*:\s*([^<>:]+?)\s*>", re.IGNORECASE)
WEIGHT_FIRST = re.compile(r"\s*([+-]?[\d.]+(?:e[+-]?\d+)?) - (.+)", re.IGNORECASE)


def loras_in(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (name, weight), unchecked, of each LoRA in a list or text in any format of these programs.
    Entries: [name, weight, hash], [enabled, name, weight], [hash, 'weight - name'], {'name': …, 'weight': …},
    'name : weight', 'enabled : name : weight'; a text holds tags <name:weight>. A disabled LoRA is skipped.
    """
    if isinstance(value, str):
        value = [list(tag) for tag in LORA_TAG.findall(value)]
    if not isinstance(value, list):
        raise ValueError("a list of LoRAs with their weights")
    for entry in value:
        enabled, name, weight = _lora(entry)
        if enabled:
            yield name, weight


def _lora(entry: Any) -> tuple[bool, Any, Any]:
    if isinstance(entry, dict):
        given = [entry.get(key) for key in ("name", "model_name", "lora", "filename") if entry.get(key)]
        weight = next((entry[key] for key in ("weight", "strength", "multiplier") if key in entry), 1.0)
        return entry.get("enabled", True) is not False, given[0] if given else None, weight
    parts = entry.rsplit(" : ", 2) if isinstance(entry, str) else entry
    if not isinstance(parts, list) or len(parts) < 2:
        return True, entry, None
    if len(parts) > 2 and (enabled := _switch(parts[0])) is not None:
        return enabled, parts[1], parts[2]
    if isinstance(entry, str):
        return True, " : ".join(parts[:-1]), parts[-1]
    if isinstance(parts[1], str) and (swapped := WEIGHT_FIRST.fullmatch(parts[1])):
        return True, swapped[2], swapped[1]
    return True, parts[0], parts[1]


def _switch(value: Any) -> bool | None:
    """True or False for a boolean, or for its name in any letter case; None for any other value."""
    try:
        return literals.switch(value)
    except ValueError:
        return None
