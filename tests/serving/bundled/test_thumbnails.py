"""Thumbnails: what goes in stands left of what comes out."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from fooocus_stages.serving.bundled import thumbnails
from fooocus_stages.serving.bundled.catalogue import TEMPLATES
from fooocus_stages.serving.bundled.workflow_files import BUNDLED as FOLDER
from fooocus_stages.serving.bundled.write_workflows import BUNDLED
from PIL import Image

GRAPHS = {template.name: template.graph for template in TEMPLATES}


def colors(picture: bytes) -> tuple[Image.Image, tuple[int, int]]:
    with Image.open(io.BytesIO(picture)) as file:
        return file.convert("RGB"), file.size


def test_inputs_left_results_right() -> None:
    red, blue = Image.new("RGB", (64, 64), "red"), Image.new("RGB", (64, 64), "blue")
    sheet, size = colors(thumbnails.composed(*thumbnails.side_by_side([red], [blue]), "title"))
    assert size == thumbnails.SIZE
    left, right = sheet.getpixel((120, 130)), sheet.getpixel((390, 130))
    assert isinstance(left, tuple)
    assert left[0] > 200 > 60 > left[2]
    assert isinstance(right, tuple)
    assert right[2] > 200 > 60 > right[0]


def test_one_image_on_each_side_has_the_scale_of_the_other() -> None:
    small, large = Image.new("RGB", (64, 64), "red"), Image.new("RGB", (128, 128), "blue")
    before, after = thumbnails.side_by_side([small], [large])
    red, blue = (
        image.getchannel(band).point(lambda v: v > 200 and 255).getbbox()
        for image, band in ((before, "R"), (after, "B"))
    )
    assert red is not None
    assert blue is not None
    assert (red[2] - red[0]) * 2 == blue[2] - blue[0]


def test_the_words_of_a_workflow_tell_it_from_the_others() -> None:
    words = {name: thumbnails.words_of(graph) for name, graph in GRAPHS.items() if name.startswith("text-to-image")}
    assert words["text-to-image-extreme-speed"] == [
        '"a large red circle on a yellow background"',
        "Extreme Speed",
        "+ Fooocus V2, Fooocus Enhance, Fooocus Sharp",
    ]
    assert len(set(map(tuple, words.values()))) == len(words)


def test_prepared_images_get_a_preview_of_their_own() -> None:
    whole, previews = thumbnails.with_previews(GRAPHS["control-pyracanny"])
    (preview,) = previews
    source, _ = whole[preview]["inputs"]["images"]
    assert whole[source]["class_type"] == "FooocusPyraCanny"
    assert preview not in GRAPHS["control-pyracanny"]


@pytest.mark.parametrize("name", ["inpaint", "control-inpaint"])
def test_a_mask_is_drawn_over_its_image(name: str, tmp_path: Path) -> None:
    transparent = Image.new("RGBA", (8, 8), (0, 0, 255, 255))
    transparent.paste((0, 0, 255, 0), (0, 0, 4, 8))
    transparent.save(tmp_path / "example.png")
    mask = Image.new("RGB", (8, 8))
    mask.paste((255, 255, 255), (0, 0, 4, 8))
    mask.save(tmp_path / "example_mask.png")
    image = thumbnails.inputs_of(GRAPHS[name], lambda file: tmp_path / file)[0]
    masked, kept = image.getpixel((1, 4)), image.getpixel((6, 4))
    assert isinstance(masked, tuple)
    assert masked[0] > 100
    assert kept == (0, 0, 255)


def test_every_bundled_workflow_has_a_thumbnail_of_its_own() -> None:
    pictures = {workflow.name: (FOLDER / f"{workflow.name}.jpg").read_bytes() for workflow in BUNDLED}
    assert len(set(pictures.values())) == len(pictures)
    for picture in pictures.values():
        assert colors(picture)[1] == thumbnails.SIZE
