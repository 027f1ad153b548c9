"""Every node, run twice on the same inputs, gives the same and leaves its inputs as they were."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from fooocus_stages.nodes import NODE_CLASS_MAPPINGS
from fooocus_stages.pipelines.host import LocalHost
from fooocus_stages.pipelines.models.hints import attention
from fooocus_stages.pipelines.models.weights.merging import Network
from fooocus_stages.pipelines.settings import (
    DEFAULT_CLIP_VISION,
    DEFAULT_IMAGE_PROMPT,
    DEFAULT_IP_NEGATIVE,
    INPAINT_MODES,
    SIDES,
)
from fooocus_stages.pipelines.stages import load
from fooocus_stages.serving.bundled.graph_builder import ApiGraph, GraphBuilder, Link, Node
from fooocus_stages.serving.bundled.modes import text_to_image
from fooocus_stages.serving.bundled.request import TextToImage
from fooocus_stages.serving.engine.runner import Runner
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import save_file

PRESET_SLOTS = NODE_CLASS_MAPPINGS["FooocusPreset"].RETURN_NAMES
INFO_SLOTS = NODE_CLASS_MAPPINGS["FooocusReadInfo"].RETURN_NAMES


LANDMARKS = "2,2 6,2 4,4 2,6 6,6"
SAVED = {"filename_prefix": "large", "format": "png", "quality": 95, "metadata": "none"}

# It changes ComfyUI's own MODEL: tests/parity/native_cases.py holds what it leaves alone.
IN_COMFYUI = {"FooocusModelPatch"}


def digest(value: Any) -> str:
    """A fingerprint of everything that a value holds, tensors and weights included."""
    if isinstance(value, torch.Tensor):
        return hashlib.sha256(value.detach().cpu().flatten().view(torch.uint8).numpy().tobytes()).hexdigest()
    if isinstance(value, Network):
        value.merge(())  # what is merged at the moment is no part of it: it must come off exactly
        return digest(value.module.state_dict())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return digest({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    if isinstance(value, dict):
        return str({key: digest(item) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return str([digest(item) for item in value])
    return value.__class__.__name__ if callable(value) or hasattr(value, "__dict__") else repr(value)


def picture_text(text: str) -> PngInfo:
    """The chunk in which a picture says how it was made."""
    chunks = PngInfo()
    chunks.add_text("parameters", text)
    return chunks


def every_node() -> ApiGraph:
    """A small graph with all of the pack's nodes in it."""
    graph = text_to_image(TextToImage("a red circle", performance="Speed", aspect_ratio="1024×1024", num_images=2))
    by_class = {node["class_type"]: node_id for node_id, node in graph.items()}
    graph[by_class["FooocusPerformance"]]["inputs"]["overwrite_step"] = 2
    graph[by_class["FooocusSaveImage"]]["inputs"]["format"] = "png"
    build = GraphBuilder()
    build.graph = graph
    graph[by_class["FooocusPrompt"]]["inputs"]["text"] = build.add("FooocusExpandPrompt", text="a red cross", seed=3)[0]
    none = {f"lora_{i}": "None" for i in range(2, 6)} | {f"weight_{i}": 1.0 for i in range(2, 6)}
    loras = [by_class["FooocusLora"], 0]
    stack = build.add("FooocusLoraStack", lora_1="sdxl_lcm_lora.safetensors", weight_1=0.1, **none, loras=loras)
    graph[by_class["FooocusPerformance"]]["inputs"]["loras"] = stack[0]
    model, settings = [by_class["FooocusApplyLoras"], 0], [by_class["FooocusPerformance"], 0]
    freeu = build.add("FooocusFreeU", model=model, b1=1.3, b2=1.4, s1=0.9, s2=0.2)
    sigmas = build.add("FooocusScheduler", model=freeu[0], settings=settings, denoise=1.0)
    sampler = graph[by_class["FooocusSampler"]]["inputs"]
    sampler |= {"model": freeu[0], "sigmas": sigmas[0]}
    preset = build.add("FooocusPreset", preset="default")
    graph[by_class["FooocusLoadCheckpoint"]]["inputs"]["clip_skip"] = preset[PRESET_SLOTS.index("clip_skip")]
    recipe = build.add("FooocusReadInfo", image="made.png")
    encoded = build.add(
        "FooocusVaeEncode",
        image=[by_class["FooocusVaeDecode"], 0],
        vae=[by_class["FooocusLoadCheckpoint"], 2],
        seed=recipe[INFO_SLOTS.index("seed")],
        tiled=False,
    )
    refined = add_refined(build, model, by_class)
    varied = build.add(
        "FooocusVary",
        image=[by_class["FooocusVaeDecode"], 0],
        model=refined[0],
        vae=refined[1],
        settings=settings,
        method="Vary (Subtle)",
        strength=0.5,
        seed=5,
    )
    sampler["control"] = add_control(build, by_class)
    build.add("FooocusSaveImage", images=add_enlarged(build, varied, by_class), **SAVED)
    graph[by_class["FooocusPrompt"]]["inputs"]["negative"] = build.add(
        "FooocusInpaintPrompt", text="", additional_prompt="blurred"
    )[0]
    build.add("FooocusSaveImage", images=add_inpainted(build, model, settings, by_class), **SAVED)
    image = build.add("FooocusVaeDecode", latent=encoded[0], vae=[by_class["FooocusLoadCheckpoint"], 2], tiled=True)
    checked = build.add("FooocusSafetyCheck", image=image[0], checker_name="pocket", mode="blur")
    build.add(
        "FooocusSaveImage", images=checked[0], filename_prefix="again", format="png", quality=95, metadata="a1111"
    )
    return graph


def add_control(build: GraphBuilder, by_class: dict[str, str]) -> Link:
    """Outlines of the structure of pictures cut out by five points, for the small network in the test's folder."""
    latent, vae = [by_class["FooocusAspectRatio"], 0], [by_class["FooocusLoadCheckpoint"], 2]
    image = build.add("FooocusVaeDecode", latent=latent, vae=vae, tiled=False)
    face = build.add("FooocusFaceCrop", image=image[0], landmarks=LANDMARKS)
    structure = build.add("FooocusCpds", image=face[0], width=64, height=64)
    outlines = build.add("FooocusPyraCanny", image=structure[0], low=64, high=128)
    network = build.add("FooocusLoadControl", control_name="control.safetensors")
    values = {"weight": 0.5, "start_at": 0.0, "stop_at": 1.0, "softness": 0.25}
    control = build.add("FooocusControl", image=outlines[0], control_net=network[0], **values)
    files = {"adapter_name": DEFAULT_IMAGE_PROMPT, "clip_vision_name": DEFAULT_CLIP_VISION}
    adapter = build.add("FooocusLoadImagePrompt", **files, negative_name=DEFAULT_IP_NEGATIVE)
    values = {"weight": 0.6, "stop_at": 1.0, "formula": "fooocus"}
    return build.add("FooocusImagePrompt", image=face[0], image_prompt=adapter[0], **values, control=control[0])[0]


def add_inpainted(build: GraphBuilder, model: Link, settings: Link, by_class: dict[str, str]) -> Link:
    """A picture made larger, its middle painted anew step by step, and what came of it in one node."""
    vae, image = [by_class["FooocusLoadCheckpoint"], 2], [by_class["FooocusVaeDecode"], 0]
    mask = build.add("FooocusMaskThreshold", mask=image, level=100, image=image)[0]
    inverted = build.add("FooocusMaskInvert", mask=mask)[0]
    both = build.add("FooocusMaskCombine", first=mask, second=inverted, how="add")
    grown = build.add("FooocusMaskGrow", mask=both[0], amount=-3)
    none = dict.fromkeys(("left", "top", "bottom"), False)
    padded = build.add("FooocusOutpaintPad", image=image, **none, right=True, share=0.3, pixels=8, mask=grown[0])
    region = build.add("FooocusInpaintCrop", image=padded[0], mask=padded[1], respective_field=0.5, model=model)
    filled = build.add("FooocusInpaintFill", image=region[1], mask=region[2])
    engine = build.add("FooocusInpaintModel", model=model, engine="v2.6", refiner_switch=0.5, refiner_swap="joint")
    to_encode = {"region": region[0], "model": engine[0], "vae": vae, "settings": settings, "filled": filled[0]}
    encoded = build.add("FooocusInpaintEncode", **to_encode, strength=1.0, initial_latent=True, seed=4)
    sides = [[by_class["FooocusEncodePrompt"], slot] for slot in (0, 1)]
    asked = {"positive": sides[0], "negative": sides[1], "settings": settings, "seed": 4}
    sampled = build.add("FooocusSampler", model=engine[0], latent=encoded[0], denoise=encoded[1], **asked)
    part = build.add("FooocusVaeDecode", latent=sampled[0], vae=vae, tiled=False)
    whole = build.add("FooocusInpaintPaste", image=part[0], region=region[0])
    preset = build.add("FooocusPreset", preset="default")
    at_once = build.add(
        "FooocusInpaint", image=whole[0], model=model, vae=vae, settings=settings, mode=next(iter(INPAINT_MODES)),
        **{f"outpaint_{side}": side == "top" for side in SIDES}, erode_or_dilate=2, invert_mask=False, seed=4,
        override=True, disable_initial_latent=True, engine=preset[PRESET_SLOTS.index("inpaint_engine")], strength=1.0,
        respective_field=0.3, mask=region[2],
    )  # fmt: skip
    return at_once[4]


def add_refined(build: GraphBuilder, model: Link, by_class: dict[str, str]) -> Node:
    """A switch to the model itself as its refiner."""
    refiner = build.add("FooocusLoadRefiner", refiner_name="juggernautXL_v8Rundiffusion.safetensors")
    vae = [by_class["FooocusLoadCheckpoint"], 2]
    switch = {"refiner_switch": 0.5, "refiner_swap": "joint", "refiner_step": -1}
    return build.add("FooocusRefinerSwitch", model=model, vae=vae, refiner=refiner[0], **switch)


def add_enlarged(build: GraphBuilder, varied: Node, by_class: dict[str, str]) -> Link:
    """A latent decoded, enlarged by the network alone and then as Fooocus does; its structure at that size is saved."""
    vae = [by_class["FooocusLoadCheckpoint"], 2]
    image = build.add("FooocusVaeDecode", latent=varied[0], vae=vae, tiled=False)
    upscaler = build.add("FooocusLoadUpscaler", upscaler_name="pocket")
    large = build.add("FooocusUpscaleImage", image=image[0], upscaler=upscaler[0], factor=0.5)
    fast = {"upscaler": upscaler[0], "method": "Upscale (Fast 2x)", "factor": 2.0}
    size = build.add("FooocusUpscaleSize", image=large[0], **fast)
    structure = build.add("FooocusCpds", image=large[0], width=size[0], height=size[1])
    build.add("FooocusSaveImage", images=structure[0], **SAVED)
    return build.add("FooocusUpscale", image=large[0], **fast, strength=0.382, steps=0, seed=1)[0]


def watched(node: Any, calls: list[str]) -> Any:
    """The node class with its function called twice, compared, and its inputs looked at before and after."""

    class Twice(node):  # type: ignore[misc]
        FUNCTION = "twice"

        def twice(self, **inputs: Any) -> Any:
            run = getattr(self, node.FUNCTION)
            before = digest(inputs)
            first, second = run(**inputs), run(**inputs)
            assert digest(inputs) == before, f"{node.__name__} changed its inputs"
            if not getattr(node, "OUTPUT_NODE", False):
                assert digest(first) == digest(second), f"{node.__name__} is not the same twice"
            calls.append(node.__name__)
            return second

    return Twice


@pytest.mark.usefixtures("pocket_host")
def test_every_node_is_the_same_twice_and_changes_nothing(
    pocket_host: LocalHost,
    control_lora_of: Callable[[Any], dict[str, torch.Tensor]],
    write_image_prompt: Callable[[Path, Sequence[int]], None],
    write_inpaint_engine: Callable[[Path, Any], None],
    tmp_path: Path,
) -> None:
    calls: list[str] = []
    (tmp_path / "controlnet").mkdir()
    unet = load.checkpoint(pocket_host, "pocket")[0].network.module
    save_file(control_lora_of(unet), tmp_path / "controlnet" / "control.safetensors")
    write_image_prompt(tmp_path, attention.widths(unet))
    write_inpaint_engine(tmp_path, unet)
    pocket_host.roots.append(tmp_path)
    Image.new("RGB", (8, 8)).save(pocket_host.folder("input") / "made.png", pnginfo=picture_text('{"seed": "3"}'))
    registry = {name: watched(node, calls) for name, node in NODE_CLASS_MAPPINGS.items()}
    Runner(registry).run(every_node())
    assert set(calls) == set(NODE_CLASS_MAPPINGS) - IN_COMFYUI
    saved = sorted(Path(pocket_host.folder("output")).glob("Fooocus_*.png"))
    assert len(saved) == 4
    pixels = [Image.open(path).tobytes() for path in saved]
    assert pixels[0] == pixels[1]
    assert pixels[2] == pixels[3]
