"""The pocket's refiner: rotated latents, an interposer for them, and refined images."""

from __future__ import annotations

from dataclasses import astuple, replace

import numpy as np
import pytest
import torch
from fooocus_stages.pipelines.errors import BadValue
from fooocus_stages.pipelines.host import LocalHost
from fooocus_stages.pipelines.models.clip import encode_texts
from fooocus_stages.pipelines.models.interposer import convert, load_interposer
from fooocus_stages.pipelines.stages.prompts.prompt import compose_with
from fooocus_stages.pipelines.stages.sampling import refiner as refiners
from fooocus_stages.pocket.training import draw, loop, networks, painting, refiner, refining
from safetensors import safe_open

CHECKPOINT = painting.MODELS / "checkpoints" / f"{refiner.FILE}.safetensors"
INTERPOSER = painting.MODELS / refining.FOLDER / f"{refining.FILE}.safetensors"


@pytest.fixture(scope="module")
def host():
    return LocalHost([painting.MODELS], device="cpu")


@pytest.fixture(scope="module")
def found(host):
    return refiners.load_refiner(host, CHECKPOINT.name)


@pytest.fixture(scope="module")
def shown():
    """Drawings of unseen scenes, (4, 3, 128, 128) in -1…1."""
    rng = np.random.default_rng(31)
    return refiner.pictures(rng, 4)


def test_the_file_is_one_of_sd15_without_text_encoders(found):
    assert found.model.family == found.vae.family == "sd15"
    assert found.model.native_size == networks.NATIVE_SIZE
    assert networks.count(found.model.network.module) < 3e6
    with safe_open(CHECKPOINT, "pt") as file:
        assert {key.split(".")[0] for key in file.keys()} == {"model", "first_stage_model"}  # noqa: SIM118


def test_turning_latents_changes_their_axes_and_nothing_that_is_decoded(shown):
    torch.manual_seed(0)
    vae = refiner.build_vae().eval()
    refiner.init_from(vae, refiner.open_base()[2].network.module)
    small = shown[:2, :, ::2, ::2]
    with torch.no_grad():
        before = vae.encode(small).latent_dist.mean
        decoded = vae.decode(before).sample
        flat = before.transpose(0, 1).flatten(1)
        refiner.rotate_latents(vae, flat.mean(1), torch.cov(flat))
        after = vae.encode(small).latent_dist
        torch.testing.assert_close(vae.decode(after.mean).sample, decoded, atol=1e-3, rtol=0)
    scaled = (after.mean * refiner.SCALING_FACTOR).transpose(0, 1).flatten(1)
    torch.testing.assert_close(scaled.mean(1), torch.zeros(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(torch.cov(scaled), torch.eye(4), atol=1e-2, rtol=0)
    torch.testing.assert_close(after.logvar, torch.full_like(after.logvar, networks.POSTERIOR_LOGVAR))


def test_training_reads_a_prompt_as_the_refiner_gets_it(found):
    base, clip, _ = refiner.open_base()
    text = "a small dotted green star on a black background"
    tokens, _ = encode_texts(clip, [text], 1, lambda *_: torch.device("cpu"))
    at_run_time = refiners.refiner_conditioning([[tokens, {}]], base, found.model)[0][0]
    torch.testing.assert_close(refiner.TextReader(clip)([[text]]), at_run_time)


def test_the_interposer_makes_the_refiners_latents_of_the_bases(found, shown):
    base = refiner.encode_means(refiner.open_base()[2].network.module, shown)
    own = refiner.encode_means(found.vae.network.module, shown) * refiner.SCALING_FACTOR
    turned = convert(load_interposer(INTERPOSER), base) * refiner.SCALING_FACTOR
    unturned = base * networks.SCALING_FACTOR
    assert (turned - own).square().mean() < 0.1 * own.var()
    assert (unturned - own).square().mean() > own.var()


def test_an_interposer_reads_back_as_it_was_trained(tmp_path):
    torch.manual_seed(3)
    network = refining.build_interposer()
    for _ in range(3):
        network(torch.randn(4, 4, 8, 8))  # its norms measure
    network.half().float().eval()
    torch.save({"network": network.state_dict()}, tmp_path / "interposer.pt")
    again = load_interposer(refining.write_interposer(tmp_path, tmp_path / "models"))
    x = torch.randn(2, 4, 8, 8)
    torch.testing.assert_close(convert(again, x), network(x).detach())


@pytest.fixture
def begun(tmp_path):
    """A training folder with an autoencoder, latent pairs and a dataset of random values."""
    torch.manual_seed(5)
    torch.save(refiner.build_vae().state_dict(), tmp_path / "refiner_vae_turned.pt")
    pairs = {name: torch.randn(refining.PAIRS, 4, 16, 16) for name in ("base", "refiner")}
    torch.save(pairs, tmp_path / "latent_pairs.pt")
    latents = [torch.randn(2, 4, height // 8, width // 8) for height, width, _ in loop.buckets()]
    scenes = [[astuple(draw.Scene("star", "red", "blue"))] * 2] * len(latents)
    torch.save({"latents": latents, "scenes": scenes}, tmp_path / "refiner_gallery.pt")
    return tmp_path


@pytest.mark.parametrize(
    ("stage", "train"),
    [("interposer", refining.train_interposer), ("refiner", refining.train_unet)],
    ids=["interposer", "refiner"],
)
def test_a_training_can_be_resumed(begun, stage, train):
    for steps in (1, 2):
        train(begun, minutes=1e-9)  # one step
        assert torch.load(begun / f"{stage}.pt", weights_only=True)["step"] == steps


def test_a_trained_checkpoint_reads_back(begun):
    torch.save({"ema": refiner.build_unet().half().float().state_dict()}, begun / "refiner.pt")
    path = refining.write_checkpoint(begun, begun / "models")
    again = refiners.load_refiner(LocalHost([begun / "models"], device="cpu"), path.name)
    trained = torch.load(begun / "refiner.pt", weights_only=True)["ema"]
    state = again.model.network.module.state_dict()
    assert state.keys() == trained.keys()
    assert all(torch.equal(state[name].flatten(), trained[name].flatten()) for name in trained)


@pytest.mark.parametrize("at", [0.4, 0.8])
def test_a_refined_picture_shows_the_prompt(at):
    pipeline = painting.open_pipeline(painting.MODELS, "Speed", [])
    pipeline = replace(pipeline, settings=replace(pipeline.settings, steps=15))
    pipeline = painting.with_refiner(pipeline, at)
    prompt = compose_with(pipeline.host, "a large red circle on a white background, on the left")[0][0]
    verdict = draw.judge(painting.paint(pipeline, [prompt], 3, 128, 128)[0])
    assert verdict == draw.Verdict("white", "red", "left")


def test_a_switch_outside_0_to_1_is_an_error(host, found):
    base, _, vae = refiner.open_base()
    with pytest.raises(BadValue, match=r"switch_at is 1\.5"):
        refiners.with_refiner(host, base, vae, found, at=1.5)
