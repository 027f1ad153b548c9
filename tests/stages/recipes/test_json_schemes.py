"""JSON of Fooocus and of the programs that descend from it, known by their keys; that of others is refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fooocus_stages.pipelines.errors import BadFile
from fooocus_stages.pipelines.stages.recipes.read_metadata import from_json
from fooocus_stages.pipelines.types import Lora

RUINED: dict[str, Any] = {
    "Prompt": "a fox", "Negative": "blurry", "steps": 25, "cfg": 5, "width": 1344, "height": 768, "seed": 42,
    "sampler_name": "dpmpp_2m", "scheduler": "karras", "base_model_name": "foo.safetensors", "loras": [],
    "start_step": 0, "denoise": None, "clip_skip": 1, "software": "RuinedFooocus",
}  # fmt: skip
PLUS: dict[str, Any] = {
    "ADM Guidance": "(1.5, 0.8, 0.3)", "Backend Engine": "SDXL-Fooocus", "Base Model": "foo.safetensors",
    "CLIP Skip": 1, "Full Negative Prompt": ["blurry"], "Full Prompt": ["a fox"], "Guidance Scale": 5, "LoRAs": [],
    "Metadata Scheme": "Fooocus", "Negative Prompt": "blurry", "Performance": "Speed", "Prompt": "a fox",
    "Resolution": "(1344, 768)", "Sampler": "dpmpp_2m", "Scheduler": "karras", "Seed": "42", "Steps": 25,
    "Styles": "[]", "User": "FooocusPlus", "Version": "FooocusPlus 1.0.0", "styles_definition": "",
}  # fmt: skip
MASHB1T: dict[str, Any] = {
    "prompt": "a fox", "negative_prompt": "blurry", "steps": 25, "resolution": "(1344, 768)", "guidance_scale": 5,
    "base_model": "foo.safetensors", "clip_skip": 1, "sampler": "dpmpp_2m", "scheduler": "karras", "seed": "42",
    "metadata_scheme": False, "version": "Fooocus v2.5.0", "image_number": 1,
}  # fmt: skip
MRE: dict[str, Any] = {
    "prompt": "a fox", "negative_prompt": "blurry", "styles": [], "real_prompt": ["a fox"],
    "real_negative_prompt": ["blurry"], "seed": 42, "width": 1344, "height": 768, "sampler": "dpmpp_2m",
    "scheduler": "karras", "performance": "Speed", "steps": 25, "switch": 20, "sharpness": 2, "cfg": 5,
    "base_clip_skip": -2, "refiner_clip_skip": -2, "base_model": "foo.safetensors", "refiner_model": "None",
    "l1": "None", "w1": 0.5, "freeu": False, "img2img": False, "software": "Fooocus-MRE 2.0.78.5",
}  # fmt: skip
FIRST: dict[str, Any] = {  # Fooocus 2.1 and earlier
    "Prompt": "a fox", "Negative Prompt": "blurry", "Fooocus V2 Expansion": "a fox, fine", "Styles": "['Fooocus V2']",
    "Performance": "Speed", "Steps": 25, "Resolution": "(1344, 768)", "Sharpness": 2.0, "Guidance Scale": 5,
    "ADM Guidance": "(1.5, 0.8, 0.3)", "Base Model": "foo.safetensors", "Refiner Model": "None", "Refiner Switch": 0.5,
    "Sampler": "dpmpp_2m", "Scheduler": "karras", "Seed": 42, "Version": "v2.1.865",
}  # fmt: skip


@pytest.mark.parametrize(
    "values",
    [RUINED, PLUS, MASHB1T, MRE, FIRST],
    ids=["RuinedFooocus", "FooocusPlus", "mashb1t", "Fooocus-MRE", "Fooocus 2.1"],
)
@pytest.mark.parametrize("twice", [False, True])
def test_programs_of_the_family(values: dict[str, Any], twice: bool) -> None:
    text = json.dumps(json.dumps(values)) if twice else json.dumps(values)
    reading = from_json(text)
    info = reading.info
    assert (info.prompt, info.negative_prompt, info.steps, info.seed) == ("a fox", "blurry", 25, 42)
    assert (info.resolution, info.guidance_scale, info.base_model) == ((1344, 768), 5.0, "foo.safetensors")
    assert (info.sampler, info.scheduler, info.loras, reading.left_out) == ("dpmpp_2m", "karras", (), ())


INK = (Lora("ink", 0.5),)


@pytest.mark.parametrize(
    "values", [{**MRE, "l1": "ink", "w1": 0.5, "l2": "None", "w2": 1.0}, {**FIRST, "LoRA [ink] weight": 0.5}]
)
def test_loras_of_earlier_programs(values: dict[str, Any]) -> None:
    reading = from_json(json.dumps(values))
    assert (reading.info.loras, reading.left_out) == (INK, ())


def test_settings_of_fooocus_mre_under_other_names() -> None:
    info = from_json(json.dumps({**MRE, "refiner_model": "fine.safetensors"})).info
    assert (info.clip_skip, info.refiner_model, info.overwrite_switch) == (2, "fine.safetensors", 20)
    assert (info.full_prompt, info.full_negative_prompt) == (("a fox",), ("blurry",))
    assert from_json(json.dumps({**MRE, "freeu": True})).left_out == ("freeu = 'True' should be 4 numbers",)


@pytest.mark.parametrize(
    ("loras", "read"),
    [
        ([["ink", 0.5]], INK),
        ([["ink", 0.5, "0011"]], INK),
        ([["ink", "0.5"]], INK),
        ([[True, "ink", 0.5], [False, "off", 1.0]], INK),
        ([["0011", "0.5 - ink"], ["22", "1 - None"]], INK),
        ([{"name": "ink", "weight": 0.5}], INK),
        ([{"model_name": "ink", "strength": 0.5}, {"name": "off", "weight": 1, "enabled": False}], INK),
        ("Loras:<ink:0.5>,<None:0.5>", INK),
        ("<lora:ink:0.5>", INK),
        (["ink : 0.5", "None : 1.0"], INK),
        ([], ()),
    ],
)
@pytest.mark.parametrize(("values", "key"), [(RUINED, "loras"), (PLUS, "LoRAs"), (MASHB1T, "loras")])
def test_every_shape_of_loras(values: dict[str, Any], key: str, loras: Any, read: tuple[Lora, ...]) -> None:
    reading = from_json(json.dumps({**values, key: loras}))
    assert (reading.info.loras, reading.left_out) == (read, ())


@pytest.mark.parametrize(
    ("entry", "named"), [(["ink", "x"], "'ink'"), ([3, 0.5], "'3'"), ("ink", "'ink'"), ({"weight": 1}, "'None'")]
)
def test_a_wrong_lora_is_skipped(entry: Any, named: str) -> None:
    reading = from_json(json.dumps({**MASHB1T, "loras": [entry, ["pen", 1.0]]}))
    assert reading.info.loras == (Lora("pen", 1.0),)
    (phrase,) = reading.left_out
    assert named in phrase


@pytest.mark.parametrize(("key", "value"), [("seed", -1), ("seed", "x"), ("resolution", "(0, 8)"), ("clip_skip", 99)])
def test_a_wrong_value_is_skipped(key: str, value: Any) -> None:
    reading = from_json(json.dumps({**MASHB1T, key: value}))
    assert (reading.info.prompt, reading.info.steps) == ("a fox", 25)
    (phrase,) = reading.left_out
    assert phrase.startswith(f"{key} = {str(value)!r} should be ")


def test_an_entry_that_nothing_reads_is_named() -> None:
    (phrase,) = from_json(json.dumps({**MASHB1T, "hue": 7, "empty": ""})).left_out
    assert phrase.startswith("hue, ")


@pytest.mark.parametrize(
    ("values", "program"),
    [
        ({"sui_image_params": {"prompt": "a fox"}}, "SwarmUI"),
        ({"1": {"class_type": "KSampler", "inputs": {}}}, "ComfyUI"),
        ({"nodes": [], "links": []}, "ComfyUI"),
        ({"prompt": "a fox", "steps": 28, "seed": 42, "sampler": "k", "uc": "blurry"}, "NovelAI"),
        ({"positive_prompt": "a fox", "seed": 42, "steps": 30}, "InvokeAI"),
        ({"c": "a fox", "loras": [], "seed": 4}, "Draw Things"),
        ({"prompt": "a fox", "use_stable_diffusion_model": "foo"}, "Easy Diffusion"),
        ({"prompt": "a fox", "style_selections": [], "base_model_name": "foo"}, "Fooocus-API"),
        ({"prompt": "a fox", "negativePrompt": "blurry", "cfgScale": 7}, "Tensor.Art"),
        ({"prompt": "a fox", "negative_prompt": "blurry", "cfg_scale": 7, "sampler_index": "Euler"}, "A1111's API"),
        ({"prompt": "a fox", "ckpt": "foo"}, "keys: prompt, ckpt"),
    ],
)
def test_others_are_refused_by_name(values: dict[str, Any], program: str) -> None:
    with pytest.raises(BadFile, match=program):
        from_json(json.dumps(values))
