"""Masks that paint nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fooocus_stages.pipelines.errors import BadFile
from fooocus_stages.serving.requests.endpoints import INPAINT
from fooocus_stages.serving.requests.graphs import plan_of
from fooocus_stages.serving.requests.masks import without_empty_mask
from PIL import Image

from .examples import request_to

MASKS = {
    "black": ("L", 0, None),
    "gray": ("L", 127, None),
    "a gray pixel": ("L", 0, 127),
    "white": ("L", 255, None),
    "a white pixel": ("L", 0, 128),
    "red": ("RGB", (200, 0, 0), None),
    "opaque": ("RGBA", (255, 255, 255, 255), None),
    "a clear pixel": ("RGBA", (0, 0, 0, 255), (0, 0, 0, 100)),
    "clear": ("RGBA", (0, 0, 0, 0), None),
}


@pytest.mark.parametrize(
    ("mask", "fields", "paints"),
    [
        ("black", {}, False),
        ("gray", {}, False),
        ("a gray pixel", {}, False),
        ("white", {}, True),
        ("a white pixel", {}, True),
        ("red", {}, True),
        ("black", {"invert_mask": True}, True),
        ("white", {"invert_mask": True}, False),
        ("a white pixel", {"invert_mask": True}, True),
        ("black", {"outpaint_selections": ["Left"]}, True),
        ("opaque", {"mask_image_url": "a.png#alpha"}, False),
        ("black", {"mask_image_url": "a.png#alpha"}, False),
        ("a clear pixel", {"mask_image_url": "a.png#alpha"}, True),
        ("clear", {"mask_image_url": "a.png#alpha"}, True),
        ("clear", {"mask_image_url": "a.png#alpha", "invert_mask": True}, False),
    ],
)
def test_what_is_painted(mask: str, fields: dict[str, Any], paints: bool, tmp_path: Path) -> None:
    mode, color, pixel = MASKS[mask]
    picture = Image.new(mode, (3, 2), color)
    if pixel is not None:
        picture.putpixel((1, 1), pixel)
    picture.save(tmp_path / "a.png")
    request = request_to(INPAINT, **{"mask_image_url": "b.png", **fields})
    left = without_empty_mask(request, lambda address: tmp_path / "a.png")
    assert bool(plan_of(left).inpaint) is paints
    assert (left == request) is paints


def test_a_mask_that_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"none")
    with pytest.raises(BadFile):
        without_empty_mask(request_to(INPAINT, mask_image_url="b.png"), lambda address: tmp_path / "a.png")
