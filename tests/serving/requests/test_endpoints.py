"""Requests to the endpoints: what they take by default, and what they refuse and how."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import pytest
from fooocus_stages.pipelines.errors import UnknownName
from fooocus_stages.pipelines.settings import DEFAULT_STYLES, INPAINT_MODES, INPAINT_PATCHES, MAX_SEED, PERFORMANCES
from fooocus_stages.serving.requests import fields
from fooocus_stages.serving.requests.endpoints import (
    ENDPOINTS,
    IMAGE_PROMPT,
    INPAINT,
    TEXT_TO_IMAGE,
    UPSCALE_OR_VARY,
    InvalidRequest,
    parse,
    with_seed,
)

from .examples import MODES, PICTURE, endpoint_of, example, request_to

OFFSET = "https://huggingface.co/stabilityai/stable-diffusion-xl-base-1.0/resolve/main/sd_xl_offset_example-lora_1.0.safetensors"
SHARED = {
    "prompt": "",
    "negative_prompt": "",
    "styles": ["Fooocus V2", "Fooocus Enhance", "Fooocus Sharp"],
    "performance": "Extreme Speed",
    "guidance_scale": 4,
    "sharpness": 2,
    "aspect_ratio": "1024x1024",
    "num_images": 1,
    "loras": [{"path": OFFSET, "scale": 0.1}],
    "refiner_model": "None",
    "refiner_switch": 0.8,
    "output_format": "jpeg",
    "sync_mode": False,
    "seed": None,
    "enable_safety_checker": True,
}
PROMPTS = {"image_prompt_2": None, "image_prompt_3": None, "image_prompt_4": None}
INPAINTING = {
    "inpaint_mode": "Inpaint or Outpaint (default)",
    "inpaint_additional_prompt": "",
    "outpaint_selections": [],
}
OWN: dict[str, dict[str, Any]] = {
    TEXT_TO_IMAGE: {
        "control_image_url": None,
        "control_type": "PyraCanny",
        "control_image_weight": 1,
        "control_image_stop_at": 1,
        "inpaint_image_url": None,
        "mask_image_url": None,
        "mixing_image_prompt_and_inpaint": False,
    },
    IMAGE_PROMPT: {
        "image_prompt_1": {"image_url": "a.png", "type": "ImagePrompt", "weight": 1, "stop_at": 0.5},
        **PROMPTS,
        **INPAINTING,
        "inpaint_image_url": None,
        "mask_image_url": None,
        "mixing_image_prompt_and_inpaint": False,
        "uov_image_url": None,
        "uov_method": "Disabled",
        "mixing_image_prompt_and_vary_upscale": False,
    },
    INPAINT: {
        "inpaint_image_url": "a.png",
        "mask_image_url": None,
        **INPAINTING,
        "override_inpaint_options": False,
        "inpaint_disable_initial_latent": False,
        "inpaint_engine": "v2.6",
        "inpaint_strength": 1,
        "inpaint_respective_field": 0.618,
        "inpaint_erode_or_dilate": 0,
        "invert_mask": False,
        "image_prompt_1": None,
        **PROMPTS,
        "mixing_image_prompt_and_inpaint": False,
    },
    UPSCALE_OR_VARY: {
        "uov_image_url": "a.png",
        "uov_method": "Vary (Strong)",
        "image_prompt_1": None,
        **PROMPTS,
        "mixing_image_prompt_and_vary_upscale": False,
    },
}


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_the_fields_of_an_endpoint_and_their_defaults(endpoint: str) -> None:
    request = request_to(endpoint)
    assert request.input.model_dump(mode="json") == {**SHARED, **OWN[endpoint]}
    assert request.body() == PICTURE[endpoint]


@pytest.mark.parametrize(
    ("endpoint", "field"),
    [(IMAGE_PROMPT, "image_prompt_1"), (INPAINT, "inpaint_image_url"), (UPSCALE_OR_VARY, "uov_image_url")],
)
@pytest.mark.parametrize("body", [{}, None])
def test_what_is_required(endpoint: str, field: str, body: Any) -> None:
    (entry,) = errors_of(endpoint, body)
    assert (entry["loc"], entry["msg"], entry["type"]) == (["body", field], "Field required", "missing")


def test_an_empty_body_is_an_empty_request() -> None:
    assert parse(TEXT_TO_IMAGE, None) == parse(TEXT_TO_IMAGE, {})


RANGES: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {  # field: values taken, values refused
    "guidance_scale": ((1, 30), (0.99, 30.01)),
    "sharpness": ((0, 30), (-0.01, 30.01)),
    "num_images": ((1, 4), (0, 5, 1.5)),
    "refiner_switch": ((0, 1), (-0.01, 1.01)),
    "aspect_ratio": (("64x64", "1152x896", "1152×896", "4096x64"), ("1024", "1020x1024", "56x64", "4104x64", "")),
    "loras": (([], [{"path": "a"}] * 5), ([{"path": "a"}] * 6, [{}], [{"path": ""}], ["a"])),
    "seed": ((0, MAX_SEED, None), (0.5, "a", [])),
    "performance": (("Speed", "Quality", "Extreme Speed", "Lightning"), ("Hyper-SD", "speed", None)),
    "output_format": (("png", "jpeg", "webp"), ("jpg", "gif")),
    "refiner_model": (("None", "realisticVisionV60B1_v51VAE.safetensors"), ("sd_xl_refiner_1.0.safetensors", None)),
    "styles": (([], ["Fooocus V2"], ["Flat 2d Art"]), (["Random Style"], ["Fooocus Pony"], "SAI Anime")),
    "sync_mode": ((True, False), ("often", None)),
    "enable_safety_checker": ((True, False), (2, None)),
    "prompt": (("", "a\nb"), (None, 5)),
    "negative_prompt": (("",), (None, [])),
}  # fmt: skip
RANGES_OF = {
    TEXT_TO_IMAGE: {
        "control_image_weight": ((0, 2), (-0.01, 2.01)),
        "control_image_stop_at": ((0, 1), (-0.01, 1.01)),
        "control_type": (("ImagePrompt", "PyraCanny", "CPDS", "FaceSwap"), ("Canny", None)),
        "control_image_url": (("http://a/b", "data:image/png;base64,AA==", None, ""), ("ftp://a/b", "file:///a", 3)),
        "mixing_image_prompt_and_inpaint": ((True,), ("perhaps",)),
    },
    IMAGE_PROMPT: {
        "image_prompt_1": (({}, {"image_url": None}), (None, "a.png", [])),
        "image_prompt_2": (({"type": "FaceSwap", "weight": 2}, None), ({"weight": 2.01}, {"weight": -0.01})),
        "image_prompt_3": (({"weight": 0, "stop_at": 0}, None), ({"stop_at": 1.01}, {"stop_at": -0.01})),
        "image_prompt_4": ((None,), ({"type": "Canny"}, {"image_url": "gopher://a"})),
        "uov_method": (("Disabled", "Upscale (Fast 2x)"), ("Vary", None)),
        "outpaint_selections": ((["Left", "Right", "Top", "Bottom"],), (["left"], "Left", None)),
    },
    INPAINT: {
        "inpaint_strength": ((1, 0.001, -1), (1.01,)),
        "inpaint_respective_field": ((0, 1), (-0.01, 1.01)),
        "inpaint_erode_or_dilate": ((-64, 64), (-65, 65)),
        "inpaint_engine": (tuple(INPAINT_PATCHES), ("v2", None)),
        "inpaint_mode": (tuple(INPAINT_MODES), ("Improve Detail", None)),
        "inpaint_image_url": (("https://a.example/b.png",), ("", None)),
        "mask_image_url": (("b.png", "a.png#alpha", None), ("b.png#alpha",)),
        "override_inpaint_options": ((True,), ("perhaps",)),
        "invert_mask": ((True,), (None,)),
    },
    UPSCALE_OR_VARY: {
        "uov_method": (
            ("Disabled", "Vary (Subtle)", "Vary (Strong)", "Upscale (1.5x)", "Upscale (2x)", "Upscale (Fast 2x)"),
            ("vary (subtle)", "Upscale (4x)"),
        ),
        "uov_image_url": (("data:image/png;base64,AA==",), ("", None)),
    },
}  # fmt: skip
CASES = [(endpoint, name, *values) for endpoint, own in RANGES_OF.items() for name, values in {**RANGES, **own}.items()]


@pytest.mark.parametrize(("endpoint", "name", "taken", "refused"), CASES)
def test_what_a_field_takes(endpoint: str, name: str, taken: tuple[Any, ...], refused: tuple[Any, ...]) -> None:
    for value in taken:
        request_to(endpoint, **{name: value})
    for value in refused:
        (entry,) = errors_of(endpoint, {**PICTURE[endpoint], name: value})
        assert entry["loc"][:2] == ["body", name]


@pytest.mark.parametrize(
    ("value", "type_", "message"),
    [
        ({"guidance_scale": 99}, "less_than_equal", "Input should be less than or equal to 30"),
        ({"guidance_scale": 0}, "greater_than_equal", "Input should be greater than or equal to 1"),
        ({"guidance_scale": "x"}, "float_parsing", "Input should be a valid number"),
        ({"guidance_scale": None}, "float_type", "Input should be a valid number"),
        ({"num_images": 1.5}, "int_from_float", "Input should be a valid integer"),
        ({"prompt": 5}, "string_type", "Input should be a valid string"),
        ({"sync_mode": "often"}, "bool_parsing", "Input should be a valid boolean"),
        ({"output_format": "gif"}, "literal_error", "Input should be 'png', 'jpeg' or 'webp'"),
        (
            {"styles": ["Fooocus Sharpp"]},
            "literal_error",
            "Input should be the name of one of the 277 styles (did you ",
        ),
        ({"aspect_ratio": "a"}, "value_error", "Value error, should be 'WIDTHxHEIGHT'"),
        ({"aspect_ratio": "100x64"}, "value_error", "Value error, width and height should be multiples of 8"),
        ({"loras": [{"path": "a"}] * 6}, "too_long", "Tuple should have at most 5 items after validation, not 6"),
        ({"loras": [{"scale": 1}]}, "missing", "Field required"),
        ({"loras": [{"path": "file:///a"}]}, "value_error", "Value error, should be an http or https URL, or the name"),
        ({"control_image_url": "ftp://a"}, "value_error", "Value error, should be an http or https URL, or a data URI"),
    ],
)
def test_an_error_has_its_place_its_message_and_its_type(value: dict[str, Any], type_: str, message: str) -> None:
    (entry,) = errors_of(TEXT_TO_IMAGE, value)
    assert entry["type"] == type_
    assert entry["msg"].startswith(message)
    assert entry["loc"][:2] == ["body", *value]


def test_each_error_has_an_entry_of_its_own() -> None:
    found = errors_of(INPAINT, {"sharpness": 31, "styles": ["a", "SAI Anime", "b"], "loras": [{"scale": 5}]})
    assert [entry["loc"] for entry in found] == [
        ["body", "styles", 0],
        ["body", "styles", 2],
        ["body", "sharpness"],
        ["body", "loras", 0, "path"],
        ["body", "loras", 0, "scale"],
        ["body", "inpaint_image_url"],
    ]
    with pytest.raises(InvalidRequest, match=r"sharpness: Input should be less .*; loras\.0\.path: Field required"):
        parse(INPAINT, {"sharpness": 31, "loras": [{}]})


def test_a_long_value_is_not_repeated_in_its_error() -> None:
    (entry,) = errors_of(TEXT_TO_IMAGE, {"output_format": "x" * 1000})
    assert "input" not in entry
    (entry,) = errors_of(TEXT_TO_IMAGE, {"output_format": "x"})
    assert entry["input"] == "x"


@pytest.mark.parametrize("body", [[], "a", 3, True])
def test_a_body_that_is_no_object(body: Any) -> None:
    (entry,) = errors_of(TEXT_TO_IMAGE, body)
    assert entry["loc"] == ["body"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_are_finite(value: float) -> None:
    for field in ("guidance_scale", "seed", "inpaint_strength"):
        with pytest.raises(InvalidRequest) as raised:
            parse(INPAINT, {"inpaint_image_url": "a.png", field: value})
        assert raised.value.detail[0]["loc"] == ["body", field]


def test_unknown_fields_are_taken_and_named() -> None:
    body = {
        "inpaint_strength": 0.5,
        "loras": [{"path": "a", "force": True}],
        "image_prompt_1": {"image_url": "a", "x": 1},
    }
    request = parse(UPSCALE_OR_VARY, {"uov_image_url": "a.png", **body})
    assert request.unknown == ("inpaint_strength", "loras.0.force", "image_prompt_1.x")


def test_an_unknown_endpoint() -> None:
    with pytest.raises(UnknownName, match="unknown endpoint 'fal-ai/fooocus/outpaint'"):
        parse("fal-ai/fooocus/outpaint", {})


@pytest.mark.parametrize(("given", "used"), [(0, 0), (5, 5), (MAX_SEED, MAX_SEED), (MAX_SEED + 3, 2), (-1, MAX_SEED)])
def test_a_seed_is_counted_on_from_zero_beyond_its_range(given: int, used: int) -> None:
    assert with_seed(request_to(TEXT_TO_IMAGE, seed=given)).input.seed == used


def test_a_request_without_a_seed_gets_a_random_one() -> None:
    seeds = {with_seed(request_to(TEXT_TO_IMAGE)).input.seed for _ in range(20)}
    assert len(seeds) == 20
    assert all(type(seed) is int and 0 <= seed <= MAX_SEED for seed in seeds)


def test_the_choices_are_those_of_the_stages() -> None:
    assert len(fields.style_names()) == len(set(fields.style_names())) == 277
    assert set(DEFAULT_STYLES) <= set(fields.style_names())
    assert set(fields.Performance.__args__) <= set(PERFORMANCES)
    assert fields.Mode.__args__ == tuple(INPAINT_MODES)
    assert fields.Engine.__args__ == tuple(INPAINT_PATCHES)


@pytest.mark.parametrize("mode", MODES)
def test_every_example_is_a_request(mode: str) -> None:
    assert example(mode).unknown == ()
    assert parse(endpoint_of(mode), example(mode).body()).input == example(mode).input


def test_the_command_line_does_not_import_pydantic() -> None:
    code = "import sys; from fooocus_stages.serving import cli; assert 'pydantic' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def errors_of(endpoint: str, body: Any) -> list[dict[str, Any]]:
    with pytest.raises(InvalidRequest) as raised:
        parse(endpoint, body)
    return raised.value.detail
