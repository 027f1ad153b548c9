"""Reading back how a picture was made: Fooocus's JSON and A1111's text (Fooocus modules/meta_parser.py)."""

from __future__ import annotations

import json
import re
import struct
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

from ...errors import BadFile
from ...settings import EXPANSION_STYLE, MAX_SEED, NO_FILE, SCHEDULERS
from ...text.styles import Style, Styles
from ...types import FreeU, Lora
from . import literals
from .write_metadata import A1111_SAMPLERS, PictureInfo

USER_COMMENT, MAKER_NOTE = ExifTags.Base.UserComment, ExifTags.Base.MakerNote
UNICODE, ASCII = b"UNICODE\0", b"ASCII\0\0\0"
LARGEST_TEXT = 2**20
LONGEST_SIDE = 65535
FEW = 3

LABELS = {
    "Prompt": "prompt", "Negative Prompt": "negative_prompt", "Fooocus V2 Expansion": "prompt_expansion",
    "Styles": "styles", "Performance": "performance", "Steps": "steps", "Resolution": "resolution",
    "Guidance Scale": "guidance_scale", "Sharpness": "sharpness", "ADM Guidance": "adm_guidance",
    "Base Model": "base_model", "Refiner Model": "refiner_model", "Refiner Switch": "refiner_switch",
    "Overwrite Switch": "overwrite_switch", "Refiner Swap Method": "refiner_swap_method",
    "CFG Mimicking from TSNR": "adaptive_cfg", "CLIP Skip": "clip_skip", "Sampler": "sampler",
    "Scheduler": "scheduler", "VAE": "vae", "Seed": "seed", "FreeU": "freeu", "Version": "version",
}  # fmt: skip
A1111_KEYS = {
    "Steps": "steps", "Seed": "seed", "Size": "resolution", "CFG scale": "guidance_scale", "Sharpness": "sharpness",
    "ADM Guidance": "adm_guidance", "Model": "base_model", "Model hash": "base_model_hash",
    "Performance": "performance", "Scheduler": "scheduler", "VAE": "vae", "Raw prompt": "prompt",
    "Raw negative prompt": "negative_prompt", "Refiner": "refiner_model", "Refiner switch at": "refiner_switch",
    "Adaptive CFG": "adaptive_cfg", "Clip skip": "clip_skip", "Overwrite Switch": "overwrite_switch",
    "Refiner Swap Method": "refiner_swap_method", "FreeU": "freeu", "Version": "version", "User": "created_by",
}  # fmt: skip
GPU_SAMPLERS = ("dpmpp_sde_gpu", "dpmpp_2m_sde_gpu")  # the twin of two samplers of one display name that modes use
A1111_PAIR = re.compile(r'(\w[\w \-/]*):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)')
LORA_PAIR = re.compile(r"(.+?): ([^,:]+)(?:, |$)")
FEWEST_PAIRS = 3


def read_parameters(path: Path) -> tuple[str, str]:
    """The text and the scheme ('fooocus' or 'a1111') in a picture; ('', '') when there is none.

    Reads what this pack, Fooocus and A1111 write into png, jpeg and webp (read_info_from_image). Raises BadFile for
    a file that is no picture, or whose metadata is broken or larger than a text can be.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large pictures and odd EXIF: no pixel is read here
            with Image.open(path) as image:
                written, exif = dict(image.info), image.getexif()
                comment = exif.get(USER_COMMENT) or exif.get_ifd(ExifTags.IFD.Exif).get(USER_COMMENT)
                maker = exif.get(MAKER_NOTE)
    except (OSError, ValueError, SyntaxError, TypeError, LookupError, struct.error) as error:
        raise BadFile(f"{path} can't be read as a picture: {error}") from error
    except Image.DecompressionBombError as error:
        raise BadFile(f"{path} is larger than is safe to open: {error}") from error
    text = written.get("parameters") or _comment(comment)
    scheme = written.get("fooocus_scheme") or _comment(maker)
    if not isinstance(text, str) or not text:
        return "", ""
    if len(text) > LARGEST_TEXT:
        raise BadFile(f"the text about {path} has {len(text):,} characters, at most {LARGEST_TEXT:,} are read")
    return text, scheme if scheme in ("fooocus", "a1111") else "fooocus" if _is_object(text) else "a1111"


def recall(path: Path, known: Callable[[], Styles]) -> PictureInfo:
    """How the picture in a file was made; `known` is asked for the styles that its text may hold.

    Raises BadFile, naming the file, when there is no text or it can't be read.
    """
    text, scheme = read_parameters(path)
    if not text:
        raise BadFile(
            f"{path} does not say how it was made: choose a picture that was saved with metadata by Fooocus, A1111 or "
            "this pack"
        )
    try:
        return from_fooocus(text) if scheme == "fooocus" else from_a1111(text, known())
    except BadFile as error:
        raise BadFile(f"{path}: {error}") from error


def from_fooocus(text: str) -> PictureInfo:
    """The info in a JSON object of the scheme `fooocus`, its entries found by key or by label; raises BadFile."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadFile(f"its text is not valid JSON ({error})") from error
    if not isinstance(values, dict):
        raise BadFile(f"its text should be a JSON object, not a {type(values).__name__}")
    by_key = {LABELS[label]: value for label, value in values.items() if label in LABELS} | values
    if not by_key.get("loras"):
        by_key["loras"] = _combined_loras(values) or None
    return _info(by_key)


def from_a1111(text: str, known: Styles | None = None) -> PictureInfo:
    """The info in a text of the scheme `a1111`, as far as it goes; raises BadFile.

    Fooocus's own texts give the styles back when they are among `known`; otherwise `styles` is None. Of two samplers
    with one display name the `_gpu` one is meant, as in Fooocus's performance modes.
    """
    lines = text.strip().split("\n")
    pairs = dict(_pairs(lines[-1]))
    if pairs:
        lines.pop()
    starts = (i for i, line in enumerate(lines) if line.startswith("Negative prompt:"))
    split = next(starts, len(lines))
    positive = "\n".join(lines[:split]).strip()
    negative = "\n".join(lines[split:]).removeprefix("Negative prompt:").strip()

    values: dict[str, Any] = {A1111_KEYS[key]: value for key, value in pairs.items() if key in A1111_KEYS}
    values = {"prompt": positive, "negative_prompt": negative, **values, **_a1111_sampling(pairs)}
    values |= {"full_prompt": [positive], "full_negative_prompt": [negative], "loras": _a1111_loras(pairs)}
    if size := re.fullmatch(r"(\d+) ?x ?(\d+)", str(values.get("resolution", ""))):
        values["resolution"] = [size[1], size[2]]
    if "Version" in pairs and pairs["Version"].startswith("Fooocus"):
        values["styles"] = styles_in(positive, negative, values["prompt"], values["negative_prompt"], known or Styles())
    else:
        values.setdefault("clip_skip", 2)  # A1111 reads SDXL's encoders there and does not say so
    return _info(values)


def styles_in(positive: str, negative: str, text: str, negative_text: str, known: Styles) -> list[str] | None:
    """The styles that make of `text` and `negative_text` the full texts, in order; None when none do.

    Tries what composing would have written, piece by piece from the front, so that a negative text of the user's and
    the order of the styles come out right (the purpose of modules/util.py: extract_styles_from_prompt). What is left
    over at the end is the expansion; of several readings the one that leaves least is taken.
    """
    line, *more = text.split("\n")
    full, against = _written([positive]), _written([negative])
    tail, negative_tail = _written(more), _written(negative_text.split("\n"))
    plain = {style.name: _pieces(style, line) for style in known.values() if not style.holds_prompt}
    every = {style.name: _pieces(style, line) for style in known.values()}
    readings = [
        (at, chosen)
        for start, pool in ((_written([line]), plain), ("", every))
        if full.startswith(start)
        for at, at_negative, chosen in _readings(full, against, len(start), pool)
        if pool is plain or any(known[name].holds_prompt for name in chosen)
        if full.startswith(tail, at) and against[at_negative:] == negative_tail
    ]
    if not readings:
        return None
    at, chosen = max(readings, key=lambda reading: reading[0])
    return [EXPANSION_STYLE, *chosen] if at + len(tail) < len(full) else list(chosen)


Pieces = dict[str, tuple[str, str]]


def _readings(full: str, against: str, at: int, pool: Pieces) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    """(place in `full`, place in `against`, styles whose pieces lead there), each pair of places once."""
    attempts: list[tuple[int, int, tuple[str, ...]]] = [(at, 0, ())]
    seen: set[tuple[int, int]] = set()
    while attempts:
        at, at_negative, chosen = attempts.pop()
        if (at, at_negative) in seen:
            continue
        seen.add((at, at_negative))
        yield at, at_negative, chosen
        for name, (piece, negative_piece) in reversed(list(pool.items())):
            fits = full.startswith(piece, at) and against.startswith(negative_piece, at_negative)
            if fits and (piece or negative_piece) and name not in chosen:
                attempts.append((at + len(piece), at_negative + len(negative_piece), (*chosen, name)))


def _pieces(style: Style, line: str) -> tuple[str, str]:
    positive, negative = style.apply(line)
    return _written(positive), _written(negative)


def _written(texts: Iterable[str]) -> str:
    """The texts as they stand in a longer row of texts, a comma after each."""
    return "".join(f"{text}, " for text in texts if text)


def _pairs(line: str) -> list[tuple[str, str]]:
    """The pairs `Key: value` of a parameter line, values unquoted; none when it is a line of a prompt."""
    found = [(match[1], _unquoted(match[2].strip())) for match in A1111_PAIR.finditer(line)]
    return found if len(found) >= FEWEST_PAIRS else []


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    try:
        return str(json.loads(value))
    except ValueError:
        return value


def _a1111_sampling(pairs: Mapping[str, str]) -> dict[str, str]:
    """Sampler and scheduler of a text: 'DPM++ 2M Karras', or the two apart."""
    shown = pairs.get("Sampler", "")
    name = shown.removesuffix(" Karras")
    typed = pairs.get("Schedule type", "Karras" if name != shown else "Normal").lower().replace(" ", "_")
    scheduler = pairs.get("Scheduler") or (typed if typed in SCHEDULERS else "normal")
    named = [known for known, title in A1111_SAMPLERS.items() if title.casefold() == name.casefold()]
    preferred = [known for known in named if known in GPU_SAMPLERS]
    return {"sampler": [*preferred, *named, shown][0], "scheduler": scheduler} if shown else {}


def _a1111_loras(pairs: Mapping[str, str]) -> list[list[str]]:
    if weights := pairs.get("Lora weights"):
        return [[match[1], match[2]] for match in LORA_PAIR.finditer(weights)]
    triples = (entry.split(": ") for entry in pairs.get("Lora hashes", "").split(", "))
    return [[triple[0], triple[2]] for triple in triples if len(triple) == 3]


def _combined_loras(values: Mapping[str, Any]) -> list[list[str]]:
    """The entries `lora_combined_N` or `LoRA N`: 'name : weight', or 'enabled : name : weight'."""
    numbered = [(re.fullmatch(r"(?:lora_combined_|LoRA )(\d{1,3})", key), value) for key, value in values.items()]
    texts = [str(value) for _, value in sorted((int(key[1]), value) for key, value in numbered if key)]
    parts = [text.split(" : ") for text in texts]
    return [part[-2:] for part in parts if len(part) < 3 or part[0] != "False"]


def _loras(value: Any) -> tuple[Lora, ...]:
    if not isinstance(value, list) or not all(isinstance(entry, list) and len(entry) >= 2 for entry in value):
        raise ValueError("a list of LoRAs with their weights")
    pairs = [(literals.text(name), WEIGHT(weight)) for name, weight, *_ in value]
    return tuple(Lora(name, weight) for name, weight in pairs if name != NO_FILE)


def _resolution(value: Any) -> tuple[int, int]:
    width, height = (literals.whole(1, LONGEST_SIDE)(side) for side in literals.numbers(2)(value))
    return width, height


def _file(value: Any) -> str:
    """A model's name, without the hash that A1111 puts behind a refiner's."""
    return re.sub(r" \[[0-9a-f]+\]$", "", literals.text(value))


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
    "vae": literals.text,
    "seed": literals.whole(0, MAX_SEED),
    "freeu": lambda value: FreeU(*literals.numbers(4)(value)),
    "loras": _loras,
    "full_prompt": literals.names,
    "full_negative_prompt": literals.names,
    "created_by": literals.text,
    "version": literals.text,
}


def _info(values: Mapping[str, Any]) -> PictureInfo:
    """The info of raw values by key; raises BadFile with the number of those that can't be read and the first."""
    read: dict[str, Any] = {}
    wrong: list[str] = []
    for key, reader in READERS.items():
        if (value := values.get(key)) is None:
            continue
        try:
            read[key] = reader(value)
        except ValueError as error:
            wrong.append(f"{key} = {str(value)[:60]!r} should be {error}")
    if wrong:
        raise BadFile(f"{len(wrong)} of its {len(wrong) + len(read)} entries can't be read: {'; '.join(wrong[:FEW])}")
    if not any(read.values()):
        raise BadFile("its text has none of the entries that Fooocus or A1111 write")
    return PictureInfo(**read)


def _comment(value: Any) -> str:
    """The text of an EXIF comment: plain, or bytes that say how they are encoded."""
    if not isinstance(value, bytes):
        return value if isinstance(value, str) else ""
    if value.startswith(UNICODE):
        body = value.removeprefix(UNICODE)
        marked = body.startswith((b"\xff\xfe", b"\xfe\xff"))
        return body.decode("utf-16" if marked else "utf-16-be", "replace")
    return value.removeprefix(ASCII).removeprefix(bytes(8)).decode("utf-8", "replace").rstrip("\0")


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
