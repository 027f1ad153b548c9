"""The pocket's inpaint engine: initialisation, file format, and what it paints into a hole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fooocus_stages.pipelines.functional.latents import latent_mask
from fooocus_stages.pipelines.models.hints import inpaint_patch
from fooocus_stages.pipelines.settings import INPAINT_HEAD, INPAINT_PATCHES
from fooocus_stages.pocket.training import base, diffusion, draw, evaluate_inpaint, inpainting, painting, refiner
from PIL import Image

COMMITTED = painting.MODELS / inpainting.FOLDER
VERSIONS = list(inpainting.CHANGED)
PICTURES = painting.MODELS.parent / "pictures"


def page_of(sides: tuple[int, int], count: int = 2) -> inpainting.Bucket:
    scene = draw.Scene("circle", "red", "blue")
    latents = torch.randn(2, count, 4, *sides)
    holes = torch.zeros(count, 1, *sides)
    holes[:, :, 2:6, 1:5] = 1
    return inpainting.Bucket((scene,) * count, latents[0], latents[1], holes)


def test_an_untrained_one_changes_nothing_and_learns_where_its_version_does():
    frozen = base.open_base()
    frozen.unet.requires_grad_(False)
    torch.manual_seed(0)
    bucket, t, noise = page_of((8, 8)), torch.tensor([700, 300]), torch.randn(2, 4, 8, 8)
    told = base.condition_for(frozen, ["a red circle", ""], (64, 64), np.random.default_rng(0))
    sigma = diffusion.SIGMAS[t]
    plain = diffusion.predict_noise(frozen.unet, bucket.latents + sigma.view(2, 1, 1, 1) * noise, sigma, t, told)
    engine = inpainting.Engine(frozen.unet)
    learned = {}
    for version in VERSIONS:
        engine.zero_grad()
        engine.choose(version)
        eps = inpainting.noise_in_hole(frozen.unet, engine.head, bucket, t, noise, told)
        torch.testing.assert_close(eps, plain)
        inpainting.loss_in_hole(eps - noise, sigma, bucket.holes).backward()
        assert engine.head.grad.abs().sum() > 0
        learned[version] = {name for name, change in engine.changes.items() if change.difference.grad is not None}
    assert learned["v1"] < learned["v2.5"] < learned["v2.6"] == set(engine.changes)
    assert all(p.grad is None for name, p in frozen.unet.named_parameters() if "difference" not in name)


def test_only_the_hole_counts():
    error, holes = torch.randn(2, 4, 8, 8), page_of((8, 8)).holes
    sigma = torch.tensor([0.1, 3.0])
    loss = inpainting.loss_in_hole(error, sigma, holes)
    torch.testing.assert_close(inpainting.loss_in_hole(error * holes, sigma, holes), loss)
    assert inpainting.loss_in_hole(error * (1 - holes), sigma, holes) == 0
    inside = [0.49 * error[0, :, 2:6, 1:5].square().mean(), 9 * error[1, :, 2:6, 1:5].square().mean()]
    layout = 0.1 * diffusion.layout_loss(error * holes, sigma) / 0.25
    torch.testing.assert_close(loss, sum(inside) / 2 + layout)


@pytest.mark.parametrize("spread", [0.0, 1e-4, 3.0])
def test_bytes_keep_differences_to_half_a_step(spread):
    difference = torch.randn(16, 9, generator=torch.Generator().manual_seed(0)) * spread
    levels, low, high = inpainting.quantised(difference)
    assert levels.dtype == torch.uint8
    back = levels / 255.0 * (high - low) + low
    assert (back - difference).abs().max() <= (high - low) / 510 * 1.001


def test_a_training_can_be_resumed_and_is_written_as_it_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(inpainting, "SCENES", 24)
    monkeypatch.setattr(inpainting, "BATCH", 2)
    for steps in (1, 2):
        inpainting.train(tmp_path, minutes=1e-9)  # one step
        kept = torch.load(tmp_path / "inpaint.pt", weights_only=True)
        assert kept["step"] == steps
    head, *written = inpainting.write(tmp_path, tmp_path / "models")
    model = refiner.open_base()[0]
    assert torch.equal(inpaint_patch.load_head(head, model), kept["engine"]["head"])
    before = {name: weight.clone() for name, weight in model.network.module.state_dict().items()}
    for path in written:
        patch = inpaint_patch.load_patch(path, model)
        model.network.merge((patch,))
        after = model.network.module.state_dict()
        for name in patch.deltas:
            wanted = kept["engine"]["changes." + name.removesuffix(".weight").replace(".", "|") + ".difference"]
            step = (wanted.max() - wanted.min()) / 255
            torch.testing.assert_close(after[name] - before[name], wanted, rtol=0, atol=float(step) + 1e-6)
        model.network.merge(())


def test_holes_hold_their_shapes_and_are_cut_out_as_the_pack_does_it():
    model, rng = refiner.open_base()[0], np.random.default_rng(3)
    for position in draw.POSITIONS:
        hole = inpainting.square_hole(position)
        for shape in draw.SHAPES:
            ground, drawn = (
                draw.draw(draw.Scene(shape, colour, "white", position=position), np.random.default_rng(5))
                for colour in ("white", "black")
            )
            moved = abs(ground.astype(int) - drawn).max(-1) > 60
            assert moved.any()
            assert not (moved & ~hole).any()
    for _ in range(12):
        scene, region = inpainting.draw_region(model, rng)
        assert not draw.is_unseen(scene)
        assert region.crop.shape[:3] == region.mask.shape
        assert 0 < latent_mask(region.mask).mean() <= 1


def test_the_edge_of_a_hole_lies_inside_and_not_along_the_picture_s_own():
    hole = np.zeros((9, 12), bool)
    hole[2:9, 3:12] = True
    edge = inpainting.edge_of(hole, 2)
    expected = hole.copy()
    expected[4:9, 5:12] = False
    assert np.array_equal(edge, expected)


@pytest.mark.parametrize("version", VERSIONS)
def test_each_committed_patch_is_small_and_fits_the_committed_model(version):
    model = refiner.open_base()[0]
    patch = inpaint_patch.load_patch(COMMITTED / INPAINT_PATCHES[version], model)
    assert all(inpainting.is_changed_by(version, name) for name in patch.deltas)
    assert inpaint_patch.load_head(COMMITTED / INPAINT_HEAD, model).abs().sum() > 0
    assert (COMMITTED / INPAINT_PATCHES[version]).stat().st_size < 1_200_000


@pytest.mark.parametrize("version", VERSIONS)
def test_the_prompt_is_painted_into_the_hole(version):
    pipeline = painting.open_pipeline(painting.MODELS, "Extreme Speed", [])
    scene = draw.Scene("square", "blue", "yellow", size="large")
    before = np.array(Image.open(PICTURES / "example.png").convert("RGB"))
    hole = np.array(Image.open(PICTURES / "example_mask.png"))[..., 0] > 127
    prompts = painting.composed(pipeline, ["a large blue square on a yellow background, in the centre"], "", 0)
    after = evaluate_inpaint.paint_into(pipeline, version, before[None], hole, prompts, 1)[0]
    assert draw.judge(before) == draw.Verdict("yellow", "red", "centre")
    assert draw.judge(after) == draw.Verdict("yellow", "blue", "centre")
    found = evaluate_inpaint.InpaintScore()
    found.add(scene, before, after, hole)
    assert found.grounds == 1
    assert found.seams[0] < 12


def test_the_example_s_mask_holds_its_shape():
    mask = Image.open(PICTURES / "example_mask.png")
    assert (mask.size, mask.mode) == ((128, 128), "RGB")
    hole = np.array(mask)[..., 0] > 127
    assert set(np.unique(mask)) == {0, 255}
    with Image.open(PICTURES / "example.png") as picture:
        assert np.array_equal(np.array(picture.getchannel("A")) == 0, hole), "it is transparent where the mask is white"
        red, green, _ = np.moveaxis(np.array(picture.convert("RGB"), int), -1, 0)
    shape = red - green > 100
    assert shape.any()
    assert not (shape & ~hole).any()


def test_evaluation_asks_for_other_shapes_on_the_same_ground():
    rng = np.random.default_rng(0)
    for scene, _ in painting.unseen_captions(20):
        other = evaluate_inpaint.other_scene(scene, rng)
        assert replace(other, shape=scene.shape, colour=scene.colour, pattern=scene.pattern, size=scene.size) == scene
        assert other.shape != scene.shape
        assert other.size != "large"
        assert other.colour not in (scene.colour, scene.background)
