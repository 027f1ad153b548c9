"""Parameter texts, cut at their known keys wherever they stand."""

from __future__ import annotations

import pytest
from fooocus_stages.pipelines.stages.recipes.infotext import pairs_in, parse
from fooocus_stages.pipelines.stages.recipes.read_metadata import from_a1111
from fooocus_stages.pipelines.types import Lora
from hypothesis import given
from hypothesis import strategies as st

LINE = "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 42, Size: 512x768"
CIVITAI = (
    "Steps: 30, CFG scale: 7, Sampler: Euler a, Seed: 42, Size: 512x768, Created Date: 2024-11-02T12:30:15Z, "
    'Civitai resources: [{"type":"lora","weight":0.8,"modelName":"ink, Seed: 9"}], Civitai metadata: {}'
)


@pytest.mark.parametrize(
    "text",
    [
        f"a fox\nNegative prompt: blurry\n{LINE}",
        f"a fox\r\nNegative prompt: blurry\r\n{LINE}\r\n",
        f"a fox\nNegative prompt: blurry\n{LINE}\nTemplate: __animal__\nNegative Template: blurry",
        f"a fox\n{LINE}\nNegative prompt: blurry",
        f"a fox Negative prompt: blurry {LINE}",
        "a fox\nNegative prompt: blurry\nSeed: 42, Size: 512x768, Steps: 20, CFG scale: 7, Sampler: Euler a",
        "a fox\nNegative Prompt: blurry\nsteps: 20, sampler: Euler a, CFG Scale: 7.0, seed: 42, size: 512 x 768",
        "a fox\nNegative prompt: blurry\nApp: X, Steps: 20, Seed: 42, Size: 512x768, Sampler: Euler a, CFG scale: 7",
        "a fox\nNegative prompt: blurry\nSteps: 20\nSampler: Euler a\nCFG scale: 7\nSeed: 42\nSize: 512x768",
        "a fox\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a\nCFG scale: 7, Seed: 42, Size: 512x768",
        "a fox\nNegative prompt: blurry\nSteps: 20 | Sampler: Euler a | CFG scale: 7 | Seed: 42 | Size: 512x768",
        f"a fox\nNegative prompt: blurry\n{CIVITAI.replace('30,', '20,')}",
    ],
)
def test_the_settings_wherever_they_are(text: str) -> None:
    info = from_a1111(text).info
    assert (info.prompt, info.negative_prompt) == ("a fox", "blurry")
    assert (info.steps, info.seed, info.guidance_scale, info.resolution) == (20, 42, 7.0, (512, 768))
    assert info.sampler == "euler_ancestral"


@pytest.mark.parametrize(
    "text",
    ["a fox: red, small", "portrait, style: ink, mood: calm, light: low", "Model: a woman", "", "12:30, a clock"],
)
def test_a_prompt_is_no_line_of_settings(text: str) -> None:
    assert parse(text).pairs == {}
    assert parse(text).positive == text


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters=":"), max_size=80))
def test_any_prompt_comes_back(prompt: str) -> None:
    parts = parse(f"{prompt}\nNegative prompt: {prompt}\n{LINE}")
    assert (parts.positive, parts.negative) == (prompt.strip(), prompt.strip())


def test_values_quoted_and_in_json() -> None:
    pairs = dict(pairs_in(CIVITAI + ', Lora hashes: "a: 1, b: 2", Model: x'))
    assert pairs["Lora hashes"] == "a: 1, b: 2"
    assert pairs["Model"] == "x"
    assert pairs["Civitai resources"].endswith('Seed: 9"}]')
    assert pairs["Created Date"] == "2024-11-02T12:30:15Z"


@pytest.mark.parametrize(
    ("shown", "sampler", "scheduler"),
    [
        ("DPM++ 2M Karras", "dpmpp_2m", "karras"),
        ("DPM++ 2M SDE Exponential", "dpmpp_2m_sde_gpu", "exponential"),
        ("dpmpp_2m_karras", "dpmpp_2m", "karras"),
        ("euler_ancestral", "euler_ancestral", "normal"),
        ("dpm++2mv2 karras", "dpmpp_2m", "karras"),
        ("euler_a karras", "euler_ancestral", "karras"),
        ("Euler SGM Uniform", "euler", "sgm_uniform"),
        ("UniPC", "uni_pc", "normal"),
        ("k_euler", "euler", "normal"),
        ("k_dpmpp_2s_a", "dpmpp_2s_ancestral", "normal"),
        ("k_dpmpp_2m", "dpmpp_2m", "normal"),
        ("k_dpm_2_a", "dpm_2_ancestral", "normal"),
        ("HeunPP2", "heunpp2", "normal"),
        ("Undefined", "Undefined", "normal"),
    ],
)
def test_samplers_of_other_programs(shown: str, sampler: str, scheduler: str) -> None:
    info = from_a1111(f"x\nSteps: 3, Seed: 1, Sampler: {shown}").info
    assert (info.sampler, info.scheduler) == (sampler, scheduler)


@pytest.mark.parametrize(
    ("sampler", "written", "scheduler"),
    [
        ("DPM++ 2M", "Automatic", "karras"),
        ("DPM++ 2M SDE", "Automatic", "exponential"),
        ("Euler a", "Automatic", "normal"),
        ("DPM++ 2M Karras", "Automatic", "karras"),
        ("Euler", "Uniform", "normal"),
        ("DDIM", "DDIM", "ddim_uniform"),
        ("Euler", "SGM Uniform", "sgm_uniform"),
        ("Euler", "Align Your Steps", "align_your_steps"),
        ("Euler", "Beta", "Beta"),  # unknown here: told when the recipe is made
    ],
)
def test_schedules_of_a1111(sampler: str, written: str, scheduler: str) -> None:
    assert from_a1111(f"x\n{LINE.replace('Euler a', sampler)}, Schedule type: {written}").info.scheduler == scheduler


WITHOUT_SIZE = LINE.replace("Size: 512x768", "{}")
IN_NUMBERS = (
    "Lora_0 Model name: ink.safetensors, Lora_0 Model hash: 0f, Lora_0 Strength model: 0.5, Lora_0 Strength clip:"
)


@pytest.mark.parametrize(
    ("line", "read"),
    [
        (WITHOUT_SIZE.format("width: 512, height: 768"), {"resolution": (512, 768)}),
        (f"{LINE}, width: 8, height: 8", {"resolution": (512, 768)}),
        (f"{LINE}, Module 1: sdxl_vae", {"vae": "sdxl_vae"}),
        (f"{LINE}, VAE: own.safetensors", {"vae": "own.safetensors"}),
        (f"{LINE}, {IN_NUMBERS} 0.5", {"loras": (Lora("ink.safetensors", 0.5),)}),
    ],
)
def test_settings_under_other_keys(line: str, read: dict[str, object]) -> None:
    reading = from_a1111(f"a fox\n{line}")
    assert {key: getattr(reading.info, key) for key in read} == read
    assert reading.left_out == ()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (f'a fox\n{LINE}, Lora hashes: "sub/ink: 0f"', "'sub/ink', which has no weight"),
        (f"a fox\n{LINE}, {IN_NUMBERS} 0.7", "lora_0 strength clip"),
        (f"a fox\n{LINE}, Module 1: clip_l, RNG: CPU", "module 1, rng"),
    ],
)
def test_settings_that_are_not_read_are_named(text: str, named: str) -> None:
    (phrase,) = from_a1111(text).left_out
    assert named in phrase


def test_hashes_of_loras_that_the_prompt_tags_are_no_others() -> None:
    assert from_a1111(f'a fox <lora:sub\\Ink:0.5>\n{LINE}, Lora hashes: "ink: 0f"').left_out == ()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Clip skip", "-2"),
        ("Clip skip", "24"),
        ("Seed", str(2**64)),
        ("Seed", "-1"),
        ("CFG scale", "None"),
        ("Size", "0x0"),
    ],
)
def test_one_wrong_value_is_skipped(key: str, value: str) -> None:
    given = {"Steps": "20.0", "CFG scale": "7", "Seed": "42", "Size": "512x768", "Clip skip": "2", key: value}
    reading = from_a1111("a fox\n" + ", ".join(f"{name}: {text}" for name, text in given.items()))
    assert (reading.info.prompt, reading.info.steps) == ("a fox", 20)
    (phrase,) = reading.left_out
    assert repr(value) in phrase


def test_keys_that_nothing_reads_are_named() -> None:
    (phrase,) = from_a1111(f"a fox\n{LINE}, Hires upscale: 2, Denoising strength: 0.4, Version: v1.10").left_out
    assert "hires upscale, denoising strength" in phrase


def test_a_prompt_with_keys_above_the_parameters_stays_a_prompt() -> None:
    parts = parse("Model: a woman, Size: large\nSteps: 20, Seed: 42, Size: 64x64, Model: foo")
    assert (parts.positive, parts.get("Model"), parts.get("Size")) == ("Model: a woman, Size: large", "foo", "64x64")
