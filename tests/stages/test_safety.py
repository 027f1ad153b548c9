"""The safety check as a stage, with the pocket's checker: it knows the test card."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fooocus_stages.pipelines.errors import BadFile, BadValue, MissingFile, UnknownName
from fooocus_stages.pipelines.host import POCKET, LocalHost
from fooocus_stages.pipelines.models.safety import SafetyChecker, load_safety_checker
from fooocus_stages.pipelines.settings import DEFAULT_SAFETY_CHECKER, POCKET_CHECKER
from fooocus_stages.pipelines.stages import pictures, safety
from fooocus_stages.pocket.training.safety import card
from torch import Tensor


@pytest.fixture
def notices() -> list[str]:
    return []


@pytest.fixture
def host(notices: list[str]) -> LocalHost:
    return LocalHost(models=[POCKET], device="cpu", on_notice=notices.append)


@pytest.fixture
def images() -> Tensor:
    """A grey picture, the test card, and a gradient."""
    grey, gradient = torch.full((128, 160, 3), 0.5), torch.linspace(0, 1, 160)[None, :, None].expand(128, 160, 3)
    return torch.stack([grey, pictures.from_arrays([card(128, 160)])[0], gradient])


def test_a_flagged_image_becomes_black_and_the_others_stay(host: LocalHost, images: Tensor) -> None:
    before = images.clone()
    shown, flagged, scores = safety.check(host, "pocket", images)
    assert flagged == [False, True, False]
    assert [score > 0 for score in scores] == flagged
    assert torch.equal(images, before)
    assert torch.equal(shown[[0, 2]], images[[0, 2]])
    assert shown.shape == images.shape
    assert not shown[1].any()


def test_blur_leaves_rough_colours(host: LocalHost, images: Tensor) -> None:
    shown, _, _ = safety.check(host, "pocket", images, "blur")
    assert torch.equal(shown[[0, 2]], images[[0, 2]])
    torch.testing.assert_close(shown[1].mean((0, 1)), images[1].mean((0, 1)), atol=0.03, rtol=0)
    strip = slice(100, None)
    assert shown[1, strip].std() < images[1, strip].std() / 2  # the squares are gone


def test_only_report_changes_nothing(host: LocalHost, images: Tensor) -> None:
    shown, flagged, _ = safety.check(host, "pocket", images, "only report")
    assert flagged == [False, True, False]
    assert torch.equal(shown, images)


@pytest.mark.parametrize("mode", ["black out", "blur"])
def test_images_of_one_and_four_channels_keep_them(host: LocalHost, images: Tensor, mode: str) -> None:
    clear = torch.cat([images, torch.ones(3, 128, 160, 1)], dim=-1)
    shown, flagged, _ = safety.check(host, "pocket", clear, mode)
    assert flagged == [False, True, False]
    assert shown.shape == clear.shape
    assert (shown[1, ..., 3] == 1).all()
    grey, _, _ = safety.check(host, "pocket", images[..., :1], mode)
    assert grey.shape == (3, 128, 160, 1)


def test_a_notice_says_that_the_pocket_protects_nobody(host: LocalHost, images: Tensor, notices: list[str]) -> None:
    safety.check(host, "pocket", images[:1])
    safety.check(host, "pocket", images[:1])
    assert notices == [POCKET_CHECKER] * 2


def test_a_checker_is_loaded_once(host: LocalHost, images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[Path] = []

    def counted(path: Path) -> SafetyChecker:
        loads.append(path)
        return load_safety_checker(path)

    monkeypatch.setattr(safety, "load_safety_checker", counted)
    for _ in range(3):
        safety.check(host, "pocket", images[:1])
    assert len(loads) == 1


def test_a_published_checker_of_full_size_stays_in_the_host_s_memory() -> None:
    from fooocus_stages.pipelines.host.kept import MOST_BYTES

    assert MOST_BYTES > 304_000_000 * 4


def test_a_missing_checker_is_never_a_clean_result(tmp_path: Path, images: Tensor) -> None:
    empty = LocalHost(models=[tmp_path], device="cpu")
    with pytest.raises(MissingFile, match=DEFAULT_SAFETY_CHECKER):
        safety.check(empty, DEFAULT_SAFETY_CHECKER, images)


def test_embeddings_that_are_no_numbers_are_never_a_clean_result(
    host: LocalHost, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = load_safety_checker(POCKET / "safety_checker" / DEFAULT_SAFETY_CHECKER)
    next(broken.module.parameters()).fill_(float("nan"))
    monkeypatch.setattr(safety, "load_safety_checker", lambda path: broken)
    with pytest.raises(BadFile, match="NaN"):
        safety.check(host, "pocket", images)


def test_a_wrong_mode_and_what_is_no_image_are_refused(host: LocalHost, images: Tensor) -> None:
    with pytest.raises(UnknownName, match="safety check mode 'black'"):
        safety.check(host, "pocket", images, "black")
    with pytest.raises(BadValue):
        safety.check(host, "pocket", images[0])
