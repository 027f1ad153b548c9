"""The output of a request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from fooocus_stages.serving.requests.endpoints import TEXT_TO_IMAGE
from fooocus_stages.serving.requests.results import data_uri, output_of

from .examples import request_to


@dataclass(frozen=True)
class Saved:
    name: str
    media_type: str = "image/png"
    size: int = 3
    width: int = 8
    height: int = 4


IMAGES = [Saved("0.png"), Saved("1.png")]


def output(checker: str = "pocket", flags: Any = None, **fields: Any) -> dict[str, Any]:
    request = request_to(TEXT_TO_IMAGE, seed=7, **fields)
    outputs = {"3": {"seed": [7]}} | ({"9": {"nsfw": flags}} if flags is not None else {})
    return output_of(request, IMAGES, outputs, 1.23456, url_of, checker)


def url_of(number: int, image: Saved) -> str:
    return f"http://a/{number}/{image.name}"


def test_an_output() -> None:
    image = {"content_type": "image/png", "file_size": 3, "width": 8, "height": 4}
    assert output(flags=[False, True]) == {
        "images": [
            {"url": "http://a/0/0.png", "file_name": "0.png", **image},
            {"url": "http://a/1/1.png", "file_name": "1.png", **image},
        ],
        "timings": {"inference": 1.235},
        "has_nsfw_concepts": [False, True],
        "seed": 7,
    }


def test_a_data_uri() -> None:
    assert data_uri("image/png", b"abc") == "data:image/png;base64,YWJj"


def test_without_the_check_no_image_is_called_safe() -> None:
    assert output(checker="None")["has_nsfw_concepts"] == []


def test_a_request_that_switches_the_check_off() -> None:
    assert output(enable_safety_checker=False)["has_nsfw_concepts"] == [False, False]


@pytest.mark.parametrize("flags", [None, [], [False], [False] * 3, [0, 1]])
def test_a_check_that_did_not_answer_for_each_image_is_no_answer(flags: Any) -> None:
    with pytest.raises(ValueError, match="the safety check answered"):
        output(flags=flags)
