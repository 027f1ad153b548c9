"""Control hints in a run of the pocket model: when they act, how much, together, in batches; and no trace of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fooocus_stages.pipelines.errors import BadValue, Interrupted
from fooocus_stages.pipelines.functional.model_sampling import discrete
from fooocus_stages.pipelines.host import LocalHost
from fooocus_stages.pipelines.models.handles import ControlHint, ControlNet, Refiner
from fooocus_stages.pipelines.models.hints.controlnet import load_controlnet
from fooocus_stages.pipelines.stages import load
from fooocus_stages.pipelines.stages.sampling import plan, refiner, sample
from fooocus_stages.pipelines.types import FreeU, Lora, SamplingSettings
from safetensors.torch import save_file
from torch import nn

from ..conftest import Pocket

HOST = LocalHost(device="cpu")
InFloat64 = Callable[[nn.Module], AbstractContextManager[None]]
SETTINGS = SamplingSettings(steps=4, sampler="euler", cfg=4.0)


@pytest.fixture(scope="module")
def net(pocket: Pocket, control_lora_of: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> ControlNet:
    path: Path = tmp_path_factory.mktemp("control") / "control.safetensors"
    save_file(control_lora_of(pocket.model.network.module), path)
    return load_controlnet(path, torch.float32)


def picture(batch: int = 1, height: int = 64, width: int = 64, channels: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.rand(batch, height, width, channels, generator=torch.Generator().manual_seed(seed))


def hint(net: ControlNet, image: torch.Tensor | None = None, **changes: Any) -> ControlHint:
    return replace(ControlHint(net, picture() if image is None else image, weight=0.3, stop_at=1.0), **changes)


def run(pocket: Pocket, *hints: ControlHint, host: LocalHost = HOST, batch: int = 1, **changes: Any) -> torch.Tensor:
    given = {"model": pocket.model, "settings": SETTINGS, "seed": 1} | changes
    latent = plan.empty_latent("custom", 64, 64, batch)[0]
    sides = {"positive": pocket.positive, "negative": pocket.negative}
    return sample.sample(host, latent=latent, control=hints, **sides, **given)["samples"]


@pytest.mark.parametrize("off", [{"weight": 0.0}, {"stop_at": 0.0}, {"start_at": 0.0, "stop_at": 0.0}])
def test_a_hint_that_is_off_changes_nothing(pocket: Pocket, net: ControlNet, off: dict[str, float]) -> None:
    assert torch.equal(run(pocket, hint(net, **off)), run(pocket))


def test_a_hint_says_where_things_are(pocket: Pocket, net: ControlNet) -> None:
    plain, weak, strong = run(pocket), run(pocket, hint(net, weight=0.05)), run(pocket, hint(net, weight=0.3))
    assert 0 < (weak - plain).norm() < (strong - plain).norm()
    assert not torch.equal(run(pocket, hint(net, picture(seed=9))), strong)
    assert not torch.equal(run(pocket, hint(net, softness=0.0)), run(pocket, hint(net, softness=1.0)))


@pytest.mark.parametrize(("start", "stop"), [(0.0, 1.0), (0.0, 0.5), (0.3, 0.7), (0.5, 1.0), (0.9, 0.9)])
def test_it_acts_while_the_noise_is_between_its_two_levels(
    pocket: Pocket, net: ControlNet, start: float, stop: float
) -> None:
    asked: list[float] = []

    levels = plan.schedule(pocket.model, SETTINGS, 1.0)
    high, low = (discrete().percent_to_sigma(share) for share in (start, stop))
    expected = [float(level) for level in levels[:-1] if low <= float(level) <= high]
    unet = pocket.model.network.module
    seen = unet.register_forward_pre_hook(
        lambda _, args, kwargs: asked.append(float(args[1][0])) if "mid_block_additional_residual" in kwargs else None,
        with_kwargs=True,
    )
    try:
        run(pocket, hint(net, start_at=start, stop_at=stop))
    finally:
        seen.remove()
    assert asked == pytest.approx([discrete().timestep(level) for level in expected])


def test_two_halves_of_a_run_are_the_run(pocket: Pocket, net: ControlNet) -> None:
    halves = hint(net, stop_at=0.4999), hint(net, start_at=0.5)
    assert torch.equal(run(pocket, *halves), run(pocket, hint(net)))


def test_hints_add_up_in_any_order(pocket: Pocket, net: ControlNet) -> None:
    one, two, three = (hint(net, picture(seed=i), weight=0.1 * (i + 1), stop_at=0.4 + 0.2 * i) for i in range(3))
    assert torch.equal(run(pocket, one, two), run(pocket, two, one))
    torch.testing.assert_close(run(pocket, one, two, three), run(pocket, three, one, two), rtol=1e-4, atol=1e-4)
    assert not torch.equal(run(pocket, one, two), run(pocket, one))
    same = hint(net, weight=0.15)
    torch.testing.assert_close(run(pocket, same, same), run(pocket, hint(net)), rtol=1e-4, atol=1e-4)


def test_a_picture_of_a_batch_gets_what_it_gets_alone(pocket: Pocket, net: ControlNet, in_float64: InFloat64) -> None:
    """In float64, since kernels for batches of another size round float32 otherwise, and the network amplifies it."""
    pictures = picture(2)
    with in_float64(pocket.model.network.module), in_float64(net.tensors):
        together = run(pocket, hint(net, pictures), batch=2)
        shared = run(pocket, hint(net, pictures[:1]), batch=2)
        for i in range(2):
            alone = run(pocket, hint(net, pictures[i : i + 1]), seed=1 + i)
            torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(shared[:1], together[:1], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (48, 96), (200, 30), (512, 512)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_picture_of_any_size_and_channels_is_read(
    pocket: Pocket, net: ControlNet, size: tuple[int, int], channels: int
) -> None:
    settings = replace(SETTINGS, steps=1)
    assert run(pocket, hint(net, picture(1, *size, channels)), settings=settings).isfinite().all()


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_a_flat_picture_is_read(pocket: Pocket, net: ControlNet, level: float) -> None:
    assert run(pocket, hint(net, torch.full((1, 64, 64, 3), level))).isfinite().all()


def test_only_one_side_is_predicted_without_guidance(pocket: Pocket, net: ControlNet) -> None:
    assert run(pocket, hint(net), settings=replace(SETTINGS, cfg=1.0)).isfinite().all()


def test_another_count_of_pictures_than_the_latents_is_refused(pocket: Pocket, net: ControlNet) -> None:
    with pytest.raises(BadValue, match="2 images and the latent has 3"):
        run(pocket, hint(net, picture(2)), batch=3)


def test_the_hints_end_where_the_refiner_starts(pocket: Pocket, net: ControlNet) -> None:
    model, _ = refiner.with_refiner(HOST, pocket.model, pocket.vae, Refiner(pocket.model), 0.5)
    seen: list[bool] = []
    hook = pocket.model.network.module.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append("mid_block_additional_residual" in kwargs), with_kwargs=True
    )
    run(pocket, hint(net), model=model)
    hook.remove()
    assert seen == sorted(seen, reverse=True)
    assert 0 < sum(seen) < len(seen)


class Impatient(LocalHost):
    """Asks to stop at the given question."""

    def __init__(self, patience: int) -> None:
        super().__init__(device="cpu")
        self.patience = patience

    def check_interrupted(self) -> None:
        self.patience -= 1
        if self.patience < 0:
            raise Interrupted


@pytest.mark.parametrize("patience", [0, 1, 4])
def test_an_interrupt_leaves_the_model_and_the_network_as_they_were(
    pocket: Pocket, net: ControlNet, patience: int
) -> None:
    module = pocket.model.network.module
    pocket.model.network.merge(())
    before = {name: (id(p), p.clone()) for name, p in module.named_parameters()}
    of_net = [value.clone() for value in net.tensors.parameters()]
    model = load.with_freeu(pocket.model, FreeU(1.5, 1.5, 0.5, 0.5))
    model, _ = load.apply_loras(HOST, model, pocket.clip, (Lora("sdxl_lcm_lora", 1.0),))
    with pytest.raises(Interrupted):
        run(pocket, hint(net), model=model, host=Impatient(patience))
    pocket.model.network.merge(())
    assert all(id(p) == before[name][0] and torch.equal(p, before[name][1]) for name, p in module.named_parameters())
    assert all(torch.equal(a, b) for a, b in zip(net.tensors.parameters(), of_net, strict=True))


def test_it_follows_the_loras_of_the_model(pocket: Pocket, net: ControlNet) -> None:
    changed, _ = load.apply_loras(HOST, pocket.model, pocket.clip, (Lora("sdxl_lcm_lora", 1.0),))
    before = run(pocket, hint(net))
    assert not torch.equal(run(pocket, hint(net), model=changed), before)
    assert torch.equal(run(pocket, hint(net)), before)
