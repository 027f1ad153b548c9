"""What a picture's text comes to on a host: files by stem, unknown names told, the pocket model known by its hash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fooocus_stages.pipelines.errors import BadFile
from fooocus_stages.pipelines.files import file_hash
from fooocus_stages.pipelines.host import POCKET, LocalHost
from fooocus_stages.pipelines.stages.recipes.from_picture import of_info, of_picture
from fooocus_stages.pipelines.stages.recipes.recipe import Recipe, host_file, outputs
from fooocus_stages.pipelines.stages.recipes.write_metadata import PictureInfo
from fooocus_stages.pipelines.types import FreeU, Lora, SamplingSettings
from PIL import Image
from PIL.PngImagePlugin import PngInfo

POCKET_FILE = "juggernautXL_v8Rundiffusion.safetensors"


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def host(tmp_path: Path, told: list[str]) -> LocalHost:
    for kind, name in (
        ("checkpoints", "sub/base model.safetensors"),
        ("checkpoints", "play-v2.5.fp16.safetensors"),
        ("checkpoints", POCKET_FILE),
        ("loras", "a/ink.safetensors"),
        ("loras", "b/pen.pt"),
        ("vae", "soft.safetensors"),
    ):
        (tmp_path / kind / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / kind / name).write_bytes(name.encode())
    return LocalHost([tmp_path], on_notice=told.append)


def test_an_empty_text_is_fooocus_as_it_starts(host: LocalHost, told: list[str]) -> None:
    recipe = of_info(host, PictureInfo())
    assert (recipe.settings, recipe.loras, recipe.styles) == (SamplingSettings(), (), ())
    assert (recipe.width, recipe.height, recipe.vae, recipe.refiner) == (1152, 896, "Default (model)", "None")
    assert (recipe.clip_skip, told) == (1, [])


@pytest.mark.parametrize(
    ("kind", "name", "file"),
    [
        ("checkpoints", "base model", "sub/base model.safetensors"),
        ("checkpoints", "sub/base model.safetensors", "sub/base model.safetensors"),
        ("checkpoints", "elsewhere\\base model.safetensors", "sub/base model.safetensors"),
        ("checkpoints", "play-v2.5.fp16", "play-v2.5.fp16.safetensors"),
        ("loras", "ink", "a/ink.safetensors"),
        ("loras", "pen.pt", "b/pen.pt"),
    ],
)
def test_files_by_name_and_stem(host: LocalHost, told: list[str], kind: str, name: str, file: str) -> None:
    assert (host_file(host, kind, name), told) == (file, [])


def test_a_missing_file_is_passed_on_with_a_notice(host: LocalHost, told: list[str]) -> None:
    info = PictureInfo(base_model="gone", vae="lost", refiner_model="away", loras=(Lora("off", 0.5),))
    recipe = of_info(host, info)
    assert (recipe.checkpoint, recipe.vae, recipe.refiner, recipe.loras) == ("gone", "lost", "away", info.loras)
    assert [note.split(" is missing")[0] for note in told] == [
        "the checkpoints file 'gone'",
        "the loras file 'off'",
        "the vae file 'lost'",
        "the checkpoints file 'away'",
    ]


@pytest.mark.parametrize("vae", [None, "", "None", "Automatic", "Default (model)"])
def test_the_checkpoints_own_vae(host: LocalHost, told: list[str], vae: str | None) -> None:
    assert (of_info(host, PictureInfo(vae=vae)).vae, told) == ("Default (model)", [])
    assert of_info(host, PictureInfo(vae="soft")).vae == "soft.safetensors"


def test_the_pocket_model_is_known_by_its_hash(host: LocalHost, told: list[str]) -> None:
    of_pocket = file_hash(POCKET / "checkpoints" / POCKET_FILE, LocalHost().keep)
    lora = Lora("SDXL_FILM_PHOTOGRAPHY_STYLE_V1", 0.5)
    recipe = of_info(host, PictureInfo(base_model=Path(POCKET_FILE).stem, base_model_hash=of_pocket, loras=(lora,)))
    assert recipe.checkpoint == "pocket"
    assert (recipe.loras, told) == ((Lora("SDXL_FILM_PHOTOGRAPHY_STYLE_V1.safetensors", 0.5),), [])
    for digest in (None, "0123456789"):
        info = PictureInfo(base_model=Path(POCKET_FILE).stem, base_model_hash=digest)
        assert of_info(host, info).checkpoint == POCKET_FILE


def test_unknown_choices_are_reported_and_keep_their_defaults(host: LocalHost, told: list[str]) -> None:
    info = PictureInfo(performance="Warp", sampler="PLMS", scheduler="bent", refiner_swap_method="none", steps=11)
    recipe = of_info(host, info)
    assert recipe.settings == SamplingSettings(steps=11)
    assert recipe.refiner_swap == "joint"
    assert len(told) == 4
    assert "'Warp'" in told[0]
    assert "'Speed'" in told[0]


@pytest.mark.parametrize(
    ("performance", "steps", "overwrite"),
    [("Speed", 30, -1), ("Speed", 60, 60), ("Quality", 60, -1), ("Hyper-SD", 4, -1), ("Lightning", 8, 8)],
)
def test_steps_of_the_mode_are_no_override(host: LocalHost, performance: str, steps: int, overwrite: int) -> None:
    own = Lora("sdxl_hyper_sd_4step_lora", 0.8)
    recipe = of_info(host, PictureInfo(performance=performance, steps=steps, loras=(own, Lora("ink", 1.0))))
    assert outputs(recipe)[6] == overwrite
    kept = () if performance == "Hyper-SD" else (own,)
    assert recipe.loras == (*kept, Lora("a/ink.safetensors", 1.0))


@pytest.mark.parametrize(
    ("about", "text", "negative", "notices"),
    [
        ({"prompt": "fox", "negative_prompt": "dim", "styles": ("A",), "full_prompt": ("ink fox",)}, "fox", "dim", 0),
        ({"prompt": "fox", "full_prompt": ("ink fox",), "full_negative_prompt": ("b", "c")}, "ink fox", "b, c", 1),
        ({"prompt": "fox", "negative_prompt": "", "full_prompt": ("fox",)}, "fox", "", 0),
        ({"prompt": "fox"}, "fox", "", 0),
        ({}, "", "", 0),
    ],
)
def test_texts(host: LocalHost, told: list[str], about: dict[str, Any], text: str, negative: str, notices: int) -> None:
    recipe = of_info(host, PictureInfo(**about))
    assert (recipe.text, recipe.negative, len(told)) == (text, negative, notices)


@pytest.mark.parametrize(
    ("about", "expected"),
    [({"version": "Fooocus v2.5.5"}, True), ({"as_fooocus": True}, True), ({}, False), ({"version": "v1.9.4"}, False)],
)
def test_schedules_are_sampled_as_by_the_program_that_wrote_them(
    host: LocalHost, about: dict[str, Any], expected: bool
) -> None:
    recipe = of_info(host, PictureInfo(prompt="a fox", scheduler="turbo", **about))
    assert recipe.settings.as_fooocus is expected


def test_outputs() -> None:
    listed = outputs(Recipe(width=832, height=1216, styles=("A", "B"), freeu=FreeU(1.1, 1.2, 0.9, 0.8)))
    assert (listed[2], listed[7:10]) == ("A, B", ("832×1216", 832, 1216))
    assert listed[17:21] == (1.1, 1.2, 0.9, 0.8)
    free = outputs(Recipe(width=833, height=1216))
    assert (free[7:10], free[17:21]) == (("custom", 833, 1216), (1.0, 1.0, 1.0, 1.0))


def test_a_picture_gives_its_recipe_and_its_text(host: LocalHost, tmp_path: Path) -> None:
    text = "a fox\nSteps: 12, Sampler: Euler a, CFG scale: 6, Seed: 5, Size: 640x960, Model: base model"
    chunks = PngInfo()
    chunks.add_text("parameters", text)
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png", pnginfo=chunks)
    recipe, found = of_picture(host, tmp_path / "x.png")
    assert (found, recipe.text, recipe.checkpoint, recipe.seed) == (text, "a fox", "sub/base model.safetensors", 5)
    settings = SamplingSettings(steps=12, sampler="euler_ancestral", scheduler="normal", cfg=6.0)
    assert (recipe.settings, recipe.clip_skip, recipe.width, recipe.height) == (settings, 2, 640, 960)
    Image.new("RGB", (4, 4)).save(tmp_path / "y.png")
    with pytest.raises(BadFile, match=r"y\.png contains no generation parameters"):
        of_picture(host, tmp_path / "y.png")
