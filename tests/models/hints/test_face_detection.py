"""Finding faces: OpenCV's YuNet with a small network in its place, and facexlib's RetinaFace where it is installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fooocus_stages.pipelines.errors import BadFile
from fooocus_stages.pipelines.models.hints.face_detection import Detector, has_facexlib, retinaface, yunet
from fooocus_stages.pocket.training.onnx_file import CELL, nano_yunet

PLACES = np.array([(0.25, 0.25), (0.75, 0.25), (0.5, 0.5), (0.25, 0.75), (0.75, 0.75)])


@pytest.fixture
def detect(tmp_path: Path) -> Detector:
    path = tmp_path / "face_detection_yunet_2023mar.onnx"
    path.write_bytes(nano_yunet())
    return yunet(path)


def in_cell(column: int, row: int) -> np.ndarray:
    """The five points of the face in a cell."""
    return (PLACES + np.array((column, row))) * CELL


def lit(height: int, width: int, *cells: tuple[int, int, int]) -> np.ndarray:
    """A black picture with cells of 32 pixels lit: column, row, brightness."""
    picture = np.zeros((height, width, 3), np.uint8)
    for column, row, level in cells:
        picture[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL] = level
    return picture


def test_the_most_confident_face_comes_first_with_its_points(detect: Detector) -> None:
    first, second = detect(lit(160, 224, (0, 0, 220), (4, 2, 255)))
    assert first.score > second.score > 0.8
    np.testing.assert_allclose(first.points, in_cell(4, 2), atol=1e-3)
    np.testing.assert_allclose(second.points, in_cell(0, 0), atol=1e-3)


@pytest.mark.parametrize("size", [(1, 1), (33, 50), (160, 224), (3000, 40)])
def test_no_face(detect: Detector, size: tuple[int, int]) -> None:
    assert detect(lit(*size)) == []


def test_faces_of_a_large_picture_are_placed_in_it(detect: Detector) -> None:
    picture = lit(640, 1280, (7, 3, 255)).repeat(2, axis=0).repeat(2, axis=1)
    (face,) = detect(picture)
    np.testing.assert_allclose(face.points, in_cell(7, 3) * 2, atol=1e-2)


def test_a_face_too_large_for_the_network_is_found_in_a_small_copy(detect: Detector) -> None:
    small = lit(160, 320, (2, 1, 255))
    small[40:48, 72:80] = 90
    large = small.repeat(4, axis=0).repeat(4, axis=1)
    large[40 * 4 : 48 * 4, 72 * 4 : 80 * 4] = 0
    faces = detect(large)
    assert any(np.allclose(face.points, in_cell(2, 1) * 4, atol=1e-2) for face in faces)


def test_the_colours_are_in_opencvs_order(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(nano_yunet(colours=(0.0, 0.0, 3.0)))
    picture = lit(64, 64, (1, 1, 255))
    assert len(yunet(path)(picture * np.array([1, 0, 0], np.uint8))) == 1
    assert yunet(path)(picture * np.array([0, 0, 1], np.uint8)) == []


@pytest.mark.parametrize("content", [b"", b"no network", nano_yunet()[:300]])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "faces.onnx"
    path.write_bytes(content)
    with pytest.raises(BadFile, match=r"faces\.onnx is not a YuNet model: choose"):
        yunet(path)


@pytest.mark.filterwarnings("ignore:.*(pretrained|weight enum)")
@pytest.mark.skipif(not has_facexlib(), reason="facexlib is not installed")
def test_retinaface_returns_what_facexlib_finds_in_its_order_of_colours(tmp_path: Path) -> None:
    from facexlib.detection.retinaface import RetinaFace

    torch.manual_seed(0)
    network = RetinaFace("resnet50", device="cpu").eval()  # of random weights: it sees faces everywhere
    torch.save({f"module.{key}": value for key, value in network.state_dict().items()}, tmp_path / "faces.pth")
    picture = np.random.RandomState(0).randint(0, 256, (64, 96, 3)).astype(np.uint8)
    rows = network.detect_faces(np.ascontiguousarray(picture[..., ::-1]), 0.97, 0.4)
    faces = retinaface(tmp_path / "faces.pth")(picture)
    np.testing.assert_allclose([face.score for face in faces], rows[:, 4], rtol=1e-5)
    np.testing.assert_allclose(faces[0].points, rows[0, 5:].reshape(5, 2), rtol=1e-4)


@pytest.mark.skipif(not has_facexlib(), reason="facexlib is not installed")
def test_a_file_without_retinaface_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(BadFile, match=r"other\.pth is not a RetinaFace model: choose"):
        retinaface(tmp_path / "other.pth")
