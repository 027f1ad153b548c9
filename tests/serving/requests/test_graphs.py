"""The workflows of requests: those of the bundled files, and the endpoints' rules about what runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fooocus_stages
import pytest
from fooocus_stages.nodes import NODE_CLASS_MAPPINGS
from fooocus_stages.nodes.headless import HEADLESS_NODES
from fooocus_stages.pipelines.errors import BadValue
from fooocus_stages.pipelines.settings import INPAINT_MODES
from fooocus_stages.serving.bundled.catalogue import TEMPLATES
from fooocus_stages.serving.bundled.graph_builder import ApiGraph
from fooocus_stages.serving.bundled.write_workflows import completed
from fooocus_stages.serving.requests.endpoints import IMAGE_PROMPT, INPAINT, TEXT_TO_IMAGE, UPSCALE_OR_VARY, Request
from fooocus_stages.serving.requests.graphs import InputUrl, graph_of, names_of, urls_of

from .examples import MODES, example, request_to

WORKFLOWS = Path(fooocus_stages.__file__).parent / "workflows" / "api"
REGISTRY = {**NODE_CLASS_MAPPINGS, **HEADLESS_NODES}
BUNDLED = {template.mode: template for template in TEMPLATES}
DEFAULT, DETAIL, MODIFY = INPAINT_MODES
A, B, MASK = "https://a.example/a.png", "data:image/png;base64,AAAA", "https://a.example/mask.png"
FILES = {A: "a.png", B: "b.png", MASK: "mask.png"}
SLOT = {"image_prompt_1": {"image_url": B}}
WITH_MASK = {"inpaint_image_url": A, "mask_image_url": MASK}
UOV = {"uov_image_url": A, "uov_method": "Vary (Subtle)"}
MIX_INPAINT = {"mixing_image_prompt_and_inpaint": True}
MIX_VARY = {"mixing_image_prompt_and_vary_upscale": True}


def graph(request: Request) -> ApiGraph:
    return graph_of(request, FILES)


def the(graph: ApiGraph, class_type: str) -> dict[str, Any]:
    """The inputs of the one node of a class."""
    (node,) = (node for node in graph.values() if node["class_type"] == class_type)
    inputs: dict[str, Any] = node["inputs"]
    return inputs


def classes(graph: ApiGraph) -> set[str]:
    return {node["class_type"] for node in graph.values()}


def test_every_mode_has_a_request() -> None:
    assert sorted(BUNDLED) == MODES


@pytest.mark.usefixtures("pocket_host")
@pytest.mark.parametrize("mode", MODES)
def test_the_request_of_a_mode_gives_its_bundled_file(mode: str) -> None:
    file = WORKFLOWS / f"{BUNDLED[mode].name}.json"
    ours = completed(graph_of(example(mode), {}), REGISTRY)
    assert ours == json.loads(file.read_text(encoding="utf-8"))
    assert [*ours] == [*json.loads(file.read_text(encoding="utf-8"))]


def test_a_picture_by_url_is_loaded_from_its_file() -> None:
    found = graph(request_to(INPAINT, **WITH_MASK))
    assert the(found, "LoadImage") == {"image": "a.png"}
    assert the(found, "LoadImageMask") == {"image": "mask.png", "channel": "red"}
    with pytest.raises(BadValue, match=r"no file is given for 'https://a.example/a.png'"):
        graph_of(request_to(INPAINT, **WITH_MASK), {})


OVERRIDE = {"override_inpaint_options": True}


@pytest.mark.parametrize(
    ("fields", "override"),
    [
        ({}, False),
        (OVERRIDE, True),
        ({**OVERRIDE, "inpaint_erode_or_dilate": 4}, False),
        ({**OVERRIDE, "inpaint_erode_or_dilate": -4, "inpaint_engine": "v1"}, True),
        ({**OVERRIDE, "inpaint_erode_or_dilate": 4, "inpaint_strength": 0.9}, True),
        ({**OVERRIDE, "inpaint_erode_or_dilate": 4, "inpaint_respective_field": 0.5}, True),
        ({**OVERRIDE, "inpaint_erode_or_dilate": 4, "inpaint_disable_initial_latent": True}, True),
        ({**OVERRIDE, "inpaint_erode_or_dilate": 4, "inpaint_mode": DETAIL}, True),
        (
            {
                **OVERRIDE,
                "inpaint_erode_or_dilate": 4,
                "inpaint_mode": DETAIL,
                "inpaint_engine": "None",
                "inpaint_strength": 0.5,
                "inpaint_respective_field": 0,
            },
            False,
        ),
        ({"inpaint_strength": 0.5, "inpaint_engine": "v1"}, False),
    ],
)
def test_options_are_overridden_where_they_are_not_those_of_the_mode(fields: dict[str, Any], override: bool) -> None:
    node = the(graph(request_to(INPAINT, **WITH_MASK, **fields)), "FooocusInpaint")
    assert node["override"] is override
    assert node["erode_or_dilate"] == (
        fields.get("inpaint_erode_or_dilate", 0) if "override_inpaint_options" in fields else 0
    )


def test_growth_without_the_flag_is_not_used_but_inversion_is() -> None:
    fields = {"inpaint_erode_or_dilate": 4, "invert_mask": True}
    node = the(graph(request_to(INPAINT, **WITH_MASK, **fields)), "FooocusInpaint")
    assert (node["erode_or_dilate"], node["invert_mask"]) == (0, True)
    node = the(graph(request_to(INPAINT, **WITH_MASK, **fields, **OVERRIDE)), "FooocusInpaint")
    assert (node["erode_or_dilate"], node["invert_mask"]) == (4, True)
    node = the(graph(request_to(INPAINT, **WITH_MASK, **OVERRIDE, inpaint_erode_or_dilate=-3.7)), "FooocusInpaint")
    assert node["erode_or_dilate"] == -3


INPAINTS, VARIES, UPSCALES, PLAIN = "FooocusInpaint", "FooocusVary", "FooocusUpscale", "FooocusAspectRatio"


@pytest.mark.parametrize(
    ("endpoint", "fields", "runs", "prompted"),
    [
        (TEXT_TO_IMAGE, {}, PLAIN, False),
        (TEXT_TO_IMAGE, {"control_type": "ImagePrompt"}, PLAIN, False),
        (TEXT_TO_IMAGE, {"control_image_url": B, "control_type": "ImagePrompt"}, PLAIN, True),
        (TEXT_TO_IMAGE, {"inpaint_image_url": A}, PLAIN, False),
        (TEXT_TO_IMAGE, {"mask_image_url": MASK}, PLAIN, False),
        (TEXT_TO_IMAGE, WITH_MASK, INPAINTS, False),
        (TEXT_TO_IMAGE, {**WITH_MASK, "control_image_url": B, "control_type": "FaceSwap"}, INPAINTS, False),
        (
            TEXT_TO_IMAGE,
            {**WITH_MASK, "control_image_url": B, "control_type": "FaceSwap", **MIX_INPAINT},
            INPAINTS,
            True,
        ),
        (IMAGE_PROMPT, SLOT, PLAIN, True),
        (IMAGE_PROMPT, {"image_prompt_1": {}}, PLAIN, False),
        (IMAGE_PROMPT, {**SLOT, **WITH_MASK}, PLAIN, True),
        (IMAGE_PROMPT, {**SLOT, **WITH_MASK, **MIX_VARY}, PLAIN, True),
        (IMAGE_PROMPT, {**SLOT, **WITH_MASK, **MIX_INPAINT}, INPAINTS, True),
        (IMAGE_PROMPT, {**SLOT, "inpaint_image_url": A, **MIX_INPAINT}, PLAIN, True),
        (IMAGE_PROMPT, {**SLOT, "inpaint_image_url": A, "outpaint_selections": ["Top"], **MIX_INPAINT}, INPAINTS, True),
        (IMAGE_PROMPT, {**SLOT, **UOV}, PLAIN, True),
        (IMAGE_PROMPT, {**SLOT, **UOV, **MIX_VARY}, VARIES, True),
        (IMAGE_PROMPT, {**SLOT, **UOV, **MIX_VARY, "uov_method": "Disabled"}, PLAIN, True),
        (IMAGE_PROMPT, {**SLOT, **MIX_VARY, "uov_method": "Vary (Subtle)"}, PLAIN, True),
        (IMAGE_PROMPT, {**SLOT, **UOV, **WITH_MASK, **MIX_VARY, **MIX_INPAINT}, INPAINTS, True),
        (IMAGE_PROMPT, {**SLOT, **UOV, "inpaint_image_url": A, **MIX_VARY, **MIX_INPAINT}, VARIES, True),
        (IMAGE_PROMPT, {**SLOT, **UOV, **MIX_VARY, "uov_method": "Upscale (Fast 2x)"}, UPSCALES, False),
        (INPAINT, WITH_MASK, INPAINTS, False),
        (INPAINT, {**WITH_MASK, **SLOT}, INPAINTS, False),
        (INPAINT, {**WITH_MASK, **SLOT, **MIX_INPAINT}, INPAINTS, True),
        (INPAINT, {"inpaint_image_url": A}, PLAIN, False),
        (INPAINT, {"inpaint_image_url": A, "outpaint_selections": ["Left"]}, INPAINTS, False),
        (INPAINT, {"inpaint_image_url": A, "outpaint_selections": ["Left"], "inpaint_mode": DETAIL}, PLAIN, False),
        (UPSCALE_OR_VARY, UOV, VARIES, False),
        (UPSCALE_OR_VARY, {**UOV, **SLOT}, VARIES, False),
        (UPSCALE_OR_VARY, {**UOV, **SLOT, **MIX_VARY}, VARIES, True),
        (UPSCALE_OR_VARY, {**UOV, "uov_method": "Disabled"}, PLAIN, False),
        (UPSCALE_OR_VARY, {"uov_image_url": A}, VARIES, False),
        (UPSCALE_OR_VARY, {**UOV, "uov_method": "Upscale (2x)"}, UPSCALES, False),
        (UPSCALE_OR_VARY, {**UOV, "uov_method": "Upscale (2x)", **SLOT, **MIX_VARY}, UPSCALES, True),
    ],
)
def test_what_runs(endpoint: str, fields: dict[str, Any], runs: str, prompted: bool) -> None:
    found = classes(graph(request_to(endpoint, **fields)))
    assert found & {INPAINTS, VARIES, UPSCALES, PLAIN} == {runs}
    assert ("FooocusImagePrompt" in found) is prompted


def test_at_the_defaults_eight_lcm_steps_run_without_a_refiner() -> None:
    found = graph(request_to(TEXT_TO_IMAGE))
    assert the(found, "FooocusPerformance")["performance"] == "Extreme Speed"
    assert not classes(found) & {"FooocusLoadRefiner", "FooocusRefinerSwitch"}


@pytest.mark.parametrize("endpoint", [INPAINT, UPSCALE_OR_VARY])
def test_image_prompts_without_the_mixing_flag_change_nothing(endpoint: str) -> None:
    fields = WITH_MASK if endpoint == INPAINT else UOV
    with_prompts = request_to(endpoint, **fields, **SLOT, image_prompt_4={"image_url": A, "type": "CPDS"})
    assert graph(with_prompts) == graph(request_to(endpoint, **fields))
    assert urls_of(with_prompts) == urls_of(request_to(endpoint, **fields))


@pytest.mark.parametrize(
    ("endpoint", "fields"),
    [
        (INPAINT, WITH_MASK),
        (INPAINT, {"inpaint_image_url": A, "outpaint_selections": ["Left", "Top"]}),
        (UPSCALE_OR_VARY, UOV),
        (UPSCALE_OR_VARY, {**UOV, "uov_method": "Upscale (1.5x)"}),
        (UPSCALE_OR_VARY, {**UOV, "uov_method": "Upscale (Fast 2x)"}),
    ],
)
def test_the_aspect_ratio_changes_nothing_where_a_picture_has_the_size(endpoint: str, fields: dict[str, Any]) -> None:
    assert graph(request_to(endpoint, **fields, aspect_ratio="704x1408")) == graph(request_to(endpoint, **fields))


def test_fast_upscaling_depends_on_the_picture_alone() -> None:
    plain = request_to(UPSCALE_OR_VARY, uov_image_url=A, uov_method="Upscale (Fast 2x)")
    changed = request_to(
        UPSCALE_OR_VARY,
        uov_image_url=A,
        uov_method="Upscale (Fast 2x)",
        prompt="a cat",
        styles=["SAI Anime"],
        loras=[{"path": "https://a.example/lora.safetensors"}],
        performance="Quality",
        num_images=4,
        seed=7,
        refiner_model="realisticVisionV60B1_v51VAE.safetensors",
        **SLOT,
        **MIX_VARY,
    )
    ours, theirs = graph(plain), graph(changed)
    assert the(theirs, "FooocusUpscale") == {**the(ours, "FooocusUpscale"), "seed": 7}
    assert (
        classes(theirs) == classes(ours) == {"LoadImage", "FooocusLoadUpscaler", "FooocusUpscale", "FooocusSaveImage"}
    )
    assert urls_of(changed) == urls_of(plain)


@pytest.mark.parametrize("performance", ["Extreme Speed", "Lightning"])
def test_the_distilled_modes_load_no_refiner(performance: str) -> None:
    refined = {"refiner_model": "realisticVisionV60B1_v51VAE.safetensors", "refiner_switch": 0.4}
    plain = graph(request_to(TEXT_TO_IMAGE, performance=performance))
    assert graph(request_to(TEXT_TO_IMAGE, performance=performance, **refined)) == plain
    assert "FooocusLoadRefiner" in classes(graph(request_to(TEXT_TO_IMAGE, performance="Speed", **refined)))


@pytest.mark.parametrize("fields", [{"inpaint_mode": DETAIL}, {**OVERRIDE, "inpaint_engine": "None"}])
def test_improve_detail_and_no_engine_load_no_inpaint_model(fields: dict[str, Any]) -> None:
    node = the(graph(request_to(INPAINT, **WITH_MASK, **fields)), "FooocusInpaint")
    engine = node["engine"] if node["override"] else INPAINT_MODES[node["mode"]].engine
    assert engine == "None"


def test_the_additional_prompt_comes_before_the_prompt() -> None:
    found = graph(request_to(INPAINT, **WITH_MASK, prompt="a cat", inpaint_additional_prompt="its eyes"))
    assert the(found, "FooocusInpaintPrompt") == {"text": "a cat", "additional_prompt": "its eyes"}


def test_images_have_consecutive_seeds() -> None:
    node = the(graph(request_to(TEXT_TO_IMAGE, num_images=3, seed=5)), "FooocusPrompt")
    assert (node["num_images"], node["seed"], node["increment_seed"]) == (3, 5, True)


OFFSET = "sd_xl_offset_example-lora_1.0.safetensors"
BY_URL = "https://a.example/some/style.safetensors?x=1"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("style.safetensors", "style.safetensors"),
        ("style", "style"),
        ("folder/style.safetensors", "folder/style.safetensors"),
        ("C:/loras/style.safetensors", "C:/loras/style.safetensors"),
        (BY_URL, "fetched.safetensors"),
        (f"https://huggingface.co/stabilityai/stable-diffusion-xl-base-1.0/resolve/main/{OFFSET}", OFFSET),
        (
            f"https://huggingface.co/stabilityai/stable-diffusion-xl-base-1.0/resolve/main/{OFFSET}?download=true",
            OFFSET,
        ),
    ],
)
def test_loras_by_name_by_path_and_by_url(path: str, name: str) -> None:
    request = request_to(TEXT_TO_IMAGE, loras=[{"path": path, "scale": 0.7}])
    node = the(graph_of(request, {BY_URL: "fetched.safetensors"}), "FooocusLora")
    assert (node["lora_name"], node["weight"]) == (name, 0.7)
    wanted = [InputUrl(BY_URL, "lora", ("loras", 0, "path"))] if path == BY_URL else []
    assert list(urls_of(request)) == wanted


def test_several_loras_and_none() -> None:
    node = the(graph(request_to(TEXT_TO_IMAGE, loras=[{"path": "a"}, {"path": "b", "scale": 2}])), "FooocusLoraStack")
    assert [node[f"lora_{i}"] for i in range(1, 6)] == ["a", "b", "None", "None", "None"]
    assert [node[f"weight_{i}"] for i in range(1, 3)] == [0.1, 2]
    assert not classes(graph(request_to(TEXT_TO_IMAGE, loras=[]))) & {"FooocusLora", "FooocusLoraStack"}


def test_the_addresses_of_a_request_are_each_named_once() -> None:
    fields = {**WITH_MASK, "image_prompt_1": {"image_url": B}, "image_prompt_3": {"image_url": A}, **MIX_INPAINT}
    request = request_to(INPAINT, **fields, loras=[{"path": BY_URL}, {"path": BY_URL}, {"path": "a"}])
    assert urls_of(request) == (
        InputUrl(BY_URL, "lora", ("loras", 0, "path")),
        InputUrl(B, "image", ("image_prompt_1", "image_url")),
        InputUrl(A, "image", ("image_prompt_3", "image_url")),
        InputUrl(MASK, "image", ("mask_image_url",)),
    )


def test_a_mask_in_the_picture_itself_is_fetched_with_it() -> None:
    request = request_to(INPAINT, inpaint_image_url=A, mask_image_url=f"{A}#alpha")
    assert [one.value for one in urls_of(request)] == [A]
    found = graph(request)
    assert "LoadImageMask" not in classes(found)
    assert the(found, "FooocusInpaint")["mask"][1] == 1


def test_pictures_named_by_their_files() -> None:
    request = request_to(INPAINT, inpaint_image_url="a.png", mask_image_url=MASK)
    assert [(one.value, one.loc) for one in names_of(request)] == [("a.png", ("inpaint_image_url",))]


def test_the_same_request_gives_the_same_workflow() -> None:
    request = request_to(INPAINT, **WITH_MASK)
    before = json.dumps(request.body())
    assert graph(request) == graph(request)
    assert json.dumps(request.body()) == before


@pytest.mark.parametrize("mode", MODES)
def test_the_images_are_checked_before_they_are_saved(mode: str) -> None:
    plain, checked = graph_of(example(mode), {}), graph_of(example(mode), {}, "pocket")
    check, before = the(checked, "FooocusSafetyCheck"), the(plain, "FooocusSaveImage")
    assert check == {"image": before["images"], "checker_name": "pocket", "mode": "black out"}
    assert the(checked, "FooocusSaveImage") == {**before, "images": [str(len(plain) + 1), 0]}
    assert graph_of(example(mode, enable_safety_checker=False), {}, "pocket") == plain


NEGATIVE = "(worst quality, low quality, normal quality, lowres, low details, bad art:1.4), (watermark, text font:1.2)"
DOCUMENTED: dict[str, Any] = {
    "negative_prompt": NEGATIVE,
    "styles": ["Fooocus Enhance", "Fooocus Sharp", "Fooocus V2"],
    "performance": "Extreme Speed",
    "guidance_scale": 4,
    "sharpness": 2,
    "aspect_ratio": "1024x1024",
    "num_images": 1,
    "loras": [
        {
            "path": f"https://huggingface.co/stabilityai/stable-diffusion-xl-base-1.0/resolve/main/{OFFSET}",
            "scale": 0.1,
        }
    ],
    "refiner_model": "None",
    "refiner_switch": 0.8,
    "output_format": "jpeg",
    "seed": 176400,
    "enable_safety_checker": True,
}


def test_the_documented_request_for_text_to_image() -> None:
    control = {"control_type": "ImagePrompt", "control_image_weight": 1, "control_image_stop_at": 1}
    prompt = "an astronaut in the jungle, cold color palette with butterflies in the background, highly detailed, 8k"
    request = request_to(TEXT_TO_IMAGE, prompt=prompt, **DOCUMENTED, **control)
    assert (request.unknown, urls_of(request)) == ((), ())
    found = graph(request)
    assert classes(found) == classes(BUNDLED["B01"].graph)
    styles = [the(found, "FooocusStyles")[f"style_{i}"] for i in range(1, 5)]
    assert styles == ["Fooocus Enhance", "Fooocus Sharp", "Fooocus V2", "None"]
    assert the(found, "FooocusPrompt")["seed"] == 176400


def test_the_documented_request_with_an_image_prompt() -> None:
    fields = {
        "image_prompt_1": {"weight": 1, "stop_at": 1, "type": "PyraCanny", "image_url": A},
        "inpaint_mode": DEFAULT,
        "outpaint_selections": [],
        "uov_method": "Disabled",
    }
    request = request_to(IMAGE_PROMPT, prompt="pikachu", **DOCUMENTED, **fields)
    assert [one.value for one in urls_of(request)] == [A]
    found = graph(request)
    assert classes(found) == classes(BUNDLED["P02"].graph)
    assert the(found, "LoadImage") == {"image": "a.png"}
    assert (the(found, "FooocusControl")["weight"], the(found, "FooocusControl")["stop_at"]) == (1, 1)
