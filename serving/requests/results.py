"""The output of a request, as the hosted endpoints give it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import BaseModel, Field

from ..bundled.graph_builder import ApiGraph
from .endpoints import Request
from .graphs import CHECKER

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
    """A file that a workflow saved."""

    @property
    def name(self) -> str: ...
    @property
    def media_type(self) -> str: ...
    @property
    def data(self) -> bytes: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...


@dataclass(frozen=True)
class PlainImage:
    """A saved image in memory."""

    name: str
    media_type: str
    data: bytes = field(repr=False)
    width: int
    height: int


def output_of(
    request: Request,
    graph: ApiGraph,
    images: Sequence[SavedImage],
    outputs: Mapping[str, Mapping[str, Sequence[Any]]],
    seconds: float,
    url_of: Callable[[int, SavedImage], str],
) -> dict[str, Any]:
    """The output of a request whose seed is known, see `with_seed`.

    `images`: the saved images in order. `outputs`: values of the nodes' outputs, by node and name; those of the safety
    check are needed. `url_of`: the URL of an image by its number and the image; not called with sync_mode. Raises
    ValueError where the safety check did not answer for each image.
    """
    given = request.input
    listed = [
        Image(
            url=data_uri(image) if given.sync_mode else url_of(number, image),
            content_type=image.media_type,
            file_name=image.name,
            file_size=len(image.data),
            width=image.width,
            height=image.height,
        )
        for number, image in enumerate(images)
    ]
    flags = flags_of(request, graph, outputs, len(listed))
    timings = {"inference": round(seconds, 3)}
    return Output(images=listed, timings=timings, has_nsfw_concepts=flags, seed=given.seed or 0).model_dump(mode="json")


def flags_of(
    request: Request, graph: ApiGraph, outputs: Mapping[str, Mapping[str, Sequence[Any]]], count: int
) -> list[bool]:
    """One truth value for each of `count` images: what the safety check found, False where the request switched it off,
    and nothing at all where the request asked for it but its workflow has none."""
    if not request.input.enable_safety_checker:
        return [False] * count
    checkers = [node_id for node_id, node in graph.items() if node["class_type"] == CHECKER]
    if not checkers:
        return []
    flags = [flag for node_id in checkers for flag in outputs.get(node_id, {}).get(FLAGS, ())]
    if len(flags) != count or not all(type(flag) is bool for flag in flags):
        raise ValueError(f"the safety check answered {flags!r} for {count} images")
    return flags


def data_uri(image: SavedImage) -> str:
    """The data URI of an image."""
    return f"data:{image.media_type};base64,{base64.b64encode(image.data).decode('ascii')}"
