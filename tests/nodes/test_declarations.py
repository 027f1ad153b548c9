"""Node declarations: complete, valid, the same as those that saved workflows rely on, and rendered from one schema."""

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fooocus_stages.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from fooocus_stages.nodes.schema import Boolean, Combo, Float, Hidden, Input, Int, Output, Schema, String
from fooocus_stages.nodes.v1 import Node

NODES = list(NODE_CLASS_MAPPINGS.items())
IDS = list(NODE_CLASS_MAPPINGS)
OURS = "FOOOCUS_"
NATIVE = {
    "IMAGE",
    "MASK",
    "LATENT",
    "CONDITIONING",
    "MODEL",
    "CLIP",
    "SIGMAS",
    "STRING",
    "INT",
    "FLOAT",
    "BOOLEAN",
    "VAE",
    "UPSCALE_MODEL",
}
PROMISED: dict[str, Any] = json.loads((Path(__file__).parent / "object_info.json").read_text(encoding="utf-8"))
WORDING = {"tooltip", "placeholder", "advanced"}  # options that may change: no saved workflow depends on them
FREE_CHOICES = "COMBO"  # in the record: the choices depend on the files that are installed


def inputs_of(node: Any) -> dict[str, Any]:
    types = node.INPUT_TYPES()
    return {**types.get("required", {}), **types.get("optional", {})}


def test_every_node_has_a_title_and_an_id_of_ours() -> None:
    assert list(NODE_DISPLAY_NAME_MAPPINGS) == IDS
    assert all(node_id == node.__name__ and node_id.startswith("Fooocus") for node_id, node in NODES)


@pytest.mark.parametrize(("node_id", "node"), NODES, ids=IDS)
def test_node_describes_itself(node_id: str, node: Any) -> None:
    assert node.DESCRIPTION.endswith(".")
    assert node.CATEGORY.startswith("Fooocus/")
    assert all(tooltip.endswith(".") for tooltip in node.OUTPUT_TOOLTIPS)
    assert len(node.OUTPUT_TOOLTIPS) == len(node.RETURN_TYPES) == len(node.RETURN_NAMES) == len(node.OUTPUT_IS_LIST)
    assert callable(getattr(node, node.FUNCTION))


@pytest.mark.parametrize(("node_id", "node"), NODES, ids=IDS)
def test_every_input_has_a_tooltip_bounds_and_a_fitting_default(node_id: str, node: Any) -> None:
    for name, (kind, options) in inputs_of(node).items():
        assert options["tooltip"].endswith("."), name
        if kind in ("INT", "FLOAT"):
            assert options["min"] <= options["default"] <= options["max"], name
        if isinstance(kind, list):
            assert options.get("default", kind[0]) in kind, name
        assert isinstance(kind, list) or all(k in NATIVE or k.startswith(OURS) for k in kind.split(",")), name


@pytest.mark.parametrize(("node_id", "node"), NODES, ids=IDS)
def test_declaring_twice_gives_the_same(node_id: str, node: Any) -> None:
    assert node.INPUT_TYPES() == node.INPUT_TYPES()


@pytest.mark.parametrize(("node_id", "node"), NODES, ids=IDS)
def test_the_function_takes_what_is_declared(node_id: str, node: Any) -> None:
    """Every input by name; optional and hidden ones may be missing, so they have a default."""
    parameters = inspect.signature(getattr(node, node.FUNCTION)).parameters
    types = node.INPUT_TYPES()
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        assert parameters.keys() - {"self"} == {*inputs_of(node), *types.get("hidden", {})}
    for name in (*types.get("optional", {}), *types.get("hidden", {})):
        assert parameters[name].default is not inspect.Parameter.empty, name


@pytest.mark.parametrize(("node_id", "node"), NODES, ids=IDS)
def test_the_search_finds_it_by_what_others_call_it(node_id: str, node: Any) -> None:
    aliases = node.SEARCH_ALIASES
    assert aliases[0] == "fooocus"
    assert len(aliases) == len(set(aliases)) >= 3
    assert all(alias == alias.lower().strip() for alias in aliases)


@pytest.mark.parametrize(
    ("node_id", "names"),
    [
        ("FooocusSamplingSettings", {"adaptive_cfg", "adm_positive", "adm_negative", "adm_end", "as_fooocus"}),
        ("FooocusInpaint", {"override", "disable_initial_latent", "engine", "strength", "respective_field"}),
        ("FooocusControl", {"start_at", "softness"}),
    ],
)
def test_the_page_folds_away_what_few_people_change(node_id: str, names: set[str]) -> None:
    declared = inputs_of(NODE_CLASS_MAPPINGS[node_id])
    assert {name for name, (_, options) in declared.items() if options.get("advanced")} == names


@pytest.mark.parametrize(
    "words",
    [
        "face swap", "styles", "inpaint", "outpaint", "vary", "canny", "cpds", "upscale", "lora", "checkpoint",
        "refiner", "freeu", "wildcards", "ip-adapter", "controlnet", "preset", "metadata", "ksampler", "sharpness",
        "seed", "aspect ratio", "empty latent", "vae decode", "save image", "lightning", "png info", "mask",
    ],
)  # fmt: skip
def test_the_stages_of_fooocus_are_found_by_their_names(words: str) -> None:
    assert [node_id for node_id, node in NODES if words in node.SEARCH_ALIASES]


def without_wording(kind: Any, options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in WORDING}


@pytest.mark.usefixtures("pocket_host")
@pytest.mark.parametrize("node_id", list(PROMISED))
def test_saved_workflows_keep_their_nodes(node_id: str) -> None:
    """Saved workflows name nodes by id and inputs by name, and widgets and outputs by position: additions go last."""
    node, promised = NODE_CLASS_MAPPINGS[node_id], PROMISED[node_id]
    assert promised["menu"] == node.CATEGORY
    assert promised["output_node"] == node.OUTPUT_NODE
    assert NODE_DISPLAY_NAME_MAPPINGS[node_id] == promised["title"]
    types = node.INPUT_TYPES()
    assert types.get("hidden", {}) == promised["inputs"].get("hidden", {})
    for group in ("required", "optional"):
        declared, recorded = types.get(group, {}), promised["inputs"].get(group, {})
        assert list(declared)[: len(recorded)] == list(recorded)
        for name, (kind, options) in recorded.items():
            now, now_options = declared[name]
            assert without_wording(now, now_options) == options, name
            if kind == FREE_CHOICES:
                assert isinstance(now, list), name
            else:
                assert [choice for choice in now if choice in kind] == kind if isinstance(kind, list) else now == kind
    outputs = [list(row) for row in zip(node.RETURN_NAMES, node.RETURN_TYPES, node.OUTPUT_IS_LIST, strict=True)]
    assert outputs[: len(promised["outputs"])] == promised["outputs"]


def test_a_schema_becomes_what_the_server_reads() -> None:
    class Example(Node):
        schema = Schema(
            display_name="Example",
            category="Fooocus/example",
            description="Shows every kind.",
            search_aliases=("sample",),
            inputs=(
                Input("image", "IMAGE", "An image."),
                Input("count", Int(3, min=1, max=9, control_after_generate=True), "A count.", advanced=True),
                Input("weight", Float(0.5, min=0.0, max=1.0, step=0.1, round=0.01), "A weight."),
                Input("text", String(multiline=True, placeholder="words"), "A text."),
                Input("on", Boolean(), "A switch."),
                Input("file", Combo(lambda: ["a.bin", "sub/b.bin"], "b.bin"), "A file."),
                Input("styles", "STRING", "A text by wire.", optional=True, lazy=True),
            ),
            outputs=(Output("images", "IMAGE", "Images.", is_list=True), Output("seed", "INT", "A seed.")),
            hidden=(Hidden("graph", "PROMPT"),),
            is_output_node=True,
        )

    number = {"default": 3, "min": 1, "max": 9, "control_after_generate": True, "advanced": True, "tooltip": "A count."}
    assert Example.INPUT_TYPES() == {
        "required": {
            "image": ("IMAGE", {"tooltip": "An image."}),
            "count": ("INT", number),
            "weight": (
                "FLOAT",
                {"default": 0.5, "min": 0.0, "max": 1.0, "step": 0.1, "round": 0.01, "tooltip": "A weight."},
            ),
            "text": ("STRING", {"default": "", "multiline": True, "placeholder": "words", "tooltip": "A text."}),
            "on": ("BOOLEAN", {"default": False, "tooltip": "A switch."}),
            "file": (["a.bin", "sub/b.bin"], {"default": "sub/b.bin", "tooltip": "A file."}),
        },
        "optional": {"styles": ("STRING", {"forceInput": True, "lazy": True, "tooltip": "A text by wire."})},
        "hidden": {"graph": "PROMPT"},
    }
    assert (Example.RETURN_NAMES, Example.RETURN_TYPES) == (("images", "seed"), ("IMAGE", "INT"))
    assert (Example.OUTPUT_IS_LIST, Example.OUTPUT_TOOLTIPS) == ((True, False), ("Images.", "A seed."))
    assert (Example.CATEGORY, Example.DESCRIPTION) == ("Fooocus/example", "Shows every kind.")
    assert (Example.SEARCH_ALIASES, Example.OUTPUT_NODE, Example.FUNCTION) == (["fooocus", "sample"], True, "run")


def test_a_list_of_files_starts_with_the_published_one_in_any_folder() -> None:
    def chosen(*files: str) -> str:
        node = type("Files", (Node,), {"schema": Schema("", "", "", (), (Input("f", Combo(files, "x.bin"), ""),))})
        return str(node.INPUT_TYPES()["required"]["f"][1]["default"])

    assert chosen("a.bin", "sub/x.bin", "x.bin") == "x.bin"
    assert chosen("a.bin", "sub/x.bin") == "sub/x.bin"
    assert chosen("a.bin", "b.bin") == "a.bin"


def test_declaring_needs_no_torch() -> None:
    """The server imports every pack when it starts, and asks for all declarations when the page opens."""
    program = (
        "import sys; from fooocus_stages.nodes import NODE_CLASS_MAPPINGS as nodes; "
        "[node.INPUT_TYPES() for node in nodes.values()]; "
        "assert not {'torch', 'diffusers', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
