"""What is known of a latent while it is sampled: it stays, whichever way two models share the run, and alone or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from fooocus_stages.pipelines.errors import BadValue, Interrupted
from fooocus_stages.pipelines.functional.latents import SDXL, LatentFormat
from fooocus_stages.pipelines.host import POCKET, LocalHost
from fooocus_stages.pipelines.models.handles import Model
from fooocus_stages.pipelines.models.weights.merging import Network
from fooocus_stages.pipelines.settings import SAMPLERS
from fooocus_stages.pipelines.stages import inpaint, load
from fooocus_stages.pipelines.stages.sampling import plan, refiner, sample
from fooocus_stages.pipelines.stages.sampling.known_region import KnownRegion
from fooocus_stages.pipelines.types import FreeU, Known, Lora, SamplingSettings
from torch import Tensor

from ..conftest import Pocket

HOST = LocalHost([POCKET], device="cpu")
QUICK = SamplingSettings(steps=10, sampler="euler", cfg=1.0)
MASK = torch.zeros(1, 1, 8, 8)
MASK[..., 2:6, 3:7] = 1
HELD = (MASK == 0).expand(1, 4, 8, 8)

ENDING_IN_NOISE = ("dpm_fast", "dpm_adaptive", "tcd", "uni_pc", "uni_pc_bh2")  # at the lowest level, and not at 0
LOWEST = 0.0292 / 0.13025  # that level, in unscaled latents


def random(seed: int, rows: int = 1) -> Tensor:
    return torch.randn(rows, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


def run(pocket: Pocket, latent: dict[str, Any], model: Model | None = None, **given: Any) -> Tensor:
    given = {"settings": QUICK, "seed": 3, "host": HOST} | given
    settings, host = given.pop("settings"), given.pop("host")
    model = model or pocket.model
    result = sample.sample(host, model, pocket.positive, pocket.negative, latent, settings, **given)
    return result["samples"]


@pytest.fixture(scope="module")
def engine(
    pocket: Pocket, tmp_path_factory: pytest.TempPathFactory, write_inpaint_engine: Callable[..., None]
) -> Model:
    """The pocket model with an inpaint engine."""
    folder = tmp_path_factory.mktemp("models")
    write_inpaint_engine(folder, pocket.model.network.module)
    model = replace(pocket.model, home=folder)
    return replace(inpaint.with_engine(HOST, model, "v2.6"), home=pocket.model.home)


@contextmanager
def merged(network: Network) -> Iterator[list[tuple[str, ...]]]:
    """The names of the patches in the network's weights, at each time that it is asked."""
    seen: list[tuple[str, ...]] = []
    hook = network.module.register_forward_hook(lambda *_: seen.append(tuple(p.name for p in network.merged)))
    try:
        yield seen
    finally:
        hook.remove()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_keeps_what_is_known(pocket: Pocket, sampler: str) -> None:
    latent = {"samples": random(0) * 4, "noise_mask": MASK}
    made = run(pocket, latent, settings=replace(QUICK, sampler=sampler, steps=3))
    within = 4 * LOWEST if sampler in ENDING_IN_NOISE else 1e-3
    torch.testing.assert_close(made[HELD], latent["samples"][HELD], rtol=1e-3, atol=within)
    assert (made - latent["samples"])[~HELD].abs().max() > 0.1


def test_the_head_reads_the_networks_own_scale_under_playgrounds_scheduler(
    pocket: Pocket, engine: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    forms: list[LatentFormat] = []
    head_output = KnownRegion.head_output

    def noted(self: KnownRegion, model: Model, form: LatentFormat) -> Tensor | None:
        forms.append(form)
        return head_output(self, model, form)

    monkeypatch.setattr(KnownRegion, "head_output", noted)
    settings = replace(QUICK, scheduler="edm_playground_v2.5", steps=2)
    run(pocket, {"samples": random(0), "noise_mask": MASK}, engine, settings=settings)
    assert set(map(id, forms)) == {id(SDXL)}


@pytest.mark.parametrize("size", [(8, 8), (64, 64), (4, 4)])
@pytest.mark.parametrize("axes", [2, 3, 4])
def test_masks_as_comfyui_makes_them(pocket: Pocket, size: tuple[int, int], axes: int) -> None:
    mask = torch.nn.functional.interpolate(MASK, size=size)
    known = {"samples": random(0), "noise_mask": mask.reshape((1,) * (axes - 2) + size)}
    made = run(pocket, known)
    assert torch.equal(made[..., 0, :], run(pocket, {**known, "noise_mask": MASK})[..., 0, :])
    assert made.shape == (1, 4, 8, 8)


def test_all_and_nothing(pocket: Pocket) -> None:
    start = random(0)
    torch.testing.assert_close(run(pocket, {"samples": start, "noise_mask": MASK * 0}), start, rtol=1e-4, atol=1e-4)
    assert torch.equal(run(pocket, {"samples": start, "noise_mask": MASK * 0 + 1}), run(pocket, {"samples": start}))


def test_a_picture_of_a_batch_is_what_it_is_alone(pocket: Pocket, engine: Model) -> None:
    start, known, masked = random(0, 3), random(1, 3), random(2, 3)
    masks = torch.stack([MASK[0], 1 - MASK[0], MASK[0].flip(-1)])

    def latent(rows: slice) -> dict[str, Any]:
        return {
            "samples": start[rows],
            "noise_mask": masks[rows],
            "fooocus_known": Known(known[rows], masked[rows]),
        }

    settings = replace(QUICK, sampler="dpmpp_2m_sde_gpu", steps=4, cfg=3.0)
    together = run(pocket, latent(slice(0, 3)), engine, settings=settings)
    for i in range(3):
        alone = run(pocket, latent(slice(i, i + 1)), engine, settings=settings, seed=3 + i)
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-3, atol=1e-3)


def test_one_mask_for_a_batch(pocket: Pocket) -> None:
    start = random(0, 2)
    together = run(pocket, {"samples": start, "noise_mask": MASK})
    assert torch.equal(together, run(pocket, {"samples": start, "noise_mask": MASK.expand(2, 1, 8, 8)}))


@pytest.mark.parametrize("method", ["joint", "separate", "vae"])
def test_both_models_keep_it(pocket: Pocket, method: Any) -> None:
    second = refiner.Refiner(load.checkpoint(HOST, "pocket")[0])
    model, _ = refiner.with_refiner(HOST, pocket.model, pocket.vae, second, method=method)
    known = random(1)
    latent = {"samples": torch.zeros(1, 4, 8, 8), "noise_mask": MASK, "fooocus_known": Known(known)}
    torch.testing.assert_close(run(pocket, latent, model)[HELD], known[HELD], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("prepared", [True, False])
def test_an_sd15_refiner_keeps_latents_of_its_own(pocket: Pocket, prepared: bool) -> None:
    model, _ = refiner.with_refiner(HOST, pocket.model, pocket.vae, refiner.load_refiner(HOST, "pocket"))
    known, swapped = random(1), random(2)
    latent = {"samples": torch.zeros(1, 4, 8, 8), "noise_mask": MASK}
    latent["fooocus_known"] = Known(known, swapped=swapped if prepared else None)
    made = run(pocket, latent, model)
    if prepared:
        torch.testing.assert_close(made[HELD], swapped[HELD], rtol=1e-3, atol=1e-3)
    else:
        network = refiner.interposer(HOST, model)
        assert network is not None
        with torch.no_grad():
            torch.testing.assert_close(made[HELD], network(known)[HELD], rtol=1e-3, atol=1e-3)


PATCHED, PLAIN = ("inpaint_v26.fooocus.patch",), ()


@pytest.mark.parametrize(
    ("settings", "at", "with_engine"),
    [
        (QUICK, 0.8, 9),
        (replace(QUICK, steps=4), 0.8, 4),
        (QUICK, 1.0, 10),
        (QUICK, 0.25, 3),
        (replace(QUICK, performance="Extreme Speed", steps=8, sampler="lcm", scheduler="lcm"), 0.8, 7),
        (replace(QUICK, performance="Lightning", steps=4, scheduler="sgm_uniform"), 0.8, 4),
    ],
)
def test_without_a_refiner_the_plain_model_finishes(
    pocket: Pocket, engine: Model, settings: SamplingSettings, at: float, with_engine: int
) -> None:
    assert engine.inpaint is not None
    model = replace(engine, inpaint=replace(engine.inpaint, at=at))
    with merged(engine.network) as seen:
        run(pocket, {"samples": random(0), "noise_mask": MASK}, model, settings=settings)
    assert seen == [PATCHED] * with_engine + [PLAIN] * (settings.steps - with_engine)


def test_loras_stay_when_the_engine_goes(pocket: Pocket, engine: Model) -> None:
    name = "sd_xl_offset_example-lora_1.0.safetensors"
    model, _ = load.apply_loras(HOST, engine, pocket.clip, (Lora(name, 0.5),))
    with merged(engine.network) as seen:
        run(pocket, {"samples": random(0), "noise_mask": MASK}, model)
    assert seen == [(name, *PATCHED)] * 9 + [(name,)]


def test_a_refiner_that_was_chosen_finishes_in_the_plain_model_s_place(pocket: Pocket, engine: Model) -> None:
    second = refiner.Refiner(load.checkpoint(HOST, "pocket")[0])
    model, _ = refiner.with_refiner(HOST, engine, pocket.vae, second, at=0.5)
    with merged(engine.network) as base, merged(second.model.network) as finisher:
        run(pocket, {"samples": random(0), "noise_mask": MASK}, model)
    assert (base, finisher) == ([PATCHED] * 6, [PLAIN] * 4)
    with merged(engine.network) as base, merged(second.model.network) as finisher:
        fast = replace(QUICK, performance="Hyper-SD", steps=4)
        run(pocket, {"samples": random(0), "noise_mask": MASK}, model, settings=fast)
    assert (base, finisher) == ([PATCHED] * 4, [])


def test_an_engine_leaves_no_trace(pocket: Pocket, engine: Model) -> None:
    latent = {"samples": random(0), "noise_mask": MASK}
    before = run(pocket, latent)
    with_engine = run(pocket, latent, load.with_freeu(engine, FreeU(1.3, 1.4, 0.9, 0.2)))
    assert not torch.equal(with_engine, before)
    assert torch.equal(run(pocket, latent), before)
    assert torch.equal(run(pocket, latent, inpaint.with_engine(HOST, engine, "None")), before)


def test_an_interrupt_leaves_no_trace(pocket: Pocket, engine: Model) -> None:
    class Stopping(LocalHost):
        asked = 0

        def check_interrupted(self) -> None:
            self.asked += 1
            if self.asked > 4:
                raise Interrupted

    latent = {"samples": random(0), "noise_mask": MASK}
    before = run(pocket, latent)
    with pytest.raises(Interrupted):
        run(pocket, latent, engine, host=Stopping(device="cpu"))
    assert torch.equal(run(pocket, latent), before)


def test_a_latent_of_comfyui_is_what_the_head_reads(pocket: Pocket, engine: Model) -> None:
    start = random(0)
    plain = {"samples": start, "noise_mask": MASK}
    told = {**plain, "fooocus_known": Known(start, masked=start)}
    assert torch.equal(run(pocket, plain, engine), run(pocket, told, engine))
    assert not torch.equal(run(pocket, plain, engine), run(pocket, {**told, "fooocus_known": Known(start, start * 2)},
                                                           engine))  # fmt: skip


@pytest.mark.parametrize(
    ("latent", "message"),
    [
        ({"samples": random(0)}, "the model has the inpaint engine v2.6 and the latent has no mask"),
        (
            {"samples": random(0), "noise_mask": MASK, "fooocus_known": Known(random(1))},
            "without an inpaint engine and the model has v2.6: connect",
        ),
        (
            {"samples": torch.zeros(1, 4, 16, 16), "noise_mask": MASK, "fooocus_known": Known(random(1), random(1))},
            r"encoded for inpainting as \(1, 4, 8, 8\) and is \(1, 4, 16, 16\) now",
        ),
        (
            {"samples": random(0, 3), "noise_mask": MASK, "fooocus_known": Known(random(1, 2), random(1, 2))},
            r"encoded for inpainting as \(2, 4, 8, 8\) and is \(3, 4, 8, 8\) now",
        ),
        (
            {"samples": random(0, 3), "noise_mask": MASK.expand(2, 1, 8, 8)},
            "mask has 2 rows and the latent has 3",
        ),
    ],
)
def test_wrong_sockets(pocket: Pocket, engine: Model, latent: dict[str, Any], message: str) -> None:
    with pytest.raises(BadValue, match=message):
        run(pocket, latent, engine)


def test_the_latent_that_came_in_stays_and_its_mask_goes_on(pocket: Pocket) -> None:
    latent = {**plan.empty_latent("custom", 64, 64, 1)[0], "noise_mask": MASK}
    result = sample.sample(HOST, pocket.model, pocket.positive, pocket.negative, latent, QUICK, 1)
    assert not latent["samples"].any()
    assert result["noise_mask"] is MASK
