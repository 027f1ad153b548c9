"""Saved pictures: names, pixels, what is written into them, and what a failure leaves behind."""

import dataclasses
import errno
import hashlib
import json
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from fooocus_stages.pipelines.errors import BadValue, Interrupted, UnknownName, UserError
from fooocus_stages.pipelines.files import file_hash, next_counter
from fooocus_stages.pipelines.host import LocalHost
from fooocus_stages.pipelines.models.handles import Info, Model
from fooocus_stages.pipelines.stages.recipes.describe import picture_info
from fooocus_stages.pipelines.stages.recipes.picture_texts import texts_in
from fooocus_stages.pipelines.stages.recipes.write_metadata import PictureInfo, a1111_text
from fooocus_stages.pipelines.stages.save import place, save_pictures, to_uint8
from fooocus_stages.pipelines.types import Lora, Prompt, SamplingSettings
from PIL import Image

TEXTS = ["a red fox", "a café, \u72d0 in snow \U0001f98a", 'two\nlines: "quoted"', "lone \ud800 surrogate"]
GRAPH = {"1": {"class_type": "FooocusPrompt", "inputs": {"text": "\u72d0"}}}
ADVICE = "make room on that disk, or choose another output folder"
EXTRA = {"workflow": {"nodes": [], "name": "\u72d0"}, "further": [1]}


def text_and_scheme(path: Path) -> tuple[str, str]:
    """The text about an image and the name of its scheme, where Fooocus puts them; '' where there is none."""
    texts = texts_in(path)
    text = texts.get("parameters") or texts.get("UserComment", "")
    return text, texts.get("fooocus_scheme") or texts.get("MakerNote", "")


def host(folder: Path, told: list[str] | None = None) -> LocalHost:
    notes = told if told is not None else []
    return LocalHost([folder / "models"], output=folder / "out", on_notice=notes.append)


def picture(count: int = 1, height: int = 8, width: int = 16) -> torch.Tensor:
    return torch.rand((count, height, width, 3), generator=torch.Generator().manual_seed(0))


def about(text: str = "a red fox", **more: Any) -> PictureInfo:
    return PictureInfo(prompt=text, negative_prompt="", full_prompt=(text,), steps=30, seed=7, **more)


def test_pixels_are_cut_off_not_rounded() -> None:
    values = np.array([-0.5, 0.0, 0.999 / 255, 1.0 / 255, 0.5, 0.9999, 1.0, 2.0, np.inf], np.float32)
    images = np.repeat(values.reshape(1, 1, -1, 1), 3, axis=3)
    assert to_uint8(images)[0, 0, :, 0].tolist() == [0, 0, 0, 1, 127, 254, 255, 255, 255]
    assert (to_uint8(torch.from_numpy(images)) == to_uint8(images)).all()
    assert to_uint8(torch.zeros((1, 2, 2, 3), dtype=torch.bfloat16)).dtype == np.uint8


def test_values_that_are_no_numbers_are_reported() -> None:
    told: list[str] = []
    images = np.array([np.nan, 1.0, 1.0], np.float32).reshape(1, 1, 1, 3)
    assert to_uint8(images, told.append).tolist() == [[[[0, 255, 255]]]]
    assert "NaN" in told[0]


def test_a_picture_without_a_number_is_refused(tmp_path: Path) -> None:
    images = torch.cat([picture(), torch.full_like(picture(), torch.nan)])
    with pytest.raises(BadValue, match="contains only NaN"):
        save_pictures(host(tmp_path), images, "x")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("shape", [(8, 8, 3), (1, 8, 8), (1, 8, 8, 1), (0, 8, 8, 3), (1, 0, 8, 3), (1, 3, 8, 8, 3)])
def test_other_shapes_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(BadValue, match=r"should be \(B, H, W, 3\), not"):
        save_pictures(host(tmp_path), np.zeros(shape, np.float32))


def test_png_keeps_every_pixel_and_the_input(tmp_path: Path) -> None:
    images = picture(2)
    before = images.clone()
    saved = save_pictures(host(tmp_path), images, "a/b/fox")
    assert saved == [
        {"filename": "fox_00001_.png", "subfolder": "a/b", "type": "output"},
        {"filename": "fox_00002_.png", "subfolder": "a/b", "type": "output"},
    ]
    assert torch.equal(images, before)
    for entry, expected in zip(saved, to_uint8(images), strict=True):
        with Image.open(tmp_path / "out" / entry["subfolder"] / entry["filename"]) as image:
            assert (np.asarray(image) == expected).all()


@pytest.mark.parametrize(("format", "kind"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")])
def test_formats_and_transparency(tmp_path: Path, format: str, kind: str) -> None:
    (entry,) = save_pictures(host(tmp_path), torch.rand(1, 8, 8, 4), "x", format, folder="temp")
    assert entry == {"filename": f"x_00001_.{format}", "subfolder": "", "type": "temp"}
    with Image.open(tmp_path / "out" / "temp" / entry["filename"]) as image:
        assert image.format == kind
        assert image.mode == ("RGB" if format == "jpeg" else "RGBA")
        assert bool(image.info.get("progressive")) == (format == "jpeg")


def test_lower_quality_is_smaller(tmp_path: Path) -> None:
    images = picture(1, 64, 64)
    for format in ("jpeg", "webp"):
        sizes = [
            (tmp_path / "out" / save_pictures(host(tmp_path), images, "q", format, q)[0]["filename"]).stat().st_size
            for q in (1, 95)
        ]
        assert sizes[0] < sizes[1]


def test_the_counter_goes_on_after_the_highest(tmp_path: Path) -> None:
    for name in ("x_00003_.png", "x_00041_.webp", "x_00099.png", "xx_00200_.png", "y_00300_.png", "x_7_more.png"):
        (tmp_path / name).touch()
    assert next_counter(tmp_path, "x") == 42
    assert next_counter(tmp_path, "z") == 1
    assert LocalHost(output=tmp_path).folder("output") == tmp_path
    (entry,) = save_pictures(LocalHost(output=tmp_path), picture(), "x")
    assert entry["filename"] == "x_00042_.png"


def test_no_file_of_another_process_is_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fooocus_stages.pipelines.files.next_counter", lambda folder, name: 1)
    names = [save_pictures(host(tmp_path), picture(), "x")[0]["filename"] for _ in range(3)]
    assert names == ["x_00001_.png", "x_00002_.png", "x_00003_.png"]


@pytest.mark.parametrize(
    ("prefix", "folder", "name"),
    [
        ("Fooocus", "", "Fooocus"),
        ("%year%-%month%-%day%/%hour%.%minute%.%second%_%width%x%height%", "2026-02-03", "04.05.06_16x8"),
        ("a/b\\c", "a/b", "c"),
        ("a/../b", "", "b"),
        ("portraits/", "", "portraits"),
        ("", "", "Fooocus"),
        (".", "", "Fooocus"),
        ("  ", "", "Fooocus"),
        ("100%", "", "100%"),
    ],
)
def test_place(tmp_path: Path, prefix: str, folder: str, name: str) -> None:
    now = time.struct_time((2026, 2, 3, 4, 5, 6, 0, 0, 0))
    assert place(tmp_path, prefix, 16, 8, now) == (tmp_path / folder, name)


@pytest.mark.parametrize("prefix", ["..", "../x", "a/../../x", "/etc/x", "..\\x", "a\0b"])
def test_a_prefix_can_not_leave_the_folder(tmp_path: Path, prefix: str) -> None:
    with pytest.raises(BadValue, match="leads out of the folder"):
        save_pictures(host(tmp_path), picture(), prefix)
    assert list(tmp_path.rglob("*.png")) == []


def test_batch_number(tmp_path: Path) -> None:
    saved = save_pictures(host(tmp_path), picture(2), "x%batch_num%")
    assert [entry["filename"] for entry in saved] == ["x0_00001_.png", "x1_00001_.png"]


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("scheme", ["fooocus", "a1111"])
@pytest.mark.parametrize("text", TEXTS)
def test_what_is_written_is_read_back(tmp_path: Path, format: str, scheme: str, text: str) -> None:
    (entry,) = save_pictures(host(tmp_path), picture(), "x", format, 95, scheme, about(text), GRAPH, EXTRA)
    written, found = text_and_scheme(tmp_path / "out" / entry["filename"])
    assert found == scheme
    if scheme == "fooocus":
        assert json.loads(written)["prompt"] == text
    else:
        assert written.startswith(text.replace("\ud800", "?") + "\nSteps: 30, Seed: 7, Raw prompt: ")
        assert written.endswith("Version: Fooocus Stages")


def test_png_chunks(tmp_path: Path) -> None:
    (entry,) = save_pictures(host(tmp_path), picture(), info=about("\u72d0"), prompt=GRAPH, extra_pnginfo=EXTRA)
    with Image.open(tmp_path / "out" / entry["filename"]) as image:
        chunks = dict(image.info)
    assert list(chunks) == ["parameters", "fooocus_scheme", "prompt", "workflow", "further"]
    assert chunks["fooocus_scheme"] == "fooocus"
    assert json.loads(chunks["prompt"]) == GRAPH
    assert json.loads(chunks["workflow"]) == EXTRA["workflow"]


def test_webp_tags(tmp_path: Path) -> None:
    (entry,) = save_pictures(host(tmp_path), picture(), "x", "webp", info=about(), prompt=GRAPH, extra_pnginfo=EXTRA)
    with Image.open(tmp_path / "out" / entry["filename"]) as image:
        exif = image.getexif()
    assert exif[0x0110] == "prompt:" + json.dumps(GRAPH)
    assert exif[0x010F] == "workflow:" + json.dumps(EXTRA["workflow"])
    assert exif[0x010E] == "further:[1]"
    assert exif[0x0131] == "Fooocus Stages"
    assert exif[0x927C] == "fooocus"


def test_jpeg_tags(tmp_path: Path) -> None:
    (entry,) = save_pictures(host(tmp_path), picture(), "x", "jpeg", info=about(version="Fooocus v2.5.5"))
    with Image.open(tmp_path / "out" / entry["filename"]) as image:
        exif = image.getexif()
    assert (exif[0x0131], exif[0x927C]) == ("Fooocus v2.5.5", "fooocus")
    assert json.loads(exif[0x9286])["prompt"] == "a red fox"


def test_a_text_too_long_for_jpeg_does_not_cost_the_picture(tmp_path: Path) -> None:
    told: list[str] = []
    (entry,) = save_pictures(host(tmp_path, told), picture(), "x", "jpeg", info=about("fox " * 20000))
    assert text_and_scheme(tmp_path / "out" / entry["filename"]) == ("", "")
    assert "too long for jpeg" in told[0]


class Silent(LocalHost):
    embeds_metadata = False


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_nothing_is_embedded_if_metadata_is_off(tmp_path: Path, format: str) -> None:
    quiet = Silent(output=tmp_path / "out")
    save_pictures(quiet, picture(), "x", format, info=about(), prompt=GRAPH, extra_pnginfo=EXTRA)
    save_pictures(host(tmp_path), picture(), "x", format, scheme="none", info=about())
    for file in (tmp_path / "out").iterdir():
        with Image.open(file) as image:
            assert not {"parameters", "fooocus_scheme", "prompt", "workflow"} & set(image.info)
            assert not image.getexif()
    model = Model(SimpleNamespace(), "sdxl")  # type: ignore[arg-type]
    assert picture_info(quiet, picture(), Info(model, SamplingSettings(), 1, 16, 8)) is None


def test_each_picture_can_have_its_own_text(tmp_path: Path) -> None:
    saved = save_pictures(host(tmp_path), picture(2), "x", info=[about("one"), about("two")])
    texts = [text_and_scheme(tmp_path / "out" / entry["filename"])[0] for entry in saved]
    assert [json.loads(text)["prompt"] for text in texts] == ["one", "two"]
    with pytest.raises(BadValue, match="3 sets of parameters for 2 images"):
        save_pictures(host(tmp_path), picture(2), "x", info=[about()] * 3)


def test_each_picture_of_a_batch_has_its_seed(tmp_path: Path) -> None:
    for seed, expected in ((7, ["7", "8", "9"]), (2**63 - 2, [str(2**63 - 2), str(2**63 - 1), "0"])):
        saved = save_pictures(host(tmp_path), picture(3), "x", info=PictureInfo(prompt="fox", seed=seed))
        texts = [text_and_scheme(tmp_path / "out" / entry["filename"])[0] for entry in saved]
        assert [json.loads(text)["seed"] for text in texts] == expected


def test_hashes_of_the_files(tmp_path: Path) -> None:
    for kind, name in (("checkpoints", "base.safetensors"), ("loras", "ink.safetensors")):
        (tmp_path / "models" / kind).mkdir(parents=True)
        (tmp_path / "models" / kind / name).write_bytes(name.encode())
    loras = (Lora("ink.safetensors", 0.1), Lora("gone.safetensors", 1.0))
    info = about(base_model="base.safetensors", loras=loras)
    (entry,) = save_pictures(host(tmp_path), picture(), "x", info=info)
    written = json.loads(text_and_scheme(tmp_path / "out" / entry["filename"])[0])
    assert written["base_model_hash"] == hashlib.sha256(b"base.safetensors").hexdigest()[:10]
    assert written["loras"] == [
        ["ink", 0.1, hashlib.sha256(b"ink.safetensors").hexdigest()[:10]],
        ["gone", 1.0, ""],
    ]


def test_a_hash_is_remembered_until_the_file_changes(tmp_path: Path) -> None:
    reads: list[None] = []
    path = tmp_path / "file"
    path.write_bytes(b"one")
    keep = LocalHost().keep
    first = file_hash(path, keep, lambda: reads.append(None))
    assert file_hash(path, keep, lambda: reads.append(None)) == first == hashlib.sha256(b"one").hexdigest()[:10]
    assert len(reads) == 1
    path.write_bytes(b"other")
    assert file_hash(path, keep) == hashlib.sha256(b"other").hexdigest()[:10]


def fail_with(error: BaseException) -> Any:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise error

    return fail


@pytest.mark.parametrize("where", ["os.fsync", "pathlib.Path.replace", "PIL.Image.Image.save"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, error: BaseException
) -> None:
    monkeypatch.setattr(where, fail_with(error))
    with pytest.raises(BaseException) as caught:
        save_pictures(host(tmp_path), picture(), "x")
    assert list((tmp_path / "out").iterdir()) == []
    if isinstance(error, OSError):
        assert isinstance(caught.value, UserError)
        assert str(caught.value) == f"a picture can't be saved in {tmp_path / 'out'}: No space left on device; {ADVICE}"


def test_a_folder_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"can't be saved in .*out"):
        save_pictures(host(tmp_path), picture(), "x")
    assert (tmp_path / "out").read_text() == "a file where the folder should be"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a user whom permissions bind")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir(mode=0o500)
    with pytest.raises(UserError, match="Permission denied"):
        save_pictures(host(tmp_path), picture(), "x")


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="can't be saved in"):
        save_pictures(host(tmp_path), picture(), "x" * 300)
    assert list((tmp_path / "out").iterdir()) == []


def test_an_interrupt_between_pictures_keeps_the_whole_ones(tmp_path: Path) -> None:
    calls = iter([None, Interrupted()])

    class Stopping(LocalHost):
        def check_interrupted(self) -> None:
            if error := next(calls):
                raise error

    with pytest.raises(Interrupted):
        save_pictures(Stopping(output=tmp_path), picture(3), "x")
    assert [file.name for file in tmp_path.iterdir()] == ["x_00001_.png"]


def test_bad_settings(tmp_path: Path) -> None:
    for wrong, words in (
        ({"format": "gif"}, "choose one of png, jpeg, webp"),
        ({"scheme": "json"}, "choose one of fooocus, a1111, none"),
        ({"quality": 0}, "quality is 0"),
    ):
        with pytest.raises(BadValue, match=words):
            save_pictures(host(tmp_path), picture(), "x", **wrong)  # type: ignore[arg-type]
    with pytest.raises(UnknownName, match="did you mean 'png'"):
        save_pictures(host(tmp_path), picture(), "x", "pgn")
    (entry,) = save_pictures(host(tmp_path), picture(), "x", " PNG", scheme="A1111")
    assert entry["filename"].endswith(".png")
    with pytest.raises(BadValue, match="at most 16383 pixels"):
        save_pictures(host(tmp_path), np.zeros((1, 1, 16384, 3), np.float32), "x", "webp")


def test_picture_info(tmp_path: Path) -> None:
    prompt = Prompt(("sharp fox", "E"), ("bad",), 1, 1, 5, "fox", "bad", ("Fooocus V2", "Sharp"), "E")
    settings = SamplingSettings(performance="Lightning", steps=4, cfg=1.0)
    model = Model(
        SimpleNamespace(),  # type: ignore[arg-type]
        "sdxl",
        name="base.safetensors",
        vae_name="Default (model)",
        loras=(Lora("a.safetensors", 1.0),),
    )
    info = picture_info(host(tmp_path), picture(), Info(model, settings, 5, 16, 8, prompt, clip_skip=2))
    assert info is not None
    assert info.resolution == (16, 8)
    assert (info.prompt, info.full_prompt, info.seed) == ("fox", ("sharp fox", "E"), 5)
    assert (info.steps, info.guidance_scale, info.refiner_switch) == (4, 1.0, 1.0)
    assert (info.base_model, info.vae, info.loras) == ("base.safetensors", "Default (model)", model.loras)
    assert picture_info(host(tmp_path), picture(), None) is None
    unread = picture_info(host(tmp_path), picture(), Info(model, settings, 5, 16, 8))
    assert unread is not None
    assert (unread.prompt, unread.clip_skip) == (None, 1)
    assert "Seed: 5" in a1111_text(unread, lambda kind, name: None)
    assert {field.name for field in dataclasses.fields(info)} > {"styles", "freeu", "home"}
