"""The hosted endpoints as the gateway asks them."""

from __future__ import annotations

from pathlib import Path

import pytest
from fooocus_stages.serving.gateway.hosted import HostedEndpoints
from fooocus_stages.serving.requests.endpoints import INPAINT
from PIL import Image

PICTURE, MASK = "https://example.com/a.png", "https://example.com/m.png"


@pytest.mark.parametrize(("level", "inpaints"), [(0, False), (255, True)])
def test_a_mask_that_paints_nothing_draws_from_the_prompt(level: int, inpaints: bool, tmp_path: Path) -> None:
    hosted = HostedEndpoints()
    request = hosted.parse(INPAINT, {"prompt": "a cat", "inpaint_image_url": PICTURE, "mask_image_url": MASK}, seed=1)
    for name in ("a.png", "m.png"):
        Image.new("L", (8, 8), level).save(tmp_path / name)
    graph = hosted.graph(request, {PICTURE: tmp_path / "a.png", MASK: tmp_path / "m.png"})
    assert ("FooocusInpaint" in {node["class_type"] for node in graph.values()}) is inpaints
