"""The output of a request, as the hosted endpoints give it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, Field

from ...pipelines.settings import NO_FILE
from .endpoints import Request

FLAGS = "nsfw"
"""The output of the safety check that has a truth value for each image."""


class Image(BaseModel):
    """An image of the output."""

    url: str = Field(description="URL of the file; a data URI with sync_mode.")
    content_type: str = Field(description="Media type of the file.")
    file_name: str = Field(description="Name of the file.")
    file_size: int = Field(description="Size of the file in bytes.")
    width: int = Field(description="Width in pixels.")
    height: int = Field(description="Height in pixels.")


class Output(BaseModel):
    """The output of all endpoints."""

    images: list[Image] = Field(description="The images.")
    timings: dict[str, float] = Field(description="Seconds by what they were spent on.")
    has_nsfw_concepts: list[bool] = Field(
        description="True for each image that the safety checker flagged, false for all images of a request that "
        "switched it off. Empty where a request asked for it and the server has none."
    )
    seed: int = Field(description="Seed of the first image; each further image adds 1.")


class SavedImage(Protocol):
    """A file that a workflow saved. `size` is in bytes, `width` and `height` are in pixels."""

    @property
    def name(self) -> str: ...
    @property
    def media_type(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...


Saved = TypeVar("Saved", bound=SavedImage)


def output_of(
    request: Request,
    images: Sequence[Saved],
    outputs: Mapping[str, Mapping[str, Sequence[Any]]],
    seconds: float,
    url_of: Callable[[int, Saved], str],
    checker: str = NO_FILE,
) -> dict[str, Any]:
    """The output of a request whose seed is known, see `with_seed`.

    `images`: the saved images in order. `outputs`: values of the nodes' outputs, by node and name, among them those of
    the safety check. `seconds`: of the run. `url_of`: the URL of an image by its number and the image; with sync_mode
    it should be a data URI. `checker`: as it was given to `graph_of`. Raises ValueError where the safety check did not
    answer for each image.
    """
    listed = [
        Image(
            url=url_of(number, image),
            content_type=image.media_type,
            file_name=image.name,
            file_size=image.size,
            width=image.width,
            height=image.height,
        )
        for number, image in enumerate(images)
    ]
    output = Output(
        images=listed,
        timings={"inference": round(seconds, 3)},
        has_nsfw_concepts=flags_of(request, outputs, len(listed), checker),
        seed=request.input.seed or 0,
    )
    return output.model_dump(mode="json")


def flags_of(
    request: Request, outputs: Mapping[str, Mapping[str, Sequence[Any]]], count: int, checker: str
) -> list[bool]:
    """One truth value for each of `count` images: what the safety check found, False where the request switched it off,
    and nothing at all where the request asked for it and there is no checker."""
    if not request.input.enable_safety_checker:
        return [False] * count
    if checker == NO_FILE:
        return []
    flags = [flag for values in outputs.values() for flag in values.get(FLAGS, ())]
    if len(flags) != count or not all(type(flag) is bool for flag in flags):
        raise ValueError(f"the safety check answered {flags!r} for {count} images")
    return flags


def data_uri(media_type: str, data: bytes) -> str:
    """The data URI of a file."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"
