"""Parser for parameter texts of A1111 and compatible programs: Forge, SD.Next, Civitai, stable-diffusion.cpp."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

KEYS = {
    "Steps": "steps", "Seed": "seed", "Size": "resolution", "CFG scale": "guidance_scale",
    "Guidance Scale": "guidance_scale", "Sharpness": "sharpness",
    "ADM Guidance": "adm_guidance", "Model": "base_model", "Model hash": "base_model_hash",
    "Performance": "performance", "Scheduler": "scheduler", "Scheduler As Fooocus": "as_fooocus",
    "VAE": "vae", "Raw prompt": "prompt",
    "Raw negative prompt": "negative_prompt", "Refiner": "refiner_model", "Refiner switch at": "refiner_switch",
    "Adaptive CFG": "adaptive_cfg", "Clip skip": "clip_skip", "Overwrite Switch": "overwrite_switch",
    "Refiner Swap Method": "refiner_swap_method", "FreeU": "freeu", "Version": "version", "User": "created_by",
}  # fmt: skip
SAMPLING_KEYS = ("Sampler", "Schedule type", "Lora hashes", "Lora weights", "width", "height")  # read with others
KEYS_WITHOUT_EFFECT = (
    "VAE hash", "TI hashes", "Refiner hash", "Hashes", "Created Date", "App", "Parser", "Pipeline", "Operations",
    "Batch size", "Batch pos", "Civitai metadata", "Backend", "nsfw", "draft", "quantity", "workflow", "baseModel",
    "process", "fluxMode", "Seed Mode",
)  # fmt: skip
OTHER_KEYS = (
    "Denoising strength", "Variation seed", "Variation seed strength", "Hires upscale", "Hires steps", "Hires upscaler",
    "Face restoration", "ENSD", "Token merging ratio", "Civitai resources", "Postprocess upscale by",
    "Postprocess upscaler", "Strength", "RNG", "Discard penultimate sigma", "TE", "Unet", "Eta", "Guidance",
    "Distilled CFG Scale", "Module 1", "Module 2", "Module 3",
)  # fmt: skip
KNOWN = {key.casefold() for key in (*KEYS, *SAMPLING_KEYS, *KEYS_WITHOUT_EFFECT, *OTHER_KEYS)}
SIGNS = (
    "steps",
    "seed",
    "cfg scale",
    "size",
    "sampler",
    "model",
    "model hash",
)  # keys that may have a line of their own

KEY = re.compile(r"\s*([A-Za-z0-9][\w \-/.()]{0,60}?)\s*:\s*")
STRING = re.compile(r'"(?:\\.|[^\\"])*"')
VALUE = re.compile(r".*?(?=,|\s\|\s|$)")
NEGATIVE = re.compile(r"negative prompt\s*:", re.IGNORECASE)
INSIDE = re.compile(r"(?<=\s)(?:Steps|Seed|Sampler|Size|CFG scale|Model hash|Model): ")
DRAW_THINGS = "seed mode"  # a key that it alone writes; its negative prompt begins with a hyphen
FEW, MANY = 2, 3


@dataclass(frozen=True)
class Infotext:
    """A parsed parameter text. `pairs`: values by lower-case key; `rest`: lines that belong to no part."""

    positive: str
    negative: str
    pairs: Mapping[str, str]
    rest: tuple[str, ...] = ()

    def get(self, key: str) -> str | None:
        """Return the value of a key, in any letter case."""
        return self.pairs.get(key.casefold())

    @property
    def unread(self) -> list[str]:
        """Return the keys of settings that are not read."""
        read = {key.casefold() for key in (*KEYS, *SAMPLING_KEYS, *KEYS_WITHOUT_EFFECT)}
        return [key for key in self.pairs if key not in read]


def parse(text: str) -> Infotext:
    """Split a text into prompt, negative prompt ('Negative prompt:') and lines of parameters, at any position.

    A line of parameters begins with a known key and has another one, or has three. A text of one line is split where
    known keys begin. A text without known keys is a prompt.
    """
    lines = text.strip().replace("\r\n", "\n").split("\n")
    block = _parameter_lines(lines)
    if not block:
        lines = _cut_inside(lines)
        block = _parameter_lines(lines)
    if not block:
        positive, negative = _texts(lines)
        return Infotext(positive, negative, {})
    before, after = lines[: block[0]], lines[block[-1] + 1 :]
    pairs = _merged(pair for at in block for pair in pairs_in(lines[at]))
    starts = [at for at, line in enumerate(after) if NEGATIVE.match(line)]
    if DRAW_THINGS in pairs:
        before = [f"Negative prompt: {line[1:]}" if line.startswith("-") else line for line in before]
    positive, negative = _texts([*before, *after[starts[0] :]] if starts else before)
    return Infotext(positive, negative, pairs, tuple(filter(None, after[: starts[0]] if starts else after)))


def pairs_in(line: str) -> list[tuple[str, str]]:
    """Return the 'Key: value' pairs of a line; a value is quoted, JSON, or ends at a comma."""
    found, at = [], 0
    while at < len(line):
        key = KEY.match(line, at)
        if key is None:
            at = _after_comma(line, at)
            continue
        value, end = _value(line, key.end())
        found.append((key[1], value))
        at = _after_comma(line, end)
    return found


def _parameter_lines(lines: Sequence[str]) -> list[int]:
    """Return the indices of the last block of parameter lines; lines with one known pair count if there are three.

    A line that repeats a key of the lines below it is not part of their block: it is a prompt with colons.
    """
    strong = [at for at, line in enumerate(lines) if _is_parameters(line)]
    single = [at for at, line in enumerate(lines) if _is_sign(line)]
    chosen = strong or (single if len(single) >= MANY else [])
    if not chosen and single and _is_number(pairs_in(lines[single[-1]])[0]):
        chosen = single[-1:]
    row = chosen[-1:]
    keys = _keys_in(lines[row[0]]) if row else set()
    while row and row[0] - 1 in chosen and not keys & _keys_in(lines[row[0] - 1]):
        row.insert(0, row[0] - 1)
        keys |= _keys_in(lines[row[0]])
    return row


def _keys_in(line: str) -> set[str]:
    return {key.casefold() for key, _ in pairs_in(line)}


def _is_parameters(line: str) -> bool:
    pairs = pairs_in(line) if ":" in line and KEY.match(line) else []
    keys = [key.casefold() in KNOWN for key, _ in pairs]
    if not any(keys):
        return False
    return sum(keys) >= FEW if keys[0] else sum(keys) >= MANY and ":" not in pairs[0][1]


def _is_sign(line: str) -> bool:
    pairs = pairs_in(line) if ":" in line else []
    return len(pairs) == 1 and pairs[0][0].casefold() in SIGNS and KEY.match(line) is not None


def _is_number(pair: tuple[str, str]) -> bool:
    return pair[0].casefold() in ("steps", "seed") and pair[1].isdigit()


def _cut_inside(lines: Sequence[str]) -> list[str]:
    """Split the line that ends in parameters before them, and before its negative prompt."""
    for at, line in enumerate(lines):
        for found in INSIDE.finditer(line):
            if sum(key.casefold() in KNOWN for key, _ in pairs_in(line[found.start() :])) >= MANY:
                texts = line[: found.start()].rstrip()
                negative = NEGATIVE.search(texts)
                parts = [texts[: negative.start()].rstrip(), texts[negative.start() :]] if negative else [texts]
                return [*lines[:at], *parts, line[found.start() :], *lines[at + 1 :]]
    return list(lines)


def _texts(lines: Sequence[str]) -> tuple[str, str]:
    """Split lines into the positive and the negative prompt."""
    split = next((at for at, line in enumerate(lines) if NEGATIVE.match(line)), len(lines))
    negative = NEGATIVE.sub("", "\n".join(lines[split:]), count=1)
    return "\n".join(lines[:split]).strip(), negative.strip()


def _merged(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the values by lower-case key; the first value of a key wins."""
    found: dict[str, str] = {}
    for key, value in pairs:
        found.setdefault(key.casefold(), value)
    return found


def _value(line: str, at: int) -> tuple[str, int]:
    """Return the value that begins at index `at`, and the index after it."""
    if quoted := STRING.match(line, at):
        try:
            return str(json.loads(quoted[0])), quoted.end()
        except ValueError:
            return quoted[0], quoted.end()
    if line[at : at + 1] in ("[", "{"):
        try:
            _, end = json.JSONDecoder().raw_decode(line, at)
            return line[at:end], end
        except (ValueError, RecursionError):
            pass
    plain = VALUE.match(line, at)
    end = plain.end() if plain else len(line)
    return line[at:end].strip(), end


END = re.compile(r",|\s\|\s")


def _after_comma(line: str, at: int) -> int:
    """Return the index after the next comma or bar, or the end of the line."""
    found = END.search(line, at)
    return found.end() if found else len(line)
