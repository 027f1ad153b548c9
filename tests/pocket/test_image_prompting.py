"""The pocket's image prompts: training and the pack agree, and image prompts transfer colours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fooocus_stages.pipelines.functional.latents import from_uint8
from fooocus_stages.pipelines.host import LocalHost
from fooocus_stages.pipelines.models.hints import attention
from fooocus_stages.pipelines.stages import image_prompt
from fooocus_stages.pipelines.stages.sampling import image_hints
from fooocus_stages.pocket.training import base, controlling, diffusion, draw, evaluate_hints, painting
from fooocus_stages.pocket.training import image_prompting as ours
from safetensors import safe_open

HALVES = [painting.MODELS / ours.FOLDER / f"{ours.NEGATIVE}.safetensors",
          painting.MODELS / ours.VISION_FOLDER / f"{ours.VISION}.safetensors"]  # fmt: skip


@pytest.fixture(scope="module")
def frozen():
    return base.open_base()


def test_what_is_trained_is_written_and_read_as_the_pack_reads_it(tmp_path, monkeypatch, frozen):
    monkeypatch.setattr(controlling, "SIZES", ((64, 64, 4),))
    monkeypatch.setattr(ours, "POOL", 4)
    monkeypatch.setattr(ours, "NAMING_FRACTION", 0.0)
    for steps in (1, 2):
        ours.train(tmp_path, minutes=1e-9)  # one step
        assert torch.load(tmp_path / "image-prompt.pt", weights_only=True)["step"] == steps
    ours.write(tmp_path, tmp_path)
    model = ours.ImagePromptModel(attention.widths(frozen.unet))
    model.load_state_dict(torch.load(tmp_path / "image-prompt.pt", weights_only=True)["model"])
    model.half().float()

    host = LocalHost([tmp_path], device="cpu")
    drawing = draw.draw(draw.Scene("cross", "red", "blue"), np.random.default_rng(0), 96, 128)
    seen = image_prompt.load(host, f"{ours.ADAPTERS[0]}.bin", f"{ours.VISION}.safetensors")
    (hint,) = image_prompt.prompt(host, seen, from_uint8(torch.from_numpy(drawing))[None], weight=0.8, stop_at=1.0)
    whole = painting.open_pipeline(painting.MODELS, "Speed", []).model
    network = whole.network
    at_run_time = image_hints.prompts_by_progress(network, whole.name, (hint,), 2, 1, torch.device("cpu"))(0.0)
    x, sigma, t = torch.randn(2, 4, 8, 8), torch.tensor([4.0, 4.0]), torch.tensor([700, 700])
    told = base.condition_for(frozen, ["a star", ""], (64, 64), np.random.default_rng(0))
    with torch.no_grad():
        tokens = torch.cat([model(ours.to_pixels([drawing])), model.negative])
        with ours.image_prompt_attached(frozen.unet, model, tokens, weight=0.8):
            trained = diffusion.predict_noise(frozen.unet, x, sigma, t, told)
        with attention.image_prompts_attached(frozen.unet, at_run_time):
            torch.testing.assert_close(
                diffusion.predict_noise(frozen.unet, x, sigma, t, told), trained, atol=1e-4, rtol=0
            )


@pytest.mark.parametrize("path", HALVES, ids=lambda path: path.stem)
def test_each_file_says_what_it_is(path):
    with safe_open(path, "pt") as file:
        about = file.metadata()
    assert about["modelspec.license"] == "GPL-3.0-or-later"
    assert "is not the" in about["modelspec.description"].lower()


@pytest.mark.parametrize("adapter", ours.ADAPTERS)
def test_the_committed_adapters_belong_to_the_base(adapter, frozen):
    host = LocalHost([painting.MODELS], device="cpu")
    seen = image_prompt.load(host, f"{adapter}.bin", f"{ours.VISION}.safetensors")
    assert seen.adapter.widths == attention.widths(frozen.unet)
    assert seen.negative is not None


def test_colours_of_a_picture_are_taken_over():
    pipeline = painting.open_pipeline(painting.MODELS, "Speed", [])
    pipeline = replace(pipeline, settings=replace(pipeline.settings, steps=10))
    found = evaluate_hints.follow_image_prompt(pipeline, count=4, weight=1.0, stop_at=1.0, batch=4)
    assert found.right["background"] >= 3
    assert found.right["colour"] >= 3
    assert found.right["position"] >= 3


def test_the_image_beside_an_incomplete_caption_has_what_the_caption_leaves_out():
    rng = np.random.default_rng(4)
    silent = 0
    for _ in range(60):
        scene = draw.random_scene(rng)
        text, shown = ours.training_example(scene, rng)
        assert (shown.colour, shown.background) == (scene.colour, scene.background)
        assert not set(text.replace(",", "").split()) & set(draw.COLOURS)
        assert text or shown == scene
        silent += not text
    assert 5 <= silent <= 30
