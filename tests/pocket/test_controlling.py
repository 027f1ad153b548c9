"""The pocket's control-LoRAs: initialisation, file format, and images that follow their hints."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fooocus_stages.pipelines.models.hints.controlnet import load_controlnet
from fooocus_stages.pocket.training import base, controlling, diffusion, draw, evaluate_hints, painting
from safetensors import safe_open

KINDS = list(controlling.FILES)
COMMITTED = {kind: painting.MODELS / controlling.FOLDER / f"{name}.safetensors" for kind, name in
             controlling.FILES.items()}  # fmt: skip


@pytest.fixture(scope="module")
def frozen():
    return base.open_base()


def test_an_untrained_one_changes_nothing_and_learns_everywhere_but_in_the_base(frozen):
    torch.manual_seed(0)
    network, tensors = controlling.attach("canny", controlling.build_tensors(frozen.unet), frozen.unet)
    x, t = torch.randn(2, 4, 8, 8), torch.tensor([700, 300])
    hints = torch.rand(2, 3, 64, 64)
    told = base.condition_for(frozen, ["a red circle", ""], (64, 64), np.random.default_rng(0))
    eps = controlling.predict_noise_with_control(frozen, network, x, t, told, hints)
    plain = diffusion.predict_noise(frozen.unet, x, diffusion.SIGMAS[t], t, told)
    torch.testing.assert_close(eps, plain)
    eps.square().mean().backward()
    assert all(parameter.grad is not None for parameter in tensors.parameters())
    assert all(parameter.grad is None for parameter in frozen.unet.parameters())


def test_a_training_can_be_resumed_and_is_written_as_it_ended(tmp_path, monkeypatch, frozen):
    monkeypatch.setattr(controlling, "SIZES", ((64, 64, 2),))
    for steps in (1, 2):
        controlling.train("canny", tmp_path, minutes=1e-9)  # one step
        assert torch.load(tmp_path / "canny.pt", weights_only=True)["step"] == steps
    again = load_controlnet(controlling.write("canny", tmp_path, tmp_path / "models"), torch.float32)
    kept = controlling.trained(tmp_path / "canny.pt", controlling.build_tensors(frozen.unet))
    read = again.tensors.named()
    assert again.is_lora
    assert read.keys() == kept.keys()
    assert all(torch.equal(read[name], tensor.half().float()) for name, tensor in kept.items())


@pytest.mark.parametrize("kind", KINDS)
def test_each_file_is_a_small_control_lora_and_says_what_it_is(kind):
    with safe_open(COMMITTED[kind], "pt") as file:
        about, keys = file.metadata(), set(file.keys())
    assert "lora_controlnet" in keys
    assert {"input_hint_block.0.weight", "zero_convs.5.0.bias", "middle_block_out.0.weight"} <= keys
    assert about["modelspec.license"] == "GPL-3.0-or-later"
    assert "it is not the" in about["modelspec.description"].lower()
    assert COMMITTED[kind].stat().st_size < 1_000_000


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_follow_their_own_hints_and_not_anothers(kind):
    pipeline = painting.open_pipeline(painting.MODELS, "Speed", [])
    pipeline = replace(pipeline, settings=replace(pipeline.settings, steps=10))
    found = evaluate_hints.follow_control(pipeline, kind, count=4, weight=1.0, stop_at=1.0, batch=4)
    assert found.score.right["position"] == 4
    assert found.score.right["background"] >= 3
    assert np.mean(found.own) > np.mean(found.others) + 0.25


def test_captions_tell_what_is_not_left_out():
    scene = draw.Scene("star", "red", "blue", "striped", "large", "left")
    hidden = {"shape": ("star",), "colour": ("red",), "background": ("blue",), "pattern": ("striped",),
              "size": ("large",), "position": ("left",)}  # fmt: skip
    rng = np.random.default_rng(0)
    for _ in range(20):
        whole = base.caption_without(scene, set(), rng)
        assert all(word in whole for words in hidden.values() for word in words)
        for field, words in hidden.items():
            text = base.caption_without(scene, {field}, rng)
            assert not set(words) & set(text.replace(",", "").split())
            assert all(word in text for other, told in hidden.items() if other != field for word in told)
