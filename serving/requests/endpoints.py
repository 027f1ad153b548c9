"""The four endpoints, and requests read and checked as the platform checks them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ValidationError

from ...pipelines.errors import BadValue, UnknownName
from ...pipelines.settings import MAX_SEED
from .models import ImagePromptInput, InpaintInput, Input, TextToImageInput, UpscaleOrVaryInput

TEXT_TO_IMAGE = "fal-ai/fooocus"
IMAGE_PROMPT = f"{TEXT_TO_IMAGE}/image-prompt"
INPAINT = f"{TEXT_TO_IMAGE}/inpaint"
UPSCALE_OR_VARY = f"{TEXT_TO_IMAGE}/upscale-or-vary"
ENDPOINTS: Mapping[str, type[Input]] = MappingProxyType(
    {
        TEXT_TO_IMAGE: TextToImageInput,
        IMAGE_PROMPT: ImagePromptInput,
        INPAINT: InpaintInput,
        UPSCALE_OR_VARY: UpscaleOrVaryInput,
    }
)
LONGEST_ECHO = 200  # characters of a wrong value that an error repeats


class InvalidRequest(BadValue):
    """A request that the endpoint refuses. `detail` has an entry for each error: loc, msg, type, input and ctx."""

    def __init__(self, detail: list[dict[str, Any]]) -> None:
        self.detail = detail
        super().__init__("; ".join(f"{_dotted(entry['loc'])}: {entry['msg']}" for entry in detail))


@dataclass(frozen=True)
class Request:
    """A request that was checked. `unknown`: the fields that its endpoint does not have, such as loras.0.force."""

    endpoint: str
    input: Input
    unknown: tuple[str, ...] = field(default=())

    def body(self) -> dict[str, Any]:
        """The fields that were given, as JSON."""
        return self.input.model_dump(mode="json", exclude_unset=True)


def parse(endpoint: str, body: Any) -> Request:
    """Check a request. `body` is its JSON value; None, an empty body, is an empty request.

    Raises UnknownName for an unknown endpoint, and InvalidRequest.
    """
    if endpoint not in ENDPOINTS:
        raise UnknownName("endpoint", endpoint, ENDPOINTS, f"choose one of {', '.join(ENDPOINTS)}")
    model = ENDPOINTS[endpoint]
    given = {} if body is None else body
    try:
        checked = model.model_validate(given)
    except ValidationError as error:
        raise InvalidRequest([_entry(one) for one in error.errors(include_url=False)]) from error
    return Request(endpoint, checked, tuple(_unknown(model, given)))


def with_seed(request: Request, drawn: int | None = None) -> Request:
    """The request with a seed from 0 to MAX_SEED: its own, or `drawn`, or a random one.

    Seeds beyond that range are counted on from 0.
    """
    given = drawn if request.input.seed is None else request.input.seed
    seed = secrets.randbelow(MAX_SEED + 1) if given is None else given % (MAX_SEED + 1)
    return replace(request, input=request.input.model_copy(update={"seed": seed}))


def _entry(error: Mapping[str, Any]) -> dict[str, Any]:
    """An error as the platform gives it. A value that is long, such as a data URI, is not repeated."""
    entry: dict[str, Any] = {"loc": ["body", *error["loc"]], "msg": error["msg"], "type": error["type"]}
    if len(repr(error.get("input"))) <= LONGEST_ECHO:
        entry["input"] = json.loads(json.dumps(error.get("input"), default=str), parse_constant=str)
    if "ctx" in error:
        entry["ctx"] = json.loads(json.dumps(error["ctx"], default=str))
    return entry


def _dotted(loc: list[Any]) -> str:
    return ".".join(str(part) for part in loc[1:]) or "the request"


def _unknown(model: type[BaseModel], given: Any, prefix: str = "") -> Iterator[str]:
    """The names of fields that a model does not have, also inside its parts."""
    if not isinstance(given, Mapping):
        return
    for name, value in given.items():
        if name not in model.model_fields:
            yield f"{prefix}{name}"
            continue
        part = _part(model.model_fields[name].annotation)
        if part is not None:
            many = isinstance(value, list)
            for number, one in enumerate(value if many else [value]):
                yield from _unknown(part, one, f"{prefix}{name}.{number}." if many else f"{prefix}{name}.")


def _part(annotation: Any) -> type[BaseModel] | None:
    """The model inside an annotation such as `Model | None` or `tuple[Model, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_part, getattr(annotation, "__args__", ()))), None)
