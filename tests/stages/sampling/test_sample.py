"""The sampler stage on the pocket model: every name runs, wrong sockets are refused, an interrupt leaves no trace."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from fooocus_stages.pipelines.errors import BadValue, Interrupted
from fooocus_stages.pipelines.host import LocalHost, Preview
from fooocus_stages.pipelines.settings import SAMPLERS, SCHEDULERS
from fooocus_stages.pipelines.stages import load
from fooocus_stages.pipelines.stages.sampling import plan, sample
from fooocus_stages.pipelines.types import FreeU, Lora, SamplingSettings

from ..conftest import Pocket

HOST = LocalHost(device="cpu")
QUICK = SamplingSettings(steps=3, sampler="euler", cfg=4.0)


def start(width: int = 64, height: int = 64, batch: int = 1) -> dict[str, Any]:
    return plan.empty_latent("custom", width, height, batch)[0]


def run(pocket: Pocket, settings: SamplingSettings = QUICK, host: LocalHost = HOST, **changes: Any) -> torch.Tensor:
    given = {"model": pocket.model, "positive": pocket.positive, "negative": pocket.negative, "latent": start()}
    given |= {"seed": 1} | changes
    return sample.sample(host, settings=settings, **given)["samples"]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_runs(pocket: Pocket, sampler: str) -> None:
    samples = run(pocket, replace(QUICK, sampler=sampler))
    assert samples.shape == (1, 4, 8, 8)
    assert torch.isfinite(samples).all()


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_scheduler_runs(pocket: Pocket, scheduler: str) -> None:
    assert torch.isfinite(run(pocket, replace(QUICK, scheduler=scheduler))).all()


@pytest.mark.parametrize("size", [(32, 32), (48, 64), (128, 8), (72, 104)])
def test_odd_and_small_sizes_run(pocket: Pocket, size: tuple[int, int]) -> None:
    samples = run(pocket, latent=start(*size))
    assert samples.shape == (1, 4, size[1] // 8, size[0] // 8)
    assert torch.isfinite(samples).all()


def test_the_latent_that_came_in_stays_and_its_other_entries_go_on(pocket: Pocket) -> None:
    latent = {**start(), "batch_index": [3]}
    result = sample.sample(HOST, pocket.model, pocket.positive, pocket.negative, latent, QUICK, 1)
    assert result["batch_index"] == [3]
    assert not latent["samples"].any()
    assert torch.equal(result["samples"], run(pocket, seed=4))


@pytest.mark.parametrize(("cfg", "rows"), [(4.0, 2), (1.0, 1)])
def test_without_guidance_only_the_positive_side_runs(pocket: Pocket, cfg: float, rows: int) -> None:
    batches: list[int] = []
    hook = pocket.model.network.module.register_forward_hook(lambda m, given, out: batches.append(len(given[0])))
    run(pocket, replace(QUICK, cfg=cfg))
    hook.remove()
    assert batches == [rows] * 3


def test_denoising_starts_from_the_latent(pocket: Pocket) -> None:
    latent = {"samples": torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(5)) * 5}
    near = run(pocket, latent=latent, denoise=0.05)
    far = run(pocket, latent=latent)
    assert (near - latent["samples"]).norm() < (far - latent["samples"]).norm()


def test_loras_come_off_without_a_trace(pocket: Pocket) -> None:
    before = run(pocket)
    lora = (Lora("sdxl_lcm_lora.safetensors", 0.9), Lora("sd_xl_offset_example-lora_1.0.safetensors", -0.4))
    changed, _ = load.apply_loras(HOST, pocket.model, pocket.clip, lora)
    assert not torch.equal(run(pocket, model=changed), before)
    assert torch.equal(run(pocket), before)


class Impatient(LocalHost):
    """A host whose user presses stop at the n-th question."""

    def __init__(self, patience: int) -> None:
        super().__init__(device="cpu")
        self.patience = patience

    def check_interrupted(self) -> None:
        self.patience -= 1
        if self.patience < 0:
            raise Interrupted


@pytest.mark.parametrize("patience", [0, 1, 3])
def test_an_interrupt_stops_within_a_step_and_leaves_the_model_as_it_was(pocket: Pocket, patience: int) -> None:
    before = run(pocket)
    calls: list[int] = []
    hook = pocket.model.network.module.register_forward_hook(lambda *_: calls.append(1))
    with_freeu = load.with_freeu(pocket.model, FreeU(1.5, 1.5, 0.5, 0.5))
    lora = (Lora("sdxl_lcm_lora.safetensors", 1.0),)
    changed, _ = load.apply_loras(HOST, with_freeu, pocket.clip, lora)
    with pytest.raises(Interrupted):
        run(pocket, host=Impatient(patience), model=changed)
    hook.remove()
    assert len(calls) <= (patience + 1) // 2 + 1
    assert torch.equal(run(pocket), before)


def test_progress_counts_the_steps_and_previews_only_when_looked_at(pocket: Pocket) -> None:
    seen: list[tuple[int, int]] = []
    sizes: list[tuple[int, int]] = []

    class Looking(LocalHost):
        def progress(self, value: int, total: int, preview: Preview | None = None) -> None:
            seen.append((value, total))
            if preview is not None and value == 2:
                sizes.append(preview().size)

    run(pocket, host=Looking(device="cpu"))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert sizes == [(8, 8)]


def wide(pocket: Pocket, tokens: int) -> list[list[Any]]:
    return [[torch.zeros(1, 77, tokens), pocket.positive[0][1]]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (lambda p: {"positive": wide(p, 768)}, "the positive conditioning is 768 wide and juggernautXL"),
        (lambda p: {"negative": []}, "the negative conditioning has no entries"),
        (lambda p: {"positive": [[p.positive[0][0], {}]]}, "the positive conditioning has no pooled output"),
        (
            lambda p: {"positive": [[p.positive[0][0].repeat(2, 1, 1), p.positive[0][1]]], "latent": start(batch=3)},
            "the positive conditioning has 2 rows and the latent has 3",
        ),
        (lambda p: {"latent": {"samples": torch.zeros(1, 16, 8, 8)}}, r"the latent has the shape \(1, 16, 8, 8\)"),
        (lambda p: {"latent": {"samples": torch.zeros(4, 8, 8)}}, r"the latent has the shape \(4, 8, 8\)"),
        (lambda p: {"sigmas": torch.tensor([1.0, 2.0, 0.0])}, "sigmas must be one decreasing row"),
        (lambda p: {"sigmas": torch.tensor([[1.0, 0.0]])}, "sigmas must be one decreasing row"),
        (lambda p: {"sigmas": torch.tensor([float("nan"), 0.0])}, "sigmas must be one decreasing row"),
        (lambda p: {"sigmas": torch.tensor([])}, "sigmas has 0 noise levels"),
        (lambda p: {"sigmas": torch.tensor([3.0])}, "sigmas has 1 noise levels"),
        (lambda p: {"denoise": 1.01}, "denoise is 1.01"),
    ],
)
def test_wrong_sockets_are_refused_in_a_sentence(pocket: Pocket, changes: Any, message: str) -> None:
    with pytest.raises(BadValue, match=message):
        run(pocket, **changes(pocket))


def test_given_sigmas_are_what_is_sampled(pocket: Pocket) -> None:
    levels = plan.schedule(pocket.model, QUICK)
    assert torch.equal(run(pocket, sigmas=levels), run(pocket))


def test_restart_on_levels_that_do_not_end_in_0_is_refused(pocket: Pocket) -> None:
    settings = replace(QUICK, sampler="restart", steps=24)
    levels = plan.schedule(pocket.model, settings)[:22]
    with pytest.raises(BadValue, match=r"'restart' needs noise levels that end in 0, and these end in .*'separate'"):
        run(pocket, settings=settings, sigmas=levels)


@pytest.mark.parametrize("at", [1, 2])
def test_a_schedule_split_over_two_samplers_is_the_whole_one(pocket: Pocket, at: int) -> None:
    levels = plan.schedule(pocket.model, QUICK)
    half = {**start(), "samples": run(pocket, sigmas=levels[: at + 1])}
    second = run(pocket, sigmas=levels[at:], latent=half, add_noise=False, seed=99)
    assert torch.allclose(second, run(pocket, sigmas=levels), atol=1e-4)
    assert not torch.allclose(run(pocket, sigmas=levels[at:], latent=half), second, atol=0.1)
