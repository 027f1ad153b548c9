"""The refiner: who runs when, what it gets, and that both models are as they were afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fooocus_stages.pipelines.errors import BadFile, BadValue, Interrupted, MissingFile
from fooocus_stages.pipelines.host import POCKET, LocalHost
from fooocus_stages.pipelines.models.handles import Model, Refiner, RefinerSwitch, Vae
from fooocus_stages.pipelines.models.unet import UNet
from fooocus_stages.pipelines.stages import load, vae
from fooocus_stages.pipelines.stages.sampling import plan, refiner, sample
from fooocus_stages.pipelines.types import LATENT_FAMILY, FreeU, Lora, SamplingSettings
from safetensors.torch import save_file
from torch import nn

from ..conftest import Pocket

HOST = LocalHost([POCKET], device="cpu")
QUICK = SamplingSettings(steps=10, sampler="euler")


@pytest.fixture(scope="module")
def second() -> Model:
    """Another copy of the pocket model, to be the refiner."""
    return load.checkpoint(HOST, "pocket")[0]


@pytest.fixture(scope="module")
def small() -> Refiner:
    """The pocket's SD 1.5 refiner."""
    return refiner.load_refiner(HOST, "pocket")


def start() -> dict[str, Any]:
    return plan.empty_latent("custom", 64, 64, 1)[0]


def run(pocket: Pocket, model: Model, settings: SamplingSettings = QUICK, host: LocalHost = HOST, **given: Any) -> Any:
    given = {"latent": start(), "seed": 1} | given
    return sample.sample(host, model, pocket.positive, pocket.negative, settings=settings, **given)


@contextmanager
def counted(*models: Model) -> Iterator[list[int]]:
    """How often each network is asked while the context lasts."""
    counts = [0] * len(models)

    def counting(i: int) -> Any:
        def count(*_: Any) -> None:
            counts[i] += 1

        return count

    hooks = [model.network.module.register_forward_hook(counting(i)) for i, model in enumerate(models)]
    try:
        yield counts
    finally:
        for hook in hooks:
            hook.remove()


@pytest.mark.parametrize(
    ("sampler", "steps", "step", "expected"),
    [
        ("euler", 10, 8, [9, 1]),
        ("dpmpp_sde", 10, 8, [17, 2]),
        ("restart", 20, 16, [33, 6]),
        ("euler", 4, 9, [4, 0]),
    ],
)
def test_joint_changes_after_the_first_look_at_the_switch(
    pocket: Pocket, second: Model, sampler: str, steps: int, step: int, expected: list[int]
) -> None:
    model, _ = refiner.with_refiner(HOST, pocket.model, pocket.vae, Refiner(second), step=step)
    with counted(pocket.model, second) as counts:
        run(pocket, model, replace(QUICK, sampler=sampler, steps=steps))
    assert counts == expected


@pytest.mark.parametrize(("method", "expected"), [("separate", [8, 2]), ("vae", [8, 2])])
def test_two_runs_change_at_the_switch(pocket: Pocket, second: Model, method: Any, expected: list[int]) -> None:
    model, _ = refiner.with_refiner(HOST, pocket.model, pocket.vae, Refiner(second), 0.8, method)
    with counted(pocket.model, second) as counts:
        run(pocket, model)
    assert counts == expected


@pytest.mark.parametrize("method", ["joint", "separate", "vae"])
def test_a_switch_at_the_end_is_no_switch(pocket: Pocket, second: Model, method: Any) -> None:
    model, _ = refiner.with_refiner(HOST, pocket.model, pocket.vae, Refiner(second), 1.0, method)
    assert torch.allclose(run(pocket, model)["samples"], run(pocket, pocket.model)["samples"], atol=1e-5)


def test_the_model_as_its_own_refiner_changes_nothing(pocket: Pocket) -> None:
    model, _ = refiner.with_refiner(HOST, pocket.model, pocket.vae, Refiner(pocket.model), 0.5)
    assert torch.equal(run(pocket, model)["samples"], run(pocket, pocket.model)["samples"])


def test_freeu_ends_at_the_switch(pocket: Pocket) -> None:
    gained = load.with_freeu(pocket.model, FreeU(1.5, 1.5, 0.5, 0.5))
    before = len(pocket.model.network.module.up_blocks[0].resnets[0]._forward_pre_hooks)
    model, _ = refiner.with_refiner(HOST, gained, pocket.vae, Refiner(pocket.model), 0.5)
    half = run(pocket, model)["samples"]
    assert not torch.equal(half, run(pocket, gained)["samples"])
    assert not torch.equal(half, run(pocket, pocket.model)["samples"])
    assert len(pocket.model.network.module.up_blocks[0].resnets[0]._forward_pre_hooks) == before


def switched(at: float = 0.8, step: int = -1, own_vae: bool = False, performance: str = "Speed") -> Any:
    """A route's arguments: a model with a refiner, and settings of thirty steps."""
    nothing: Any = None
    network = UNet(nn.Identity())
    other = Refiner(Model(network, "sd15" if own_vae else "sdxl"), Vae(network, family="sd15") if own_vae else None)
    model = Model(network, "sdxl", switch=RefinerSwitch(other, at, "separate", step))
    return nothing or (model, SamplingSettings(performance=performance, steps=10))


@pytest.mark.parametrize(
    ("given", "denoise", "expected"),
    [
        ({}, 1.0, "separate"),
        ({}, 0.3, "separate"),
        ({"performance": "Extreme Speed"}, 1.0, "base"),
        ({"performance": "Lightning", "own_vae": True}, 1.0, "base"),
        ({"own_vae": True}, 0.91, "vae"),
        ({"own_vae": True}, 0.9, "base"),
        ({"own_vae": True}, 0.85, "base"),
        ({"own_vae": True}, 0.2, "refiner"),
        ({"own_vae": True, "step": 12}, 0.1, "base"),
        ({"own_vae": True, "at": 0.4}, 0.5, "refiner"),
    ],
)
def test_route(given: dict[str, Any], denoise: float, expected: str) -> None:
    assert refiner.route(*switched(**given), denoise) == expected


@pytest.mark.parametrize(("steps", "at", "expected"), [(30, 0.5, 15), (18, 0.8, 14), (30, 0.4, 12), (5, 0.5, 2)])
def test_the_switch_is_rounded_halves_to_even(steps: int, at: float, expected: int) -> None:
    model, _ = switched(at=at)
    assert refiner.switch_step(model.switch, steps) == expected


def test_an_sd15_refiner_finishes_on_its_own_latents(pocket: Pocket, small: Refiner) -> None:
    model, autoencoder = refiner.with_refiner(HOST, pocket.model, pocket.vae, small, 0.4)
    with counted(pocket.model, small.model) as counts:
        latent = run(pocket, model)
    assert counts == [4, 6]
    assert latent[LATENT_FAMILY] == "sd15"
    own = vae.decode(HOST, small.vae, latent)
    assert torch.equal(vae.decode(HOST, autoencoder, latent), own)
    with pytest.raises(BadValue, match=r"VAE of sd15, .* VAE is for sdxl: use the VAE"):
        vae.decode(HOST, pocket.vae, latent)


def test_at_low_strength_an_sd15_refiner_runs_alone(pocket: Pocket, small: Refiner) -> None:
    model, autoencoder = refiner.with_refiner(HOST, pocket.model, pocket.vae, small, 0.4)
    image = torch.rand(1, 64, 64, 3)
    assert refiner.encoding_vae(autoencoder, model, QUICK, 0.3) is small.vae
    assert refiner.encoding_vae(autoencoder, model, QUICK, 0.8) is autoencoder
    latent = vae.encode(HOST, refiner.encoding_vae(autoencoder, model, QUICK, 0.3), image)
    with counted(pocket.model, small.model) as counts:
        assert run(pocket, model, latent=latent, denoise=0.3)[LATENT_FAMILY] == "sd15"
    assert counts == [0, 10]
    with pytest.raises(BadValue, match="encoded by a VAE of sd15, and at this denoise strength"):
        run(pocket, model, latent=latent, denoise=0.8)


def test_loras_go_to_a_refiner_of_the_same_make(pocket: Pocket, second: Model, small: Refiner) -> None:
    lora = (Lora("sd_xl_offset_example-lora_1.0.safetensors", 0.9),)
    changed, _ = load.apply_loras(HOST, pocket.model, pocket.clip, lora)
    same, _ = refiner.with_refiner(HOST, changed, pocket.vae, Refiner(second), 0.5)
    other, _ = refiner.with_refiner(HOST, changed, pocket.vae, small, 0.5)
    assert same.switch is not None
    assert other.switch is not None
    assert same.switch.refiner.model.patches == changed.patches
    assert other.switch.refiner.model.patches == ()


LAYER = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight"
REST = "_transformer_blocks_0_attn2_to_k"


def test_loras_that_are_applied_behind_the_switch_go_to_the_same_refiner(pocket: Pocket, second: Model) -> None:
    lora = (Lora("sd_xl_offset_example-lora_1.0.safetensors", 0.9),)
    switched, _ = refiner.with_refiner(HOST, pocket.model, pocket.vae, Refiner(second), 0.5)
    changed, _ = load.apply_loras(HOST, switched, pocket.clip, lora)
    assert changed.switch is not None
    assert len(changed.patches) == 1
    assert changed.switch.refiner.model.patches == changed.patches


@pytest.mark.parametrize("layer", ["down_blocks_1_attentions_0", "input_blocks_3_1"])
def test_a_lora_for_the_refiner_alone_is_applied_to_it(
    tmp_path: Path, pocket: Pocket, small: Refiner, layer: str
) -> None:
    weight = small.model.network.module.get_parameter(LAYER)
    ups = {f"lora_unet_{layer}{REST}.lora_up.weight": torch.ones(weight.shape[0], 2)}
    downs = {f"lora_unet_{layer}{REST}.lora_down.weight": torch.ones(2, weight.shape[1])}
    (tmp_path / "loras").mkdir()
    save_file(ups | downs, tmp_path / "loras" / "mine.safetensors")
    notices: list[str] = []
    host = LocalHost([tmp_path, POCKET], device="cpu", on_notice=notices.append)
    switched, _ = refiner.with_refiner(host, pocket.model, pocket.vae, small, 0.5)
    changed, clip = load.apply_loras(host, switched, pocket.clip, (Lora("mine.safetensors", 0.5),))
    assert changed.switch is not None
    assert (changed.patches, clip) == ((), pocket.clip)
    (patch,) = changed.switch.refiner.model.patches
    assert set(patch.deltas) == {LAYER}
    assert ["mine.safetensors" in notice and "SD 1.5" in notice for notice in notices] == [True]
    with pytest.raises(BadFile, match=r"mine\.safetensors"):
        load.apply_loras(host, pocket.model, pocket.clip, (Lora("mine.safetensors", 0.5),))


class Impatient(LocalHost):
    """A host whose user presses stop at the n-th question."""

    def __init__(self, patience: int) -> None:
        super().__init__([POCKET], device="cpu")
        self.patience = patience

    def check_interrupted(self) -> None:
        self.patience -= 1
        if self.patience < 0:
            raise Interrupted


@pytest.mark.parametrize("method", ["joint", "separate", "vae"])
@pytest.mark.parametrize("patience", [3, 11, 19])
def test_an_interrupt_leaves_both_models_as_they_were(
    pocket: Pocket, second: Model, method: Any, patience: int
) -> None:
    before = [run(pocket, model)["samples"] for model in (pocket.model, second)]
    lora = (Lora("sdxl_lcm_lora.safetensors", 1.0),)
    changed, _ = load.apply_loras(HOST, pocket.model, pocket.clip, lora)
    model, _ = refiner.with_refiner(HOST, changed, pocket.vae, Refiner(second), 0.5, method)
    with pytest.raises(Interrupted):
        run(pocket, model, host=Impatient(patience))
    for old, one in zip(before, (pocket.model, second), strict=True):
        assert torch.equal(run(pocket, one)["samples"], old)


def test_progress_counts_through(pocket: Pocket, second: Model) -> None:
    seen: list[tuple[int, int]] = []
    host = LocalHost([POCKET], device="cpu", on_progress=lambda value, total: seen.append((value, total)))
    model, _ = refiner.with_refiner(host, pocket.model, pocket.vae, Refiner(second), 0.6, "separate")
    run(pocket, model, host=host)
    assert seen == [(i, 10) for i in range(1, 11)]


def test_missing_models_are_reported_one_after_the_other(pocket: Pocket, second: Model) -> None:
    """The refiner is brought to the device when it is its turn, so that the base can make room."""
    asked: list[str] = []

    class Watching(LocalHost):
        def load(self, role: Any, *modules: nn.Module, memory: int = 0) -> torch.device:
            names = {id(pocket.model.network.module): "base", id(second.network.module): "refiner"}
            asked.append(f"{names[id(modules[0])]} after {len(steps)}")
            return super().load(role, *modules, memory=memory)

    steps: list[int] = []
    host = Watching([POCKET], device="cpu", on_progress=lambda value, total: steps.append(value))
    model, _ = refiner.with_refiner(host, pocket.model, pocket.vae, Refiner(second), 0.5)
    run(pocket, model, host=host)
    assert asked == ["base after 0", "refiner after 6"]


@pytest.mark.parametrize("at", [-0.01, 1.01, float("nan")])
def test_a_switch_outside_the_run_is_refused(pocket: Pocket, second: Model, at: float) -> None:
    with pytest.raises(BadValue, match=r"switch_at is \S+: choose a fraction of the steps between 0 and 1"):
        refiner.with_refiner(HOST, pocket.model, pocket.vae, Refiner(second), at)


def test_an_sd15_refiner_needs_the_final_norm_of_the_conditioning_or_the_model(pocket: Pocket, small: Refiner) -> None:
    def drawn(model: Model, *sides: Any) -> torch.Tensor:
        model, _ = refiner.with_refiner(HOST, model, pocket.vae, small, 0.5)
        samples: torch.Tensor = sample.sample(HOST, model, *sides, start(), QUICK, 1)["samples"]
        return samples

    bare = [
        [[tokens, {"pooled_output": options["pooled_output"]}] for tokens, options in side]
        for side in (pocket.positive, pocket.negative)
    ]
    without = replace(pocket.model, text_norm=None)
    assert torch.equal(drawn(without, pocket.positive, pocket.negative), drawn(pocket.model, *bare))
    with pytest.raises(BadValue, match=r"the conditioning has none: .*Fooocus Encode Prompt"):
        drawn(without, *bare)


def test_without_an_interposer_nothing_is_drawn(pocket: Pocket, small: Refiner, tmp_path: Path) -> None:
    homeless = replace(small, model=replace(small.model, home=None))
    bare = LocalHost([tmp_path], device="cpu")
    model, _ = refiner.with_refiner(bare, replace(pocket.model, home=None), pocket.vae, homeless, 0.4)
    with counted(pocket.model) as counts, pytest.raises(MissingFile, match="xl-to-v1_interposer-v4"):
        run(pocket, model, host=bare)
    assert counts == [0]


def test_a_refiner_of_an_unknown_family_is_refused(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    torch.save({"model.weight": torch.zeros(2)}, tmp_path / "checkpoints" / "other.ckpt")
    with pytest.raises(BadFile, match=r"other\.ckpt contains no UNet"):
        refiner.load_refiner(LocalHost([tmp_path], device="cpu"), "other.ckpt")
