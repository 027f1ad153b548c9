"""The endpoint that a request is for, told by its fields."""

from __future__ import annotations

from typing import Any

import pytest
from fooocus_stages.pipelines.errors import BadValue, UnknownName
from fooocus_stages.serving.requests.endpoints import (
    IMAGE_PROMPT,
    INPAINT,
    TEXT_TO_IMAGE,
    UPSCALE_OR_VARY,
    InvalidRequest,
)
from fooocus_stages.serving.requests.graphs import graph_of
from fooocus_stages.serving.requests.guess import request_in

from .examples import MODES, body_of, example

SLOT = {"image_prompt_1": {"image_url": "b.png"}}


@pytest.mark.parametrize("mode", MODES)
def test_every_example_is_told_by_its_fields(mode: str) -> None:
    assert graph_of(request_in(body_of(mode)), {}) == graph_of(example(mode), {})


@pytest.mark.parametrize(
    ("body", "endpoint"),
    [
        ({}, TEXT_TO_IMAGE),
        ({"prompt": "a", "unknown": 1}, TEXT_TO_IMAGE),
        (SLOT, IMAGE_PROMPT),
        ({"inpaint_image_url": "a.png", "outpaint_selections": ["Left"]}, INPAINT),
        ({"inpaint_image_url": "a.png", "mask_image_url": "https://a/m.png", "invert_mask": True}, INPAINT),
        ({"uov_image_url": "a.png"}, UPSCALE_OR_VARY),
        ({"control_image_url": "a.png"}, TEXT_TO_IMAGE),
    ],
)
def test_the_endpoint_that_has_the_fields(body: dict[str, Any], endpoint: str) -> None:
    assert request_in(body).endpoint == endpoint


@pytest.mark.parametrize(
    "body", [{**SLOT, "uov_image_url": "a.png"}, {**SLOT, "inpaint_image_url": "a.png", "mask_image_url": "b.png"}]
)
def test_endpoints_that_would_do_different_things(body: dict[str, Any]) -> None:
    with pytest.raises(BadValue, match=r"the request may be for .*/image-prompt, which give different workflows"):
        request_in(body)
    assert request_in(body, IMAGE_PROMPT).endpoint == IMAGE_PROMPT


def test_errors() -> None:
    with pytest.raises(InvalidRequest, match="sharpness"):
        request_in({"sharpness": 99})
    with pytest.raises(UnknownName, match="unknown endpoint 'a'"):
        request_in({}, "a")
