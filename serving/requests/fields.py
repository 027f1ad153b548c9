"""The values that fields of a request take: choices, addresses of files, sizes."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from ...pipelines.errors import did_you_mean

Performance = Literal["Speed", "Quality", "Extreme Speed", "Lightning"]
Refiner = Literal["None", "realisticVisionV60B1_v51VAE.safetensors"]
OutputFormat = Literal["png", "jpeg", "webp"]
HintType = Literal["ImagePrompt", "PyraCanny", "CPDS", "FaceSwap"]
Side = Literal["Left", "Right", "Top", "Bottom"]
Engine = Literal["None", "v1", "v2.5", "v2.6"]
Method = Literal[
    "Disabled", "Vary (Subtle)", "Vary (Strong)", "Upscale (1.5x)", "Upscale (2x)", "Upscale (Fast 2x)"
]  # fmt: skip
Mode = Literal[
    "Inpaint or Outpaint (default)",
    "Improve Detail (face, hand, eyes, etc.)",
    "Modify Content (add objects, change background, etc.)",
]

SIDE_STEP, SMALLEST_SIDE, LARGEST_SIDE = 8, 64, 4096
SIZE = re.compile(r"\s*(\d{1,6})\s*[xX×*]\s*(\d{1,6})\s*")
SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE)
FETCHED = ("http", "https")
OWN_MASK_SUFFIX = "#alpha"
"""The end of a mask's address that takes the transparent part of the picture, not its white part, as the mask."""


@cache
def style_names() -> tuple[str, ...]:
    """The 277 styles of the hosted endpoints."""
    return tuple(json.loads(Path(__file__).with_name("styles.json").read_text(encoding="utf-8")))


def scheme_of(value: str) -> str:
    """The scheme of an address in lower case; '' for a name, and for a path on a drive such as C:/a.png."""
    found = SCHEME.match(value)
    return found[1].lower() if found and len(found[1]) > 1 else ""


def is_fetched(value: str) -> bool:
    """True for an address of http or https."""
    return scheme_of(value) in FETCHED


def is_data(value: str) -> bool:
    """True for a data URI."""
    return scheme_of(value) == "data"


def without_fragment(value: str) -> str:
    """A mask's address without the suffix that picks its transparency."""
    return value.removesuffix(OWN_MASK_SUFFIX)


def _style(value: str) -> str:
    if value not in style_names():
        message = f"Input should be the name of one of the {len(style_names())} styles"
        raise PydanticCustomError("literal_error", f"{message}{did_you_mean(value, style_names())}")
    return value


def _size(value: str) -> str:
    if (found := SIZE.fullmatch(value)) is None:
        raise PydanticCustomError("value_error", "Value error, should be 'WIDTHxHEIGHT', such as '1152x896'")
    width, height = int(found[1]), int(found[2])
    if width % SIDE_STEP or height % SIDE_STEP:
        message = "Value error, width and height should be multiples of {step}"
        raise PydanticCustomError("value_error", message, {"step": SIDE_STEP})
    if not all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in (width, height)):
        message = "Value error, width and height should be from {smallest} to {largest}"
        raise PydanticCustomError("value_error", message, {"smallest": SMALLEST_SIDE, "largest": LARGEST_SIDE})
    return f"{width}x{height}"


def _address(value: str) -> str:
    if scheme_of(value) not in (*FETCHED, "data", ""):
        message = "Value error, should be an http or https URL, or a data URI, but its scheme is '{scheme}'"
        raise PydanticCustomError("value_error", message, {"scheme": scheme_of(value)})
    return value


def _lora(value: str) -> str:
    if scheme_of(value) not in (*FETCHED, ""):
        message = "Value error, should be an http or https URL, or the name of a file, but its scheme is '{scheme}'"
        raise PydanticCustomError("value_error", message, {"scheme": scheme_of(value)})
    return value


def _empty_is_none(value: Any) -> Any:
    return None if value == "" else value


Style = Annotated[str, AfterValidator(_style), WithJsonSchema({"type": "string", "enum": list(style_names())})]
AspectRatio = Annotated[str, AfterValidator(_size)]
Address = Annotated[str, AfterValidator(_address), Field(min_length=1)]
OptionalAddress = Annotated[Address | None, BeforeValidator(_empty_is_none)]
LoraPath = Annotated[str, AfterValidator(_lora), Field(min_length=1)]
Number = Annotated[float, Field(allow_inf_nan=False)]
