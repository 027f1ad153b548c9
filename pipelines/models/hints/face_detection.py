"""Face detection: facexlib's RetinaFace, which Fooocus uses, or OpenCV's YuNet.

Fooocus extras/face_crop.py; extras/facexlib/detection/retinaface.py.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...errors import BadFile
from ...opencv import cv2
from ..weights.files import read_state

Picture = NDArray[np.uint8]
Points = Sequence[Sequence[float]]

RETINAFACE_SCORE, RETINAFACE_OVERLAP = 0.97, 0.4
YUNET_SCORE = 0.8
YUNET_SIDES = (1280, 320)  # YuNet detects faces of about 10 to 300 pixels: larger ones only in a smaller copy


@dataclass(frozen=True)
class Face:
    """A detected face: its confidence `score` (0…1), and five points x, y in image coordinates.

    The points are the left eye, the right eye, the nose, and the left and the right corner of the mouth.
    """

    score: float
    points: Points


Detector = Callable[[Picture], list[Face]]
"""Detects the faces in an RGB image (H, W, 3), the most confident first; YuNet may report one face twice."""


def has_facexlib() -> bool:
    """True if facexlib and a torchvision that matches the installed torch can be imported."""
    try:
        importlib.import_module("facexlib.detection.retinaface")
    except (ImportError, RuntimeError):  # RuntimeError: a torchvision for another torch
        return False
    return True


def retinaface(path: Path) -> Detector:
    """Load RetinaFace onto the CPU; it detects at the image's own size. Raises BadFile."""
    module = importlib.import_module("facexlib.detection.retinaface")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # facexlib calls a deprecated function of torchvision
        network = module.RetinaFace("resnet50", half=False, device="cpu")
    try:
        network.load_state_dict(read_state(path))
    except RuntimeError as error:
        raise BadFile(f"{path.name} is not a RetinaFace model: choose detection_Resnet50_Final.pth") from error
    network.eval()

    @torch.no_grad()
    def detect(picture: Picture) -> list[Face]:
        bgr = np.ascontiguousarray(picture[..., ::-1])
        rows = network.detect_faces(bgr, RETINAFACE_SCORE, RETINAFACE_OVERLAP)
        return _by_confidence(Face(float(row[4]), _points(row[5:15])) for row in rows)

    return detect


def yunet(path: Path) -> Detector:
    """Load OpenCV's YuNet from an .onnx file. Raises BadFile."""
    try:
        network = cv2.FaceDetectorYN.create(str(path), "", (320, 320), YUNET_SCORE)
    except cv2.error as error:
        raise BadFile(f"{path.name} is not a YuNet model: choose face_detection_yunet_2023mar.onnx") from error

    def detect(picture: Picture) -> list[Face]:
        bgr = np.ascontiguousarray(picture[..., ::-1])
        scales = {min(1.0, side / max(bgr.shape[:2])) for side in YUNET_SIDES}
        return _by_confidence(face for scale in scales for face in _detect_scaled(network, bgr, scale))

    return detect


def _detect_scaled(network: Any, bgr: Picture, scale: float) -> list[Face]:
    """Detect faces in a scaled copy of the image; return them in coordinates of the image."""
    height, width = (max(1, round(side * scale)) for side in bgr.shape[:2])
    network.setInputSize((width, height))
    _, rows = network.detect(cv2.resize(bgr, (width, height), interpolation=cv2.INTER_AREA))
    back = np.tile((bgr.shape[1] / width, bgr.shape[0] / height), 5)
    return [] if rows is None else [Face(float(row[14]), _points(row[4:14] * back)) for row in rows]


def _points(row: NDArray[np.floating[Any]]) -> Points:
    return tuple((float(x), float(y)) for x, y in np.reshape(row, (5, 2)))


def _by_confidence(faces: Iterable[Face]) -> list[Face]:
    return sorted(faces, key=lambda face: face.score, reverse=True)
