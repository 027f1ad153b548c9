"""Reading generation parameters from image files of Fooocus and its forks, and of A1111 and compatible programs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import BadFile
from ...names import same
from ...picture_files import Notice, ignore
from ...settings import MAX_SEED, NO_FILE
from ...text.styles import Styles
from ...types import FreeU, Lora
from . import json_schemes, literals
from .infotext import KEYS, Infotext, parse
from .loras_in_text import loras_in_text
from .picture_texts import texts_in
from .sampler_titles import sampling_in
from .styles_in_text import styles_in
from .write_metadata import PictureInfo

A1111 = "a1111"
PLACES = ("parameters", "UserComment", "Comment", "ImageDescription", "Description", "XPComment")
LONGEST_SIDE = 65535
COMFYUI = re.compile(r"(?:workflow|prompt)\s*:\s*\{", re.IGNORECASE)  # a text of EXIF, with its name before it
PROGRAMS_BY_PLACE = (
    ("InvokeAI", {"invokeai_metadata", "invokeai_graph", "sd-metadata", "Dream"}),
    ("Easy Diffusion", {"use_stable_diffusion_model", "stable_diffusion_model"}),
)
PROGRAMS_BY_TEXT = (
    ("NovelAI", re.compile(r"\ANovelAI\Z")),
    ("Mochi Diffusion", re.compile(r"Generator: Mochi Diffusion")),
    ("Midjourney", re.compile(r"\bJob ID: [0-9a-f-]{8,}")),
)
FEW = 5


@dataclass(frozen=True)
class Reading:
    """Generation parameters read from a text.

    `scheme`: fooocus, a1111, RuinedFooocus or Fooocus-MRE. `left_out`: a phrase for each entry that is invalid or not
    supported.
    """

    info: PictureInfo
    scheme: str
    text: str
    left_out: tuple[str, ...] = ()

    def tell(self, notice: Notice, name: str) -> None:
        """Show one notice for all entries of the file `name` that were left out."""
        if self.left_out:
            more = f" and {len(self.left_out) - FEW} more" if len(self.left_out) > FEW else ""
            notice(f"{name}: these entries of its text are left out: {'; '.join(self.left_out[:FEW])}{more}")


def read_picture(path: Path, known: Callable[[], Styles], notice: Notice = ignore) -> Reading:
    """Read the generation parameters in an image file; `known` returns the styles that its text may contain.

    The text is recognised by its own keys, wherever in the file it stands. Raises BadFile, naming the file and the
    program whose metadata it holds, when no text tells it.
    """
    texts = texts_in(path, notice)
    errors: list[str] = []
    readings: dict[str, Reading] = {}
    for place in sorted(texts, key=_rank):
        try:
            if (reading := _read(texts[place], not readings and _rank(place) == 0, known)) is not None:
                readings[place] = reading
        except BadFile as error:
            errors.append(str(error))
    if not readings:
        raise BadFile(f"{path}{_refusal(texts, errors)}")
    used, *others = readings
    if differing := [place for place in others if _essence(readings[place]) != _essence(readings[used])]:
        notice(f"{path.name}: its texts {used!r} and {', '.join(map(repr, differing))} differ; {used!r} is read")
    return readings[used]


def _essence(reading: Reading) -> tuple[Any, ...]:
    """The entries that make two texts of one image differ, whatever their schemes."""
    info = reading.info
    return info.seed, info.steps, info.resolution, info.guidance_scale


def _rank(place: str) -> int:
    """Return a sort key that puts the usual places first."""
    usual = [name.casefold() for name in PLACES]
    return usual.index(place.casefold()) if place.casefold() in usual else len(usual)


def _read(text: str, may_be_plain: bool, known: Callable[[], Styles]) -> Reading | None:
    """Read one text; None for a text without settings, unless a plain prompt is usual in its place."""
    if json_schemes.object_in(text) is not None or (may_be_plain and text.lstrip()[:1] == "{"):
        return from_json(text)
    parts = parse(text)
    return from_a1111(text, known) if parts.pairs or parts.negative or may_be_plain else None


def _refusal(texts: Mapping[str, str], errors: Iterable[str]) -> str:
    """Complete the message about a file without readable generation parameters."""
    if {"workflow", "prompt"} <= set(texts) or any(map(COMFYUI.match, texts.values())):
        return " contains a ComfyUI workflow, but no parameters of Fooocus or A1111: open it in ComfyUI"
    for program, places in PROGRAMS_BY_PLACE:
        if places & set(texts):
            return f": its metadata is from {program}, which can't be read"
    for program, sign in PROGRAMS_BY_TEXT:
        if any(map(sign.search, texts.values())):
            return f": its metadata is from {program}, which can't be read"
    advice = "choose an image that was saved with metadata by Fooocus, A1111 or this pack"
    return next((f": {error}" for error in errors), f" contains no generation parameters: {advice}")


def from_json(text: str) -> Reading:
    """Read a JSON object of Fooocus, FooocusPlus, RuinedFooocus, Fooocus-MRE or a program that writes their keys.

    Raises BadFile, naming the program or the keys of any other.
    """
    values = json_schemes.object_in(text)
    if values is None:
        raise BadFile("its text is not valid JSON")
    scheme = json_schemes.scheme_of(values)
    entries = READERS_OF_JSON[scheme](values)
    info, wrong = _info(entries)
    unread = [key for key, value in entries.items() if not _has_effect(key, value)]
    return Reading(info, scheme, text, (*wrong, *_unread(unread)))


def _has_effect(key: str, value: Any) -> bool:
    """Return False for an entry with a value that is not read."""
    return key in READERS or key in json_schemes.WITHOUT_EFFECT or value in (None, "", [], False)


def from_a1111(text: str, known: Callable[[], Styles] = Styles) -> Reading:
    """Read a parameter text of A1111 or a compatible program.

    Texts written by Fooocus also yield the styles if they are `known`; otherwise `styles` is None. Of two samplers with
    the same title, the `_gpu` one is chosen, as in Fooocus's performance modes. Raises BadFile for a text without any
    valid entry.
    """
    parts = parse(text)
    loras, without_weight, lora_keys = loras_in_text(parts)
    values: dict[str, Any] = {key: value for name, key in KEYS.items() if (value := parts.get(name)) is not None}
    values = {"prompt": parts.positive, "negative_prompt": parts.negative, **values, **sampling_in(parts)}
    values |= {"full_prompt": [parts.positive] if parts.positive else [], "loras": loras}
    values |= {"full_negative_prompt": [parts.negative] if parts.negative else []}
    values = {**_size_of_civitai(parts), **values}
    vae_key = _vae_of_forge(parts)
    if vae_key:
        values.setdefault("vae", parts.get(vae_key))
    if (values.get("version") or "").startswith("Fooocus"):
        texts = (parts.positive, parts.negative, values["prompt"], values["negative_prompt"])
        values["styles"] = styles_in(*texts, known())
    elif "steps" in values or "seed" in values:
        values.setdefault("clip_skip", 2)  # A1111's layer for SDXL, which it does not write
    info, wrong = _info(values)
    unread = _unread([key for key in parts.unread if key not in (*lora_keys, vae_key)])
    rest = [f"the line {line[:60]!r}" for line in parts.rest]
    return Reading(info, A1111, text, (*wrong, *without_weight, *unread, *rest))


def _size_of_civitai(parts: Infotext) -> dict[str, str]:
    """Return the size of a text that gives it as two numbers, as Civitai's generator does."""
    width, height = parts.get("width"), parts.get("height")
    return {"resolution": f"{width}x{height}"} if width and height else {}


def _vae_of_forge(parts: Infotext) -> str:
    """Return the key under which Forge writes the VAE among the model's further files, or ''."""
    modules = ((key, value) for key, value in parts.pairs.items() if key.startswith("module "))
    return next((key for key, value in modules if "vae" in value.casefold()), "")


def _unread(keys: list[str]) -> tuple[str, ...]:
    return (f"{', '.join(keys)}, which nothing here reads",) if keys else ()


READERS_OF_JSON: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    json_schemes.FOOOCUS: json_schemes.from_fooocus,
    json_schemes.RUINED: json_schemes.from_ruined,
    json_schemes.MRE: json_schemes.from_mre,
}


def _resolution(value: Any) -> tuple[int, int]:
    wants = f"a size with sides from 1 to {LONGEST_SIDE}"
    try:
        width, height = literals.size(value)
    except ValueError:
        raise ValueError(wants) from None
    if not all(1 <= side <= LONGEST_SIDE for side in (width, height)):
        raise ValueError(wants)
    return width, height


def _file(value: Any) -> str:
    """Read a model's name, without the hash that A1111 appends to a refiner's."""
    return re.sub(r" \[[0-9a-f]+\]$", "", literals.text(value))


def _texts(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) and not value.lstrip().startswith("[") else literals.names(value)


def _version(value: Any) -> str:
    return str(value)


WEIGHT = literals.number(-100, 100)
READERS: dict[str, Callable[[Any], Any]] = {
    "prompt": literals.text,
    "negative_prompt": literals.text,
    "prompt_expansion": literals.text,
    "styles": literals.names,
    "performance": literals.text,
    "steps": literals.whole(1, 1000),
    "resolution": _resolution,
    "guidance_scale": literals.number(),
    "sharpness": literals.number(),
    "adm_guidance": literals.numbers(3),
    "base_model": _file,
    "base_model_hash": literals.text,
    "refiner_model": _file,
    "refiner_switch": literals.number(0, 1),
    "overwrite_switch": literals.whole(-1, 1000),
    "refiner_swap_method": literals.text,
    "adaptive_cfg": literals.number(),
    "clip_skip": literals.whole(1, 12),
    "sampler": literals.text,
    "scheduler": literals.text,
    "as_fooocus": literals.switch,
    "vae": literals.text,
    "seed": literals.whole(0, MAX_SEED),
    "freeu": lambda value: FreeU(*literals.numbers(4)(value)),
    "loras": list,
    "full_prompt": _texts,
    "full_negative_prompt": _texts,
    "created_by": literals.text,
    "version": _version,
}


def _info(values: Mapping[str, Any]) -> tuple[PictureInfo, list[str]]:
    """Convert raw values by key, and describe each invalid one.

    Raises BadFile if the prompt is invalid, or if no entry has a value.
    """
    read: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for key, reader in READERS.items():
        if (value := values.get(key)) is None:
            continue
        try:
            read[key] = _loras(value, wrong) if key == "loras" else reader(value)
        except ValueError as error:
            wrong[key] = f"{key} = {str(value)[:60]!r} should be {error}"
    if "prompt" in wrong or not any(read.values()):
        reason = "; ".join(list(wrong.values())[:FEW]) or "it has none of the entries that Fooocus or A1111 write"
        raise BadFile(f"its text can't be read: {reason}")
    return PictureInfo(**read), list(wrong.values())


def _loras(value: Any, wrong: dict[str, str]) -> tuple[Lora, ...]:
    """Read the valid LoRAs, and describe the others in `wrong`."""
    loras = []
    for name, weight in json_schemes.loras_in(value):
        try:
            if not same(file := literals.text(name), NO_FILE):
                loras.append(Lora(file, WEIGHT(weight)))
        except ValueError as error:
            wrong[f"lora {name!r}"] = f"LoRA {str(name)[:60]!r} with the weight {str(weight)[:20]!r} should be {error}"
    return tuple(loras)
