"""The bundled workflows: both forms agree, are as the requests say, validate, and run with the pocket model."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import fooocus_stages
import numpy as np
import pytest
from fooocus_stages.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from fooocus_stages.nodes.headless import HEADLESS_NODES
from fooocus_stages.pipelines.assets.catalogue import download_link
from fooocus_stages.pipelines.errors import BadGraph
from fooocus_stages.pipelines.host import LocalHost
from fooocus_stages.pocket.training.draw import judge
from fooocus_stages.serving.bundled import building_blocks, catalogue, help_pages, native_models, write_workflows
from fooocus_stages.serving.bundled.node_inputs import declared_inputs, has_seed_control, is_widget
from fooocus_stages.serving.engine.declarations import Registry
from fooocus_stages.serving.engine.graph import is_link
from fooocus_stages.serving.engine.runner import Runner
from fooocus_stages.serving.engine.validate import validate
from PIL import Image

ROOT = Path(fooocus_stages.__file__).parent
WORKFLOWS = ROOT / "workflows"
WORKER = Path(__file__).parent / "golden" / "worker"
REGISTRY = {**NODE_CLASS_MAPPINGS, **HEADLESS_NODES}
NAMES = [template.name for template in write_workflows.BUNDLED]
NATIVE = [workflow.name for workflow in native_models.NATIVE_WORKFLOWS]
OUTPUTS = ("FooocusSaveImage", "SaveImage", "PreviewImage")
WORKER_REQUESTS = {
    entry["mode"]: entry["request"] for entry in json.loads((WORKER / "requests.json").read_text(encoding="utf-8"))
}


def read(name: str) -> Any:
    return json.loads((WORKFLOWS / name).read_text(encoding="utf-8"))


@pytest.mark.usefixtures("pocket_host")
def test_the_files_are_what_the_requests_say() -> None:
    written = write_workflows.files(REGISTRY, fooocus_stages.__version__, download_link)
    assert sorted(written) == sorted(p.relative_to(WORKFLOWS).as_posix() for p in WORKFLOWS.rglob("*.json"))
    for name, text in written.items():
        assert (WORKFLOWS / name).read_text(encoding="utf-8") == text, f"{name}: run make workflows"


MODES = (
    "B01 B02 B03 B04 B05 B06 B07 B08 B09 B10 B11 B12 B13 B14 B15 "
    "P01 P02 P03 P04 P05 P06 P07 P08 P09 P10 P11 P12 P13 P14 P15 "
    "I01 I02 I03 I04 I05 I06 I07 I08 I09 I10 I11 I12 I13 I14 I15 I16 I17 I18 I19 "
    "U01 U02 U03 U04 U05 U07 U08 U09"
)
SIZES = {  # of pictures that are not 128×128
    "image-prompt-upscale-1.5x": (192, 192),
    "image-prompt-upscale-2x": (256, 256),
    "image-prompt-outpaint": (166, 128),
    "outpaint-left": (166, 128),
    "outpaint-right": (166, 128),
    "outpaint-top": (128, 166),
    "outpaint-bottom": (128, 166),
    "outpaint-all-sides": (204, 204),
    "inpaint-and-outpaint": (166, 128),
    "upscale-1.5x": (192, 192),
    "upscale-2x": (256, 256),
    "upscale-image-prompt": (256, 256),
    "upscale-fast-2x": (1024, 1024),
}


def test_every_mode_so_far_has_its_file() -> None:
    assert [t.mode for t in catalogue.TEMPLATES] == MODES.split()


def to_api(canvas: dict[str, Any]) -> dict[str, Any]:
    """The API form of a canvas file of ours, as the page's own export gives it."""
    sources = {link[0]: [str(link[1]), link[2]] for link in canvas["links"]}
    graph: dict[str, Any] = {}
    for node in canvas["nodes"]:
        if node["type"] not in REGISTRY:
            continue
        values = iter(node["widgets_values"])
        inputs: dict[str, Any] = {}
        linked = {i["name"]: i["link"] for i in node["inputs"]}
        for name, declared in declared_inputs(REGISTRY[node["type"]]):
            if is_widget(declared):
                value = next(values)
                if has_seed_control(name, declared):
                    next(values)
                inputs[name] = value
            if linked.get(name) is not None:
                inputs[name] = sources[linked[name]]
        graph[str(node["id"])] = {"class_type": node["type"], "inputs": inputs, "_meta": {"title": node["title"]}}
    return graph


@pytest.mark.usefixtures("pocket_host")
@pytest.mark.parametrize("name", NAMES)
def test_both_forms_agree(name: str) -> None:
    canvas, api = read(f"{name}.json"), read(f"api/{name}.json")
    assert to_api(canvas) == api


@pytest.mark.parametrize("name", NAMES)
def test_the_canvas_form_is_whole(name: str) -> None:
    canvas = read(f"{name}.json")
    nodes = {node["id"]: node for node in canvas["nodes"]}
    for link_id, source, slot, target, target_slot, kind in canvas["links"]:
        assert link_id in nodes[source]["outputs"][slot]["links"]
        assert nodes[target]["inputs"][target_slot]["link"] == link_id
        assert kind in [
            *nodes[target]["inputs"][target_slot]["type"].split(","),
            nodes[source]["outputs"][slot]["type"],
        ]
    boxes = [(n["pos"][0], n["pos"][1], n["pos"][0] + n["size"][0], n["pos"][1] + n["size"][1]) for n in nodes.values()]
    for i, a in enumerate(boxes):
        for b in boxes[i + 1 :]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], f"{a} and {b} overlap"
    assert canvas["groups"]


@pytest.mark.parametrize("name", NAMES)
def test_the_note_describes_the_workflow_and_names_only_nodes_that_are_there(name: str) -> None:
    canvas = read(f"{name}.json")
    about, titles = canvas["extra"]["fooocus_stages"], {node["title"] for node in canvas["nodes"]}
    (text,) = (node["widgets_values"][0] for node in canvas["nodes"] if node["type"] == "MarkdownNote")
    heading, description, *_ = text.split("\n\n")
    assert (heading, description) == (f"## {about['title']}", about["description"])
    named = set(re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", text))
    assert named <= titles | {
        "Open in MaskEditor",
        "Extensions",
        "fooocus-stages",
    }  # the others are in the page's menus
    files = {model["name"] for node in canvas["nodes"] for model in node["properties"].get("models", [])}
    assert all(file in text for file in files)


@pytest.mark.parametrize("name", NAMES)
def test_the_page_can_download_every_file_that_a_node_names(name: str) -> None:
    for node in read(f"{name}.json")["nodes"]:
        offered = node["properties"].get("models", [])
        named = {str(v) for v in node["widgets_values"] if Path(str(v)).suffix in (".safetensors", ".bin", ".pth")}
        assert named <= {model["name"] for model in offered}
        assert all(model["url"].startswith("https://") and model["directory"] for model in offered)


@pytest.mark.usefixtures("pocket_host")
@pytest.mark.parametrize("name", [name for name in NAMES if name not in NATIVE])
def test_it_validates(name: str) -> None:
    api = read(f"api/{name}.json")
    assert validate(api, Registry(REGISTRY)).graph.keys() == api.keys()


@pytest.mark.parametrize("name", NAMES)
def test_checkpoints_are_named_by_their_files(name: str) -> None:
    for node in read(f"api/{name}.json").values():
        for key, value in node["inputs"].items():
            assert is_link(value) or key != "ckpt_name" or value.endswith(".safetensors")


def other_than_the_worker_ran(template: catalogue.Template) -> bool:
    """Whether more than styles and seed sets a workflow apart from the one that tests/parity/test_worker.py runs."""
    ours, theirs = json.loads(json.dumps(asdict(template.request))), WORKER_REQUESTS.get(template.mode, {})
    apart = {name for name in ours if name not in theirs or ours[name] != theirs[name]}
    return not apart <= {"styles", "seed"} or bool(ours.get("outpaint") and not ours["options"])


AS_THEY_ARE = [
    "text-to-image-extreme-speed",
    "text-to-image-styles-only",
    *(template.name for template in catalogue.TEMPLATES if other_than_the_worker_ran(template)),
]


@pytest.mark.parametrize("name", AS_THEY_ARE)
def test_it_runs_with_the_pocket_model(name: str, pocket_host: LocalHost) -> None:
    results = Runner(REGISTRY).run(read(f"api/{name}.json"))
    (shown,) = results.ui.values()
    assert len(shown["images"]) == (4 if name.endswith("four-images") else 1)
    for saved in shown["images"]:
        check_picture(pocket_host.folder("output") / saved["subfolder"] / saved["filename"], name)


@pytest.mark.parametrize("block", building_blocks.BUILDING_BLOCKS, ids=lambda block: block.name)
def test_a_building_block_runs_with_the_pocket_model(
    block: building_blocks.BuildingBlock, pocket_host: LocalHost
) -> None:
    results = Runner(REGISTRY).run(read(f"api/{block.name}.json"))
    assert results.ui.keys() == {i for i, node in block.graph.items() if node["class_type"] in OUTPUTS}
    for image in (image for shown in results.ui.values() for image in shown["images"]):
        with Image.open(pocket_host.folder(image["type"]) / image["subfolder"] / image["filename"]) as picture:
            if image["type"] == "output":
                assert judge(np.asarray(picture.convert("RGB").resize((128, 128)))).colour == "red"
            assert picture.convert("L").getextrema()[1] > 0


@pytest.mark.usefixtures("pocket_host")
@pytest.mark.parametrize("name", NATIVE)
def test_a_workflow_on_comfyuis_own_model_says_where_it_runs(name: str) -> None:
    with pytest.raises(BadGraph, match=r"CheckpointLoaderSimple is a node of ComfyUI.*--comfyui"):
        Runner(REGISTRY).run(read(f"api/{name}.json"))


def test_every_node_is_in_a_bundled_workflow() -> None:
    used = {node["class_type"] for template in write_workflows.BUNDLED for node in template.graph.values()}
    assert used >= set(NODE_CLASS_MAPPINGS)


def test_the_page_finds_a_template_by_the_name_of_fooocus() -> None:
    """The page of ComfyUI splits the file name of a pack's template at hyphens, and searches nothing else of it."""
    assert any("fooocus" in name.split("-") for name in NAMES)


@pytest.mark.parametrize("mode", WORKER_REQUESTS)
def test_the_pictures_of_the_worker_show_what_the_prompt_says(mode: str) -> None:
    (name,) = (template.name for template in catalogue.TEMPLATES if template.mode == mode)
    paths = list((WORKER / mode).glob("*.png"))
    assert len(paths) == (4 if name.endswith("four-images") else 1)
    for path in paths:
        check_picture(path, name, "orange" if mode in ("B02", "P07") else "yellow")


def check_picture(path: Path, name: str, background: str = "yellow") -> None:
    with Image.open(path) as picture:
        assert picture.size == SIZES.get(name, (128, 128))
        seen = judge(np.asarray(picture.convert("RGB").resize((128, 128))))
        assert (seen.colour, seen.background) == ("red", background)


@pytest.mark.usefixtures("pocket_host")
def test_the_help_pages_and_the_list_of_nodes_are_what_the_nodes_declare() -> None:
    written = help_pages.files(NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS)
    assert set(written) == {*(f"web/docs/{node_id}.md" for node_id in NODE_CLASS_MAPPINGS), "docs/nodes.md"}
    assert {path.name for path in (ROOT / "web" / "docs").iterdir()} == {f"{name}.md" for name in NODE_CLASS_MAPPINGS}
    for name, text in written.items():
        assert (ROOT / name).read_text(encoding="utf-8") == text, f"{name}: run make workflows"


def test_help_pages_put_the_description_before_the_type_and_show_prompt_syntax_as_it_is() -> None:
    lines = help_pages.page("Fooocus Prompt", NODE_CLASS_MAPPINGS["FooocusPrompt"]).splitlines()
    assert [line for line in lines if line.startswith(("| Input", "| Output"))] == [
        "| Input | Description | Type |",
        "| Output | Description | Type |",
    ]
    assert "| INT, 1 to 32 |" in next(line for line in lines if line.startswith("| num_images |"))
    assert r"\_\_name\_\_" in lines[2]
    assert r"\[\[a, b\]\]" in lines[2]
    assert r"\<lora:name:weight>" in lines[2]
