"""Presets: the published values, the user's own files, and every rule of validity with its sentence."""

import json
from pathlib import Path
from typing import Any

import pytest
from fooocus_stages.pipelines.errors import BadFile, BadValue, UnknownName
from fooocus_stages.pipelines.host import LocalHost
from fooocus_stages.pipelines.stages.recipes import presets
from fooocus_stages.pipelines.stages.recipes.recipe import Recipe, outputs
from fooocus_stages.pipelines.types import Lora

V2 = "Fooocus V2"
STYLES = ("Photograph", "Negative", "Semi Realistic", "Masterpiece", "Cinematic", "Pony")
PUBLISHED = {  # model, refiner, switch, loras, cfg, sampler, scheduler, performance, styles, size
    "default": ("juggernautXL_v8Rundiffusion", "", 0.5, [("sd_xl_offset_example-lora_1.0", 0.1)], 4.0,
                "dpmpp_2m_sde_gpu", "karras", "Speed", (V2, "Fooocus Enhance", "Fooocus Sharp"), (1152, 896)),
    "realistic": ("realisticStockPhoto_v20", "", 0.5, [("SDXL_FILM_PHOTOGRAPHY_STYLE_V1", 0.25)], 3.0,
                  "dpmpp_2m_sde_gpu", "karras", "Speed", (V2, "Fooocus Photograph", "Fooocus Negative"), (896, 1152)),
    "anime": ("animaPencilXL_v500", "", 0.5, [], 6.0, "dpmpp_2m_sde_gpu", "karras", "Speed",
              (V2, "Fooocus Semi Realistic", "Fooocus Masterpiece"), (896, 1152)),
    "lcm": ("juggernautXL_v8Rundiffusion", "", 0.5, [], 4.0, "dpmpp_2m_sde_gpu", "karras", "Extreme Speed",
            (V2, "Fooocus Enhance", "Fooocus Sharp"), (1152, 896)),
    "lightning": ("juggernautXL_v8Rundiffusion", "", 0.5, [], 4.0, "dpmpp_2m_sde_gpu", "karras", "Lightning",
                  (V2, "Fooocus Enhance", "Fooocus Sharp"), (1152, 896)),
    "sai": ("sd_xl_base_1.0_0.9vae", "sd_xl_refiner_1.0_0.9vae", 0.75, [("sd_xl_offset_example-lora_1.0", 0.5)], 7.0,
            "dpmpp_2m_sde_gpu", "karras", "Speed", (V2, "Fooocus Cinematic"), (1152, 896)),
    "playground_v2.5": ("playground-v2.5-1024px-aesthetic.fp16", "", 0.5, [], 2.0, "dpmpp_2m", "edm_playground_v2.5",
                        "Speed", (V2,), (1024, 1024)),
    "pony_v6": ("ponyDiffusionV6XL", "", 0.5, [], 7.0, "dpmpp_2m_sde_gpu", "karras", "Speed", ("Fooocus Pony",),
                (896, 1152)),
}  # fmt: skip


class Host(LocalHost):
    """A host on a folder as Fooocus has it: models, sdxl_styles and presets side by side."""

    def __init__(self, folder: Path) -> None:
        self.told: list[str] = []
        for name in ("models/checkpoints", "models/loras", "models/vae", "sdxl_styles", "presets"):
            (folder / name).mkdir(parents=True)
        styles = [{"name": f"fooocus-{name}", "prompt": "{prompt}"} for name in STYLES]
        (folder / "sdxl_styles" / "sdxl_styles_fooocus.json").write_text(json.dumps(styles))
        super().__init__([folder], on_notice=self.told.append)
        self.presets = folder / "presets"
        self.models = folder / "models"

    def write(self, name: str, content: Any) -> str:
        text = content if isinstance(content, str) else json.dumps(content)
        (self.presets / f"{name}.json").write_text(text, encoding="utf-8")
        return name


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_values(host: Host, name: str) -> None:
    model, refiner, switch, loras, cfg, sampler, scheduler, performance, styles, size = PUBLISHED[name]
    recipe = presets.of_preset(host, name)
    assert recipe.checkpoint == f"{model}.safetensors"
    assert (recipe.refiner, recipe.refiner_switch) == (f"{refiner}.safetensors" if refiner else "None", switch)
    assert recipe.loras == tuple(Lora(f"{file}.safetensors", weight) for file, weight in loras)
    settings = recipe.settings
    assert (settings.cfg, settings.sharpness, settings.sampler, settings.scheduler) == (cfg, 2.0, sampler, scheduler)
    assert (settings.performance, recipe.styles, (recipe.width, recipe.height)) == (performance, styles, size)
    engine = "None" if name in ("playground_v2.5", "pony_v6") else "v2.6"
    assert (recipe.inpaint_engine, recipe.clip_skip, recipe.text, recipe.negative) == (engine, 2, "", "")
    assert recipe.vae == ("ponyDiffusionV6XL_vae.safetensors" if name == "pony_v6" else "Default (model)")


def test_names_are_the_users_first_and_once(host: Host) -> None:
    assert presets.names(host) == list(PUBLISHED)
    for name in ("zebra", "anime"):
        host.write(name, {"default_cfg_scale": 5.5})
    assert presets.names(host) == ["anime", "zebra", *(n for n in PUBLISHED if n != "anime")]
    assert presets.of_preset(host, "anime").settings.cfg == 5.5


def test_what_a_preset_does_not_set_is_as_in_default(host: Host) -> None:
    assert presets.of_preset(host, host.write("empty", {})) == presets.of_preset(host, "default")
    assert presets.of_preset(host, "default").settings == Recipe().settings


def test_every_key(host: Host) -> None:
    for kind, name in (("checkpoints", "a/own.safetensors"), ("vae", "b/soft.pt"), ("loras", "c/ink.safetensors")):
        (host.models / kind / name).parent.mkdir(exist_ok=True)
        (host.models / kind / name).touch()
    preset = {
        "default_model": "own.safetensors",
        "default_refiner": "",
        "default_loras": [
            ["ink", 0.5],
            [True, None, 1.0],
            [False, "off.safetensors", 1.0],
            ["None", 1],
            [True, "x.pt", -2],
        ],
        "default_cfg_tsnr": 5,
        "default_clip_skip": 1,
        "default_overwrite_step": 17,
        "default_overwrite_switch": 9,
        "default_image_number": 4,
        "default_prompt": "a fox",
        "default_prompt_negative": "blurry",
        "default_styles": [],
        "default_vae": "soft.pt",
        "previous_default_models": [],
        "checkpoint_downloads": {},
        "default_output_format": "webp",
        "nonsense": 1,
    }
    recipe = presets.of_preset(host, host.write("mine", preset))
    assert (recipe.checkpoint, recipe.refiner, recipe.vae) == ("a/own.safetensors", "None", "b/soft.pt")
    assert recipe.loras == (Lora("c/ink.safetensors", 0.5), Lora("x.pt", -2.0))
    assert (recipe.settings.adaptive_cfg, recipe.settings.steps, recipe.clip_skip) == (5.0, 17, 1)
    assert (recipe.refiner_step, recipe.num_images, recipe.styles) == (9, 4, ())
    assert (recipe.text, recipe.negative) == ("a fox", "blurry")
    assert outputs(recipe)[5:8] == ("Speed", 17, "1152×896")
    strange, missing = host.told
    assert strange == "the preset 'mine' has keys without effect here: default_output_format, nonsense"
    assert "loras file 'x.pt'" in missing


def test_the_modes_own_lora_and_steps_are_left_to_the_mode(host: Host) -> None:
    preset = {
        "default_performance": "Hyper-SD",
        "default_overwrite_step": 4,
        "default_loras": [[True, "sdxl_hyper_sd_4step_lora.safetensors", 0.8], [True, "other.safetensors", 1.0]],
    }
    recipe = presets.of_preset(host, host.write("fast", preset))
    assert recipe.loras == (Lora("other.safetensors", 1.0),)
    assert outputs(recipe)[5:7] == ("Hyper-SD", -1)


def test_an_earlier_model_is_a_substitute(host: Host) -> None:
    (host.models / "checkpoints" / "old.safetensors").touch()
    preset = {"default_model": "new.safetensors", "previous_default_models": ["older.safetensors", "old.safetensors"]}
    assert presets.of_preset(host, host.write("p", preset)).checkpoint == "old.safetensors"
    assert "'new.safetensors'" in host.told[-1]
    assert "'old.safetensors'" in host.told[-1]
    (host.models / "checkpoints" / "new.safetensors").touch()
    assert presets.of_preset(host, "p").checkpoint == "new.safetensors"


@pytest.mark.parametrize("name", ["Low\\New.safetensors", "low/new", "C:\\models\\LOW\\new.safetensors", "new"])
def test_a_presets_own_model_in_any_spelling_goes_before_an_older_one(host: Host, name: str) -> None:
    for file in (
        "checkpoints/low/new.safetensors",
        "checkpoints/old.safetensors",
        "loras/fast/SDXL_LCM_LoRA.safetensors",
    ):
        (host.models / file).parent.mkdir(exist_ok=True)
        (host.models / file).touch()
    preset = {
        "default_model": name,
        "previous_default_models": ["old.safetensors"],
        "default_performance": "extreme speed",
        "default_loras": [[True, "fast\\SDXL_LCM_LoRA.safetensors", 1.0], [True, "ink", 1.0]],
    }
    recipe = presets.of_preset(host, host.write("p", preset))
    assert (recipe.checkpoint, recipe.settings.performance) == ("low/new.safetensors", "Extreme Speed")
    assert [lora.name for lora in recipe.loras] == ["ink"]  # the mode adds its own


@pytest.mark.parametrize(
    ("size", "given"),
    [
        ("1344*756", ("custom", 1344, 756)),
        ("1920×1080", ("custom", 1920, 1080)),
        ("1024x1024", ("1024×1024", 1024, 1024)),
        ("896 X 1152", ("896×1152", 896, 1152)),
        ("1344*768 | 7:4", ("1344×768", 1344, 768)),
        ('1152×896 <span style="color: grey;"> \u2223 9:7</span>', ("1152×896", 1152, 896)),
        ([1000, 640], ("custom", 1000, 640)),
        ("0*0", ("1152×896", 1152, 896)),
    ],
)
def test_any_size(host: Host, size: Any, given: tuple[str, int, int]) -> None:
    recipe = presets.of_preset(host, host.write("p", {"default_aspect_ratio": size}))
    assert outputs(recipe)[7:10] == given
    assert any("0*0" in note for note in host.told) == (size == "0*0")


@pytest.mark.parametrize(
    ("key", "value", "wants"),
    [
        ("default_model", None, "the name of a checkpoint file"),
        ("default_model", 3, "the name of a checkpoint file"),
        ("default_refiner", [], "a text"),
        ("default_refiner_switch", 1.5, "a number from 0 to 1"),
        ("default_refiner_switch", None, "a number from 0 to 1"),
        ("default_loras", "x", "a list of entries [true, file, weight]"),
        ("default_loras", [["x"]], "a list of entries [true, file, weight]"),
        ("default_loras", [[1, "x", 1.0]], "a list of entries [true, file, weight]"),
        ("default_loras", [["x", 11]], "a number from -10 to 10"),
        ("default_loras", [[True, "x", "y"]], "a number from -10 to 10"),
        ("default_cfg_scale", True, "a number"),
        ("default_sample_sharpness", {}, "a number"),
        ("default_clip_skip", 13, "a whole number from 1 to 12"),
        ("default_sampler", "eular", "one of euler, euler_ancestral"),
        ("default_scheduler", "", "one of normal, karras"),
        ("default_overwrite_step", 2.5, "a whole number from -1 to 200"),
        ("default_performance", "Fast", "one of Quality, Speed, Extreme Speed"),
        ("default_image_number", 0, "a whole number from 1 to 32"),
        ("default_prompt", 3, "a text"),
        ("default_styles", [3], "a list of names"),
        ("default_aspect_ratio", "1000", "a size such as 1152*896"),
        ("default_aspect_ratio", "32*1000", "a size such as 1152*896"),
        ("default_aspect_ratio", "99999*99999", "a size such as 1152*896"),
        ("default_aspect_ratio", [1152], "a size such as 1152*896"),
        ("default_aspect_ratio", "7:4", "a size such as 1152*896"),
        ("default_inpaint_engine_version", "v3", "one of None, v1, v2.5, v2.6"),
    ],
)
def test_values_that_are_refused(host: Host, key: str, value: Any, wants: str) -> None:
    with pytest.raises(BadValue) as caught:
        presets.of_preset(host, host.write("mine", {key: value}))
    assert str(caught.value).startswith(f"preset 'mine': {key} is ")
    assert f", but should be {wants}" in str(caught.value)


def test_styles_must_be_there(host: Host) -> None:
    with pytest.raises(BadValue, match=r"preset 'mine': default_styles: unknown style 'Fooocus Ponny' .*did you mean"):
        presets.of_preset(host, host.write("mine", {"default_styles": ["Fooocus V2", "Fooocus Ponny"]}))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[1]", "should hold an object"),
        (" " * (2**20 + 1), "too large"),
    ],
)
def test_broken_files(host: Host, content: str, words: str) -> None:
    with pytest.raises(BadFile, match=words) as caught:
        presets.of_preset(host, host.write("mine", content))
    assert "mine.json" in str(caught.value)


def test_unknown_names_are_reported_with_near_ones(host: Host) -> None:
    with pytest.raises(UnknownName, match=r"unknown preset 'realistik' \(did you mean 'realistic'"):
        presets.of_preset(host, "realistik")


def test_a_stamp_changes_with_the_file(host: Host) -> None:
    before = presets.stamp(host, host.write("mine", {"default_cfg_scale": 2}))
    assert presets.stamp(host, "mine") == before
    assert presets.stamp(host, host.write("mine", {"default_cfg_scale": 3})) != before


@pytest.mark.parametrize("asked", ["mine", "Mine.json", "MINE.JSON", "own/mine", "own\\mine.json", "mine "])
def test_a_preset_by_its_file_name_and_in_a_subfolder(host: Host, asked: str) -> None:
    (host.presets / "own").mkdir()
    host.write("own/mine", {"default_cfg_scale": 6.5, "default_styles": []})
    assert presets.of_preset(host, asked).settings.cfg == 6.5


def test_a_file_in_a_subfolder_does_not_take_the_name_of_a_bundled_preset(host: Host) -> None:
    (host.presets / "own").mkdir()
    host.write("own/lcm", {"default_cfg_scale": 6.5, "default_styles": []})
    assert presets.of_preset(host, "lcm").settings.performance == "Extreme Speed"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_files_of_windows_editors(host: Host, encoding: str) -> None:
    text = json.dumps({"default_prompt": "café", "default_styles": []}, ensure_ascii=False)
    (host.presets / "mine.json").write_bytes(text.encode(encoding))
    assert presets.of_preset(host, "mine").text == "café"


def test_a_file_in_another_encoding_is_refused_by_that(host: Host) -> None:
    (host.presets / "mine.json").write_bytes('{"default_prompt": "café"}'.encode("cp1252"))
    with pytest.raises(BadFile, match=r"mine\.json is not in UTF-8"):
        presets.of_preset(host, "mine")


@pytest.mark.parametrize(
    "entry",
    [
        [True, "ink", 0.5],
        ["ink", 0.5],
        ["True", "ink", "0.5"],
        ["true", "ink", 0.5],
        "ink : 0.5",
        "True : ink : 0.5",
        {"name": "ink", "weight": 0.5},
    ],
)
def test_shapes_of_loras(host: Host, entry: Any) -> None:
    values = {"default_loras": [entry, ["none", 1.0], ["false", "off", 1.0]], "default_styles": []}
    assert presets.of_preset(host, host.write("mine", values)).loras == (Lora("ink", 0.5),)


@pytest.mark.parametrize("name", ["fooocus v2", "FOOOCUS V2", "Fooocus V2"])
def test_pseudo_styles_in_any_spelling(host: Host, name: str) -> None:
    assert presets.of_preset(host, host.write("mine", {"default_styles": [name]})).styles == (name,)
