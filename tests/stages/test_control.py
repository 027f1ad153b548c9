"""Control images from pictures on a wire, hints with their ranges, files of control networks, and faces cut out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fooocus_stages.pipelines.errors import BadFile, BadValue, MissingFile
from fooocus_stages.pipelines.host import LocalHost
from fooocus_stages.pipelines.models.handles import ControlHint, ControlNet
from fooocus_stages.pipelines.models.hints.face_detection import Face
from fooocus_stages.pipelines.models.weights.tensors import Tensors
from fooocus_stages.pipelines.stages import control
from fooocus_stages.preprocessors import canny, cpds, face_crop, geometry
from safetensors.torch import save_file

from .conftest import Pocket

NET = ControlNet("net", Tensors({}), is_lora=True)
LANDMARKS = [[60, 80], [96, 101], [68, 112], [50, 129], [81, 148]]


def pixels(height: int = 90, width: int = 140, channels: int = 3) -> np.ndarray:
    return np.random.RandomState(4).randint(0, 256, (height, width, channels)).astype(np.uint8)


def wired(*pictures: np.ndarray) -> torch.Tensor:
    return torch.stack([torch.from_numpy(picture).float() / 255 for picture in pictures])


def as_pixels(image: torch.Tensor) -> np.ndarray:
    assert image.dtype == torch.float32
    return (image * 255).round().to(torch.uint8).numpy()


MAKERS: dict[str, tuple[Callable[..., torch.Tensor], Callable[[np.ndarray], np.ndarray]]] = {
    "canny": (control.pyra_canny, canny.pyramid_canny),
    "cpds": (control.cpds, cpds.structure),
}


@pytest.mark.parametrize("name", list(MAKERS))
def test_each_picture_of_a_batch_is_made_by_itself(name: str) -> None:
    stage, plain = MAKERS[name]
    first, second = pixels(), pixels()[::-1].copy()
    made = as_pixels(stage(wired(first, second)))
    assert made.shape == (2, 90, 140, 3)
    for ours, picture in zip(made, (first, second), strict=True):
        assert np.array_equal(ours, plain(picture)[..., None].repeat(3, axis=-1))


@pytest.mark.parametrize("name", list(MAKERS))
@pytest.mark.parametrize("size", [(64, 64), (96, 40), (200, 120)])
def test_a_picture_is_first_made_to_cover_a_size(name: str, size: tuple[int, int]) -> None:
    stage, plain = MAKERS[name]
    made = as_pixels(stage(wired(pixels()), width=size[0], height=size[1]))[0]
    assert made.shape == (size[1], size[0], 3)
    assert np.array_equal(made[..., 0], plain(geometry.cover(pixels(), *size)))


@pytest.mark.parametrize("name", list(MAKERS))
@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_transparent_pictures(name: str, channels: int) -> None:
    stage, plain = MAKERS[name]
    picture = pixels(channels=channels)
    assert np.array_equal(as_pixels(stage(wired(picture)))[0, ..., 0], plain(geometry.as_rgb(picture)))


@pytest.mark.parametrize("name", list(MAKERS))
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (64, 64)])
@pytest.mark.parametrize("level", [0.0, 0.4, 1.0])
def test_nothing_to_see_is_black(name: str, size: tuple[int, int], level: float) -> None:
    made = MAKERS[name][0](torch.full((1, *size, 3), level))
    assert made.shape == (1, *size, 3)
    assert not made.any()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: control.pyra_canny(torch.zeros(4, 4, 3)), "must be (B, H, W, 3), got (4, 4, 3)"),
        (lambda: control.cpds(torch.zeros(1, 4, 4, 2)), "must be (B, H, W, 3), got (1, 4, 4, 2)"),
        (lambda: control.cpds(torch.zeros(0, 4, 4, 3)), "must be (B, H, W, 3)"),
        (lambda: control.cpds(torch.full((1, 4, 4, 3), torch.nan)), "NaN or infinity"),
        (lambda: control.pyra_canny(wired(pixels()), low=0), "low is 0: choose a threshold from 1 to 255"),
        (lambda: control.pyra_canny(wired(pixels()), high=256), "high is 256"),
        (lambda: control.cpds(wired(pixels()), width=64), "the size is 64×0: give both sides"),
        (lambda: control.cpds(torch.zeros(1, 1, 3000, 3)), "3000×1 pixels is too narrow for CPDS: crop the image"),
        (lambda: control.pyra_canny(torch.zeros(1, 1, 3000, 3), width=1, height=3000), "can't be made to cover 1×3000"),
        (lambda: control.hint(NET, torch.zeros(1, 8, 8, 2)), "must be (B, H, W, 3)"),
        (lambda: control.hint(NET, torch.zeros(1, 8, 8, 3), stop_at=1.5), "stop_at is 1.5: choose a fraction"),
        (lambda: control.hint(NET, torch.zeros(1, 8, 8, 3), start_at=-0.1), "start_at is -0.1"),
        (lambda: control.hint(NET, torch.zeros(1, 8, 8, 3), softness=2), "softness is 2"),
        (lambda: control.hint(NET, torch.zeros(1, 8, 8, 3), start_at=0.6), "start at 0.6 and stop before, at 0.5"),
        (lambda: control.hint(NET, torch.zeros(1, 8, 8, 3), weight=float("nan")), "weight is nan"),
    ],
)
def test_what_can_not_be_read_is_refused(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(BadValue) as error:
        call()
    assert words in str(error.value)


def test_hints_are_chained() -> None:
    one = control.hint(NET, torch.zeros(1, 8, 8, 3))
    two = control.hint(NET, torch.ones(1, 8, 8, 3), 0.7, 0.1, 0.9, 0.0, one)
    assert one == (ControlHint(NET, one[0].image, 1.0, 0.0, 0.5, 0.25),)
    assert two == (*one, ControlHint(NET, two[1].image, 0.7, 0.1, 0.9, 0.0))


def test_a_control_network_is_found_by_its_name(tmp_path: Path, pocket: Pocket, control_lora_of: Any) -> None:
    host = LocalHost(models=[tmp_path], device="cpu")
    (tmp_path / "controlnet").mkdir()
    save_file(control_lora_of(pocket.model.network.module), tmp_path / "controlnet" / "fooocus_xl_cpds_128.safetensors")
    assert control.load(host, "fooocus_xl_cpds_128").is_lora
    with pytest.raises(MissingFile, match="did you mean 'fooocus_xl_cpds_128"):
        control.load(host, "fooocus_xl_cdps_128.safetensors")
    save_file({"weight": torch.zeros(1)}, tmp_path / "controlnet" / "other.safetensors")
    with pytest.raises(BadFile, match=r"other\.safetensors contains no control network"):
        control.load(host, "other")


NUMBERS = np.array(LANDMARKS, dtype=np.float32)
FORMS: dict[str, Any] = {
    "nested": LANDMARKS,
    "flat": NUMBERS.ravel().tolist(),
    "array": NUMBERS.astype(np.float64),
    "numpy's numbers": list(NUMBERS.ravel()),
    "tensor": torch.from_numpy(NUMBERS),
    "text": "60,80 96,101 68,112 50,129 81,148",
    "json": "[[60, 80.0], [96, 101], [68, 1.12e2], [50, 129], [81, 148]]",
}


@pytest.mark.parametrize("form", list(FORMS))
def test_points_come_as_numbers_or_as_text(form: str) -> None:
    picture = pixels(320, 384)
    made = control.cropped_faces(LocalHost(device="cpu"), wired(picture), FORMS[form])
    assert np.array_equal(as_pixels(made)[0], face_crop.cropped(picture, LANDMARKS))


def test_points_for_each_picture_of_a_batch_or_for_all() -> None:
    host, pictures = LocalHost(device="cpu"), [pixels(320, 384), pixels(320, 384)[::-1].copy()]
    moved = (NUMBERS + 20).tolist()
    shared = as_pixels(control.cropped_faces(host, wired(*pictures), LANDMARKS))
    each = as_pixels(control.cropped_faces(host, wired(*pictures), [LANDMARKS, moved]))
    assert np.array_equal(shared[0], each[0])
    assert np.array_equal(shared[1], face_crop.cropped(pictures[1], LANDMARKS))
    assert np.array_equal(each[1], face_crop.cropped(pictures[1], moved))


@pytest.mark.parametrize(
    ("landmarks", "words"),
    [
        ("1 2 3", "3 numbers: give ten"),
        ([1.0] * 12, "12 numbers"),
        ("no numbers", "0 numbers"),
        ({"left": 1}, "landmarks is a dict"),
        ([5.0] * 10, "lie too near: correct the landmarks"),
    ],
)
def test_points_that_make_no_face_are_refused(landmarks: Any, words: str) -> None:
    with pytest.raises(BadValue, match=words):
        control.cropped_faces(LocalHost(device="cpu"), wired(pixels()), landmarks)


def test_without_points_a_detector_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="face_detection_yunet_2023mar"):
        control.cropped_faces(LocalHost(models=[tmp_path], device="cpu"), wired(pixels()))


def red_points(picture: np.ndarray) -> list[Face]:
    """A detector for pictures in which five red pixels are the points of a face."""
    rows, columns = np.nonzero((picture == (255, 0, 0)).all(axis=-1))
    return [Face(0.9, np.stack([columns, rows], axis=1).tolist())] if len(rows) == 5 else []


def test_the_face_that_is_found_is_cut_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "detector", lambda host, name: red_points)
    notices: list[str] = []
    host = LocalHost(device="cpu", on_notice=notices.append)
    face, nobody = np.zeros((200, 200, 3), np.uint8), np.full((200, 200, 3), 7, np.uint8)
    for x, y in LANDMARKS:
        face[y, x] = (255, 0, 0)
    expected = face_crop.cropped(face, sorted(LANDMARKS, key=lambda point: (point[1], point[0])))
    assert np.array_equal(as_pixels(control.cropped_faces(host, wired(face), "  "))[0], expected)
    assert not notices
    assert np.array_equal(as_pixels(control.cropped_faces(host, wired(nobody)))[0], nobody)
    (notice,) = notices
    assert "no face was found in image 1 of 1" in notice
    both = as_pixels(control.cropped_faces(host, wired(face, nobody)))
    assert both.shape == (2, 512, 512, 3)
    assert np.array_equal(both[0], expected)
    assert (both[1] == 7).all()
