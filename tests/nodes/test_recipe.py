"""A picture, its recipe read back, and the same picture made again by wires; presets likewise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fooocus_stages.nodes import NODE_CLASS_MAPPINGS, sockets
from fooocus_stages.nodes.comfy import current_host
from fooocus_stages.nodes.recipe import NAMES, FooocusPreset, FooocusReadInfo
from fooocus_stages.pipelines.host import LocalHost
from fooocus_stages.pipelines.types import Lora
from fooocus_stages.serving.bundled.graph_builder import ApiGraph, Link
from fooocus_stages.serving.bundled.modes import text_to_image
from fooocus_stages.serving.bundled.request import TextToImage
from fooocus_stages.serving.engine.declarations import Registry
from fooocus_stages.serving.engine.runner import Runner
from fooocus_stages.serving.engine.validate import InvalidGraph, types_match, validate
from PIL import Image

REQUEST = TextToImage(
    "a large red circle on a blue background\nflat",
    "green, {blurry}",
    styles=("Fooocus V2", "Stages Ink Wash", "Fooocus Sharp"),
    performance="Speed",
    guidance_scale=4.5,
    sharpness=3.25,
    aspect_ratio="832×1216",
    loras=(Lora("sd_xl_offset_example-lora_1.0.safetensors", 0.1), Lora("SDXL_FILM_PHOTOGRAPHY_STYLE_V1", -0.5)),
    output_format="png",
    seed=2**60 + 12345,
    checkpoint="pocket",
)


def node_of(graph: ApiGraph, class_type: str) -> dict[str, Any]:
    return next(node["inputs"] for node in graph.values() if node["class_type"] == class_type)


def made(graph: ApiGraph) -> Path:
    """Runs a graph; the file that its first output node saved."""
    (shown,) = Runner(NODE_CLASS_MAPPINGS).run(graph).ui.values()
    return current_host().folder("output") / shown["images"][0]["filename"]


def original(scheme: str, format: str, performance: str, **more: Any) -> ApiGraph:
    graph = text_to_image(REQUEST)
    node_of(graph, "FooocusPerformance").update(
        performance=performance, overwrite_step=2 if performance == "Speed" else -1
    )
    node_of(graph, "FooocusSaveImage").update(metadata=scheme, format=format)
    node_of(graph, "FooocusSamplingSettings").update(
        adm_positive=1.25, adaptive_cfg=4.0, sampler="euler", scheduler="simple"
    )
    node_of(graph, "FooocusLoadCheckpoint").update(clip_skip=1)
    freeu = {"model": node_of(graph, "FooocusSampler")["model"], "b1": 1.3, "b2": 1.4, "s1": 0.9, "s2": 0.2}
    graph["90"] = {"class_type": "FooocusFreeU", "inputs": freeu | more}
    node_of(graph, "FooocusSampler")["model"] = ["90", 0]
    return graph


def wired(source: dict[str, Link]) -> ApiGraph:
    """A text-to-image graph in which nothing is set: every value comes by a wire."""
    graph = text_to_image(TextToImage("-", output_format="png"))
    gone = {
        n
        for n, node in graph.items()
        if node["class_type"] in ("FooocusLora", "FooocusStyles", "FooocusSamplingSettings")
    }
    graph = {n: node for n, node in graph.items() if n not in gone}
    wires = {
        "FooocusLoadCheckpoint": ("ckpt_name", "vae_name", "clip_skip"),
        "FooocusPerformance": ("performance", "overwrite_step", "settings", "loras"),
        "FooocusPrompt": ("text", "negative", "seed", "styles", "num_images"),
        "FooocusAspectRatio": ("aspect_ratio", "width", "height"),
    }
    for class_type, inputs in wires.items():
        node_of(graph, class_type).update({name: source[name] for name in inputs if name in source})
    gains = {name: source[name] for name in ("b1", "b2", "s1", "s2")}
    graph["91"] = {
        "class_type": "FooocusFreeU",
        "inputs": {"model": node_of(graph, "FooocusSampler")["model"], **gains},
    }
    node_of(graph, "FooocusSampler")["model"] = ["91", 0]
    return graph


def by_wire(class_type: str, **inputs: Any) -> ApiGraph:
    node = NODE_CLASS_MAPPINGS[class_type]
    source = {name: ["99", slot] for slot, name in enumerate(node.RETURN_NAMES)}
    return wired(source) | {"99": {"class_type": class_type, "inputs": inputs}}


@pytest.mark.usefixtures("pocket_host")
@pytest.mark.parametrize(
    ("scheme", "format", "performance"),
    [
        ("fooocus", "png", "Speed"),
        ("a1111", "png", "Speed"),
        ("fooocus", "webp", "Hyper-SD"),
        ("a1111", "jpeg", "Extreme Speed"),
    ],
)
def test_a_picture_is_made_again_from_its_file(scheme: str, format: str, performance: str) -> None:
    first = made(original(scheme, format, performance))
    graph = by_wire("FooocusReadInfo", image=f"{first.name} [output]")
    node_of(graph, "FooocusSaveImage").update(format=format, metadata=scheme)
    again = made(graph)
    assert again != first
    with Image.open(first) as one, Image.open(again) as two:
        assert (np.asarray(one) == np.asarray(two)).all()
        assert one.info.get("parameters") == two.info.get("parameters")
    assert read(first) == read(again)


def read(path: Path) -> tuple[Any, ...]:
    return FooocusReadInfo().run(f"{path.name} [output]")


@pytest.mark.usefixtures("pocket_host")
def test_a_picture_without_freeu_and_loras_is_made_again() -> None:
    graph = text_to_image(
        TextToImage("a small green square", "", (), "Lightning", loras=(), output_format="png", checkpoint="pocket")
    )
    first = made(graph)
    again = made(by_wire("FooocusReadInfo", image=f"{first.name} [output]"))
    with Image.open(first) as one, Image.open(again) as two:
        assert (np.asarray(one) == np.asarray(two)).all()


def test_a_preset_draws_by_wire(pocket_host: LocalHost, tmp_path: Path) -> None:
    folder = tmp_path / "presets"
    folder.mkdir()
    preset = {
        "default_model": "pocket",
        "default_performance": "Lightning",
        "default_styles": ["Stages Clean"],
        "default_prompt": "a large red circle on a blue background",
        "default_aspect_ratio": "1024*1024",
    }
    (folder / "shapes.json").write_text(json.dumps(preset))
    pocket_host.roots.append(tmp_path)
    assert FooocusPreset.INPUT_TYPES()["required"]["preset"][0][:2] == ["shapes", "default"]
    with Image.open(made(by_wire("FooocusPreset", preset="shapes"))) as image:
        about = json.loads(image.info["parameters"])
        red, _, blue = image.getpixel((image.width // 2, image.height // 2))
    assert (image.size, about["prompt"], about["performance"]) == ((128, 128), preset["default_prompt"], "Lightning")
    assert about["styles"] == "['Stages Clean']"
    assert red > blue


def test_names_are_the_inputs_that_they_go_to() -> None:
    assert len(set(FooocusReadInfo.RETURN_NAMES)) == len(FooocusReadInfo.RETURN_TYPES)
    assert FooocusPreset.RETURN_NAMES == FooocusReadInfo.RETURN_NAMES[: len(NAMES)] == NAMES
    declared = {
        name: spec[0]
        for class_type in (
            "FooocusLoadCheckpoint",
            "FooocusPerformance",
            "FooocusPrompt",
            "FooocusAspectRatio",
            "FooocusFreeU",
        )
        for group in NODE_CLASS_MAPPINGS[class_type].INPUT_TYPES().values()
        for name, spec in group.items()
    }
    given = dict(zip(FooocusReadInfo.RETURN_NAMES, FooocusReadInfo.RETURN_TYPES, strict=True))
    shared = given.keys() & declared.keys()
    assert {"text", "styles", "seed", "settings", "loras", "aspect_ratio", "ckpt_name", "vae_name", "b1"} <= shared
    assert all(types_match(given[name], declared[name]) for name in shared)


@pytest.mark.parametrize(
    ("given", "declared", "matches"),
    [
        (sockets.CHOICE, ["a", "b"], True),
        (sockets.CHOICE, [], True),
        (sockets.CHOICE, "COMBO", True),
        (sockets.CHOICE, "STRING", False),
        (sockets.CHOICE, "INT", False),
        ("COMBO", sockets.CHOICE, True),
        ("STRING", ["a"], False),
    ],
)
def test_a_choice_goes_into_every_list_of_choices(given: Any, declared: Any, matches: bool) -> None:
    """As ComfyUI asks it: `not received != declared`, and never a list against a text."""
    assert types_match(given, declared) is matches
    assert (not given != declared) is matches  # noqa: SIM202
    assert json.dumps([sockets.CHOICE]) == '["COMBO"]'


@pytest.mark.usefixtures("pocket_host")
def test_wrong_names_are_reported_before_anything_runs() -> None:
    for graph, words in (
        (by_wire("FooocusReadInfo", image="gone.png"), r"image 'gone.png' does not exist"),
        (by_wire("FooocusPreset", preset="animee"), r"unknown preset 'animee' \(did you mean 'anime'"),
        (by_wire("FooocusPreset", preset="realistic"), r"default_styles: unknown style 'Fooocus Photograph'"),
    ):
        with pytest.raises(InvalidGraph, match=words):
            validate(graph, Registry(NODE_CLASS_MAPPINGS))


def test_a_changed_file_is_read_anew(pocket_host: LocalHost, tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.new("RGB", (4, 4)).save(path)
    before = FooocusReadInfo.IS_CHANGED("x.png")
    assert FooocusReadInfo.IS_CHANGED("x.png") == before
    Image.new("RGB", (4, 5)).save(path)
    assert FooocusReadInfo.IS_CHANGED("x.png") != before
    (tmp_path / "presets").mkdir()
    pocket_host.roots.append(tmp_path)
    old = FooocusPreset.IS_CHANGED("default")
    (tmp_path / "presets" / "default.json").write_text('{"default_clip_skip": 1}')
    assert FooocusPreset.IS_CHANGED("default") != old
