"""Whole pictures: every mode's request through graph, runner and save node, beside what Fooocus's worker made of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fooocus_stages.nodes import NODE_CLASS_MAPPINGS
from fooocus_stages.nodes.headless import HEADLESS_NODES
from fooocus_stages.pipelines.host import LocalHost
from fooocus_stages.pipelines.types import Lora
from fooocus_stages.serving.bundled.catalogue import TEMPLATES
from fooocus_stages.serving.bundled.modes import graph_of
from fooocus_stages.serving.bundled.request import ImagePrompt, Inpaint, InpaintOptions, TextToImage, UpscaleOrVary
from fooocus_stages.serving.engine.runner import Runner
from PIL import Image

from .golden import FOLDER, missing

WORKER = FOLDER / "worker"
REGISTRY: dict[str, type[Any]] = {**NODE_CLASS_MAPPINGS, **HEADLESS_NODES}
KINDS = {kind.__name__: kind for kind in (TextToImage, Inpaint, UpscaleOrVary)}
PARTS: dict[str, Callable[[Any], Any]] = {
    "styles": tuple,
    "outpaint": tuple,
    "loras": lambda loras: tuple(Lora(**lora) for lora in loras),
    "image_prompts": lambda prompts: tuple(ImagePrompt(**prompt) for prompt in prompts),
    "options": lambda options: options and InpaintOptions(**options),
}
SEED = 12345  # of the pictures whose request has the seed of the bundled workflow
BUNDLED_SEEDS = {template.mode: template.request.seed for template in TEMPLATES}


def each_entry() -> pytest.MarkDecorator:
    """Run the test once per mode of the group; the argument is called `entry`."""
    if reason := missing("worker/requests"):
        return pytest.mark.parametrize("entry", [pytest.param(None, id="worker", marks=pytest.mark.skip(reason))])
    entries = json.loads((WORKER / "requests.json").read_text(encoding="utf-8"))
    return pytest.mark.parametrize("entry", entries, ids=[entry["mode"] for entry in entries])


@each_entry()
def test_a_mode_makes_the_pictures_of_the_worker(entry: dict[str, Any], pocket_host: LocalHost) -> None:
    ours = run(request_of(entry), pocket_host)
    golden = [read(path) for path in sorted((WORKER / entry["mode"]).glob("*.png"))]
    assert len(ours) == len(golden) > 0
    far = [
        f"{entry['mode']}, picture {number}: {difference}"
        for number, pair in enumerate(zip(ours, golden, strict=True))
        if (difference := difference_of(*pair))
    ]
    assert not far, "; ".join(far)


def request_of(entry: dict[str, Any]) -> TextToImage:
    """The request that the worker was given, saved without loss."""
    fields = {name: PARTS[name](value) if name in PARTS else value for name, value in entry["request"].items()}
    request = replace(KINDS[entry["kind"]](**fields), output_format="png")
    if request.seed == BUNDLED_SEEDS.get(entry["mode"]):
        request = replace(request, seed=SEED)
    if isinstance(request, Inpaint) and request.outpaint and request.options is None:
        request = replace(request, options=InpaintOptions(respective_field=0.618))  # docs/DEVIATIONS.md
    return request


def run(request: TextToImage, host: LocalHost) -> list[np.ndarray]:
    """The pictures that the graph of a request saves, in order."""
    (shown,) = Runner(REGISTRY).run(graph_of(request)).ui.values()
    return [read(host.folder("output") / saved["subfolder"] / saved["filename"]) for saved in shown["images"]]


def read(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"), dtype=np.int16)


def difference_of(ours: np.ndarray, golden: np.ndarray, within: int = 1) -> str:
    """How far pictures (H, W, 3) are from each other; '' where every value is near enough."""
    if ours.shape != golden.shape:
        return f"shape {ours.shape}, golden {golden.shape}"
    error = np.abs(ours - golden)
    if error.max() <= within:
        return ""
    return f"values differ by up to {error.max()}, {error.mean():.4f} in the mean; allowed {within}"
