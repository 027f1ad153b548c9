"""Schedules: Fooocus's numbers, and what holds for all of them."""

from __future__ import annotations

import pytest
import torch
from fooocus_stages.pipelines import settings
from fooocus_stages.pipelines.functional import sigmas as sg
from fooocus_stages.pipelines.functional.model_sampling import discrete
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

THIRTY = {
    "normal": "14.6146402 11.9175100 9.8141584 8.1584396 6.8430433 ... 0.3514667 0.2721825 0.1834510 0.0291672 0",
    "karras": "14.6146431 12.6606045 10.9349232 9.4149132 8.0797234 ... 0.0766386 0.0563544 0.0408577 0.0291672 0",
    "exponential": "14.6146402 11.7947378 9.5189381 7.6822562 6.1999612 ... 0.0554873 0.0447810 0.0361405 0.0291672 0",
    "sgm_uniform": "14.6146402 11.9969053 9.9390821 8.3071709 7.0018549 ... 0.4183261 0.3437048 0.2666898 0.1801260 0",
    "simple": "14.6146412 12.0177441 9.9720392 8.3028030 7.0088730 ... 0.4178792 0.3416738 0.2652524 0.1792587 0",
    "ddim_uniform": "13.9258490 11.4768467 9.5435829 8.0043106 6.7683825 ... 0.3439312 0.2676524 0.1821660 0.0413144 0",
    "turbo": "14.6146402 8.3028030 5.0877633 3.3210831 2.2764630 ... 1.1605784 0.8298596 0.5692849 0.3416738 0",
    "align_your_steps": "14.6146412 11.0508480 8.3560886 6.3184485 5.3184385"
    " ... 0.1425294 0.1114188 0.0712750 0.0455948 0",
    "lcm": "14.6146402 12.0456171 10.0119381 8.3918409 7.0940280 ... 0.4548353 0.3818226 0.3075018 0.2277561 0",
    "tcd": "14.6146402 12.0456171 10.0119381 8.3918409 7.0940280 ... 0.4548353 0.3818226 0.3075018 0.2277561 0",
    "edm_playground_v2.5": "120.0000229 98.8479080 80.9756393 65.9478836 53.3769302"
    " ... 0.0205253 0.0102588 0.0047506 0.0020000 0",
}


def run(scheduler: str, steps: int, denoise: float = 1.0, **kw) -> list[float]:
    return sg.schedule(*sg.effective(scheduler), steps, denoise, **kw).tolist()


def test_the_scheduler_list_is_fooocus_s() -> None:
    assert set(sg.SCHEDULERS) == set(settings.SCHEDULERS)


@pytest.mark.parametrize("scheduler", THIRTY)
def test_thirty_steps(scheduler: str) -> None:
    head, tail = ([float(v) for v in part.split()] for part in THIRTY[scheduler].split("..."))
    ours = run(scheduler, 30)
    assert ours[: len(head)] == pytest.approx(head, rel=2e-6)
    assert ours[-len(tail) :] == pytest.approx(tail, rel=2e-6, abs=6e-8)
    assert len(ours) == {"ddim_uniform": 32, "turbo": 11}.get(scheduler, 31)


def test_align_your_steps_for_sd15() -> None:
    ours = run("align_your_steps", 30, sdxl=False)
    assert ours[1:5] == pytest.approx([11.1411295, 8.4931793, 6.4745760, 5.4509778], rel=1e-6)


@pytest.mark.parametrize(
    ("scheduler", "steps", "levels"),
    [("sgm_uniform", 4, "14.6146402 4.0860810 1.6155803 0.6951495 0"),
     ("sgm_uniform", 8, "14.6146402 7.3019819 4.0860810 2.4959669 1.6155803 1.0711591 0.6951495 0.3997014 0"),
     ("lcm", 8, "14.6146402 7.3917942 4.1707721 2.5628579 1.6679019 1.1138554 0.7325183 0.4367248 0"),
     ("tcd", 4, "14.6146402 4.1707721 1.6679019 0.7325183 0"),
     ("karras", 1, "14.6146431 0"), ("normal", 1, "14.6146402 0")],
)  # fmt: skip
def test_short_schedules(scheduler: str, steps: int, levels: str) -> None:
    assert run(scheduler, steps) == pytest.approx([float(v) for v in levels.split()], rel=1e-6)


def test_distilled_timesteps() -> None:
    _, sampling = sg.effective("lcm")
    assert [sampling.timestep(s) for s in run("lcm", 8)[:-1]] == [999, 879, 759, 639, 499, 379, 259, 139]


@pytest.mark.parametrize("nudge", [-2e-7, 0.0, 2e-7])
def test_a_level_midway_between_two_timesteps_is_the_one_at_an_even_place(nudge: float) -> None:
    for sampling in (sg.effective("lcm")[1], sg.effective("karras")[1]):
        middles = ((sampling.log_table[:-1].double() + sampling.log_table[1:].double()) / 2 + nudge).exp()
        even = [float(sampling.first + (i + i % 2) * sampling.stride) for i in range(len(middles))]
        assert [sampling.timestep(float(sigma)) for sigma in middles] == even


def test_the_penultimate_level_is_discarded() -> None:
    expected = [14.6146, 8.56, 4.7965, 2.5508, 1.2741, 0.5895, 0.2479, 0.0923, 0]
    assert run("karras", 8, discard_penultimate=True) == pytest.approx(expected, abs=6e-5)


@pytest.mark.parametrize(
    ("denoise", "first"), [(0.5, [1.17156, 0.98754, 0.82887]), (0.85, [7.65249]), (0.382, [0.56897])]
)
def test_denoise_shortens_the_range_not_the_steps(denoise: float, first: list[float]) -> None:
    ours = run("karras", 18, denoise)
    assert len(ours) == 19
    assert ours[: len(first)] == pytest.approx(first, rel=1e-5)


def test_joint_runs_cut_ddim_uniform() -> None:
    sigmas = sg.schedule(*sg.effective("ddim_uniform"), 30)
    ours = sg.cut(sigmas, 0, 30, full_denoise=True)
    assert len(ours) == 31
    assert ours[-2:].tolist() == pytest.approx([0.1821660, 0], abs=1e-6)
    assert float(sigmas[30]) == pytest.approx(0.0413144, abs=1e-6), "the list that was cut is unchanged"


def test_two_runs_share_a_schedule() -> None:
    sigmas = sg.schedule(*sg.effective("karras"), 10)
    first, second = sg.cut(sigmas, 0, 6), sg.cut(sigmas, 6, 10, full_denoise=True)
    assert torch.equal(torch.cat([first[:-1], second]), sigmas)
    assert len(sg.cut(sigmas, 10, 10)) == 1, "nothing is left to sample"
    assert len(sg.cut(sigmas, 15)) == 1


def test_fooocus_reads_two_schedulers_as_normal() -> None:
    expected = [14.6146, 6.678, 3.5221, 2.0606, 1.2768, 0.7913, 0.4397, 0.0292, 0]
    for scheduler in sg.READ_AS_NORMAL:
        generator, sampling = sg.effective(scheduler, as_fooocus=True)
        assert sg.schedule(generator, sampling, 8).tolist() == pytest.approx(expected, abs=6e-5)
        assert sg.effective(scheduler)[0] == scheduler


def test_the_brownian_range_is_that_of_the_plain_table() -> None:
    low, high = sg.brownian_range("karras", 30)
    assert (low, high) == pytest.approx((0.0291671771556, 14.6146430969), rel=1e-9)
    assert sg.brownian_range("edm_playground_v2.5", 30) == (low, high)
    assert sg.brownian_range("lcm", 4)[0] == pytest.approx(0.6951495, rel=1e-6)


@pytest.mark.parametrize(
    ("scheduler", "denoise", "scale"),
    [("karras", 1.0, 14.6488), ("normal", 1.0, 14.6488), ("sgm_uniform", 1.0, 14.6488),
     ("ddim_uniform", 1.0, 13.9258), ("karras", 0.5, 1.17156), ("edm_playground_v2.5", 1.0, 120.00419)],
)  # fmt: skip
def test_starting_scale(scheduler: str, denoise: float, scale: float) -> None:
    generator, sampling = sg.effective(scheduler)
    steps = 18 if denoise < 1 else 30
    assert sg.starting_scale(sg.schedule(generator, sampling, steps, denoise), sampling) == pytest.approx(scale, 1e-5)


@pytest.mark.parametrize(("steps", "denoise"), [(0, 1.0), (-3, 1.0), (10, 0.0), (10, 1.5), (10, float("nan"))])
def test_impossible_settings(steps: int, denoise: float) -> None:
    with pytest.raises(ValueError, match="expected steps"):
        sg.schedule("karras", discrete(), steps, denoise)


def test_unknown_scheduler() -> None:
    with pytest.raises(ValueError, match="unknown scheduler 'carras'"):
        sg.effective("carras")


@hypothesis_settings(deadline=None)
@given(st.sampled_from(sg.SCHEDULERS), st.integers(1, 200), st.floats(0.05, 1.0), st.booleans(), st.booleans())
def test_a_schedule_falls_to_zero(scheduler: str, steps: int, denoise: float, discard: bool, sdxl: bool) -> None:
    generator, sampling = sg.effective(scheduler)
    sigmas = sg.schedule(generator, sampling, steps, denoise, discard, sdxl)
    assert sigmas.dtype == torch.float32
    assert (sigmas[1:] < sigmas[:-1]).all()
    assert sigmas[-1] == 0
    beyond_the_table = scheduler == "simple" and steps / denoise > 999
    if scheduler not in ("ddim_uniform", "turbo") and not beyond_the_table:
        assert len(sigmas) == steps + 1
