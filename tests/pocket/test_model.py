"""The committed model: small, with metadata that names it, and able to draw what is asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fooocus_stages.pipelines.stages.prompts.prompt import compose_with
from fooocus_stages.pocket.training import draw, export, painting, refiner, refining
from safetensors import safe_open

FILES = [
    painting.MODELS / "checkpoints" / f"{export.CHECKPOINT}.safetensors",
    painting.MODELS / "checkpoints" / f"{refiner.FILE}.safetensors",
    painting.MODELS / refining.FOLDER / f"{refining.FILE}.safetensors",
    *(painting.MODELS / "loras" / f"{name}.safetensors" for name in export.LORAS.values()),
]


def test_all_files_together_stay_below_38_megabytes():
    assert sum(path.stat().st_size for path in painting.MODELS.rglob("*") if path.is_file()) <= 38_000_000


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_file_says_what_it_is(path):
    with safe_open(path, "pt") as file:
        about = file.metadata()
    assert about["fooocus_stages.native_size"] == "128"
    assert about["modelspec.license"] == "GPL-3.0-or-later"
    assert "it is not the" in about["modelspec.description"].lower()


@pytest.mark.parametrize("performance", ["Speed", "Extreme Speed", "Lightning", "Hyper-SD"])
def test_a_red_circle_is_red(performance):
    pipeline = painting.open_pipeline(painting.MODELS, performance, [])
    if performance == "Speed":
        pipeline = replace(pipeline, settings=replace(pipeline.settings, steps=12))
    prompt = compose_with(pipeline.host, "a large red circle on a white background, on the left")[0][0]
    verdict = draw.judge(painting.paint(pipeline, [prompt], 3, 128, 128)[0])
    assert verdict == draw.Verdict("white", "red", "left")


def test_one_picture_is_the_same_alone_and_in_a_batch():
    pipeline = painting.open_pipeline(painting.MODELS, "Speed", [])
    pipeline = replace(pipeline, settings=replace(pipeline.settings, steps=4))
    prompts = compose_with(pipeline.host, "a blue star on a yellow background", count=2)[0]
    alone = painting.paint(pipeline, [prompts[0]], 5, 128, 128)[0]
    together = painting.paint(pipeline, list(prompts), 5, 128, 128)[0]
    assert abs(alone.astype(int) - together.astype(int)).max() <= 2
