"""The twins of ComfyUI's nodes: what they read, and what they write."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fooocus_stages.nodes.comfy import use_host
from fooocus_stages.nodes.headless import HEADLESS_NODES, LoadImage, LoadImageMask, SaveImage, find_picture
from fooocus_stages.nodes.headless_tensors import ConditioningSetAreaPercentage, LatentUpscaleBy, RepeatLatentBatch
from fooocus_stages.pipelines.errors import BadFile, MissingFile
from fooocus_stages.pipelines.host import LocalHost
from fooocus_stages.serving.engine.runner import Runner
from PIL import Image

torch = pytest.importorskip("torch")
RED = (255, 0, 51)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with use_host(LocalHost(input=tmp_path, output=tmp_path / "out")):
        yield tmp_path


def load(name: str) -> tuple["torch.Tensor", "torch.Tensor"]:
    image, mask = LoadImage().load_image(name)
    assert image.dtype == mask.dtype == torch.float32
    return image, mask


def test_a_picture_without_alpha(folder: Path) -> None:
    Image.new("RGB", (5, 3), RED).save(folder / "a.png")
    image, mask = load("a.png")
    assert image.shape == (1, 3, 5, 3)
    assert image[0, 1, 1].tolist() == pytest.approx([1.0, 0.0, 0.2])
    assert mask.shape == (1, 64, 64)
    assert not mask.any()


def test_alpha_is_turned_round(folder: Path) -> None:
    Image.new("RGBA", (5, 3), (*RED, 51)).save(folder / "a.png")
    image, mask = load("a.png")
    assert image.shape == (1, 3, 5, 3)
    assert mask.shape == (1, 3, 5)
    assert mask[0, 0, 0].item() == pytest.approx(0.8)


def test_transparent_colours_of_a_palette(folder: Path) -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([0, 0, 0, 255, 0, 0])
    picture.putdata([0, 1])
    picture.save(folder / "a.png", transparency=0)
    assert load("a.png")[1].tolist() == [[[1.0, 0.0]]]


def test_exif_turns_the_picture(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (6, 2), RED).save(folder / "a.jpg", exif=exif)
    assert load("a.jpg")[0].shape == (1, 6, 2, 3)


def test_all_frames_are_read(folder: Path) -> None:
    frames = [Image.new("RGB", (4, 4), (shade, 0, 0)) for shade in (0, 120, 240)]
    frames[0].save(folder / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    image, mask = load("a.webp")
    assert image.shape == (3, 4, 4, 3)
    assert mask.shape[0] == 3
    assert image[:, 0, 0, 0].tolist() == pytest.approx([0, 120 / 255, 240 / 255], abs=0.01)


def test_grey_of_sixteen_bits(folder: Path) -> None:
    Image.fromarray(np.full((2, 2), 25700, np.uint16)).save(folder / "a.png")
    assert load("a.png")[0][0, 0, 0].tolist() == pytest.approx([100 / 255] * 3)


@pytest.mark.parametrize(("channel", "value"), [("red", 1.0), ("green", 0.0), ("blue", 0.2), ("alpha", 0.8)])
def test_one_channel_as_a_mask(folder: Path, channel: str, value: float) -> None:
    Image.new("RGBA", (5, 3), (*RED, 51)).save(folder / "a.png")
    (mask,) = LoadImageMask().load_image("a.png", channel)
    assert mask.shape == (1, 3, 5)
    assert mask[0, 0, 0].item() == pytest.approx(value)


def test_where_a_picture_is_looked_for(folder: Path) -> None:
    (folder / "out" / "sub").mkdir(parents=True)
    for path in (folder / "a.png", folder / "out" / "sub" / "b.png"):
        Image.new("RGB", (2, 2)).save(path)
    assert find_picture("a.png") == find_picture("a.png [input]") == folder / "a.png"
    assert find_picture("sub/b.png [output]") == folder / "out" / "sub" / "b.png"
    assert find_picture(str(folder / "a.png")) == folder / "a.png"
    assert LoadImage.VALIDATE_INPUTS("a.png") is True
    assert LoadImage.INPUT_TYPES()["required"]["image"][0] == ["a.png"]
    with pytest.raises(MissingFile) as caught:
        find_picture("aa.png")
    sentence = f"image 'aa.png' does not exist (did you mean 'a.png'?); looked in {folder} and for that path"
    assert str(caught.value) == LoadImage.VALIDATE_INPUTS("aa.png") == sentence


@pytest.mark.parametrize(
    "content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 40], ids=["none", "text", "png"]
)
def test_a_file_that_is_no_picture_is_reported(folder: Path, content: bytes) -> None:
    (folder / "a.png").write_bytes(content)
    with pytest.raises(BadFile, match=r"a\.png cannot be read as an image"):
        load("a.png")


def test_a_truncated_picture_is_reported(folder: Path) -> None:
    Image.effect_noise((64, 64), 50).save(folder / "a.png")
    (folder / "a.png").write_bytes((folder / "a.png").read_bytes()[:900])
    with pytest.raises(BadFile, match="cannot be read"):
        load("a.png")


def test_too_large_a_picture_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [Image.new("RGB", (40, 40), (shade, 0, 0)) for shade in (0, 120, 240)]
    frames[0].save(folder / "a.webp", save_all=True, append_images=frames[1:])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    with pytest.raises(BadFile, match="more than 4000 pixels in all its frames"):
        load("a.webp")


def test_saving_writes_the_workflow_beside_the_picture(folder: Path) -> None:
    Image.new("RGB", (5, 3), RED).save(folder / "a.png")
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "sub/x"}},
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }
    runner = Runner(HEADLESS_NODES)
    ui = runner.run(graph, extra_pnginfo={"workflow": {"nodes": []}}).ui
    (saved,) = ui["2"]["images"]
    assert (saved["subfolder"], saved["type"]) == ("sub", "output")
    with Image.open(folder / "out" / "sub" / saved["filename"]) as picture:
        assert picture.getpixel((0, 0)) == RED
        assert json.loads(picture.info["prompt"]) == graph
        assert json.loads(picture.info["workflow"]) == {"nodes": []}
    (shown,) = ui["3"]["images"]
    assert (folder / "out" / "temp" / shown["filename"]).is_file()


def test_a_changed_file_is_read_again(folder: Path) -> None:
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }
    runner = Runner(HEADLESS_NODES)
    ran = []
    for colour in (RED, RED, (0, 0, 0)):
        Image.new("RGB", (5, 3), colour).save(folder / "a.png")
        ran.append(runner.run(graph).executed)
    assert ran == [["1", "2"], [], ["1", "2"]]


def test_preview_declares_no_prefix() -> None:
    assert set(HEADLESS_NODES["PreviewImage"].INPUT_TYPES()["required"]) == {"images"}
    assert set(SaveImage.INPUT_TYPES()["required"]) == {"images", "filename_prefix"}


def test_an_area_is_added_to_a_copy_of_each_entry() -> None:
    pooled = torch.ones(1, 8)
    before = [[torch.zeros(1, 77, 8), {"pooled_output": pooled}]]
    ((entry,),) = ConditioningSetAreaPercentage().append(before, 0.5, 1.0, 0.25, 0.0, 2.0)
    assert entry[0] is before[0][0]
    assert entry[1] == {
        "pooled_output": pooled,
        "area": ("percentage", 1.0, 0.5, 0.0, 0.25),
        "strength": 2.0,
        "set_area_to_bounds": False,
    }
    assert before[0][1] == {"pooled_output": pooled}


def test_a_batch_of_latents_is_repeated_with_its_masks_and_numbers() -> None:
    latent = torch.arange(2.0).reshape(2, 1, 1, 1).expand(2, 4, 2, 2)
    masks = torch.arange(2.0).reshape(2, 1, 1, 1).expand(2, 1, 16, 16)
    (repeated,) = RepeatLatentBatch().repeat({"samples": latent, "noise_mask": masks, "batch_index": [3, 4]}, 2)
    assert repeated["samples"][:, 0, 0, 0].tolist() == [0, 1, 0, 1]
    assert repeated["noise_mask"][:, 0, 0, 0].tolist() == [0, 1, 0, 1]
    assert repeated["batch_index"] == [3, 4, 5, 6]
    (one_mask,) = RepeatLatentBatch().repeat({"samples": latent, "noise_mask": masks[:1]}, 2)
    assert one_mask["noise_mask"].shape == (1, 1, 16, 16)


def test_latents_are_scaled_by_a_factor() -> None:
    latent = torch.rand(1, 4, 3, 5)
    (scaled,) = LatentUpscaleBy().upscale({"samples": latent, "type": "audio"}, "nearest-exact", 2.0)
    assert scaled["type"] == "audio"
    assert torch.equal(scaled["samples"], latent.repeat_interleave(2, -1).repeat_interleave(2, -2))
