"""Finding faces in a picture: RetinaFace as Fooocus does, by way of facexlib, or OpenCV's YuNet.

Fooocus extras/face_crop.py; extras/facexlib/detection/retinaface.py.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Sequence
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
YUNET_SIDES = (1280, 320)  # it sees faces of some 10 to 300 pixels: large ones only in a small copy


@dataclass(frozen=True)
class Face:
    """A face: how sure it is (0…1), and five points x, y: left eye, right eye, nose, left and right of the mouth, as
    they lie in the picture."""

    score: float
    points: Points


Detector = Callable[[Picture], list[Face]]
"""The faces of an RGB picture (H, W, 3), the surest first; YuNet may tell of one twice."""


def has_facexlib() -> bool:
    """True if facexlib, and a torchvision for this torch, can be imported."""
    try:
        importlib.import_module("facexlib.detection.retinaface")
    except (ImportError, RuntimeError):  # the second from a torchvision for another torch
        return False
    return True


def retinaface(path: Path) -> Detector:
    """RetinaFace with the weights of a file, on the CPU, at the picture's own size. Raises BadFile."""
    module = importlib.import_module("facexlib.detection.retinaface")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # facexlib asks torchvision for its backbone in an old way
        network = module.RetinaFace("resnet50", half=False, device="cpu")
    try:
        network.load_state_dict(read_state(path))
    except RuntimeError as error:
        raise BadFile(f"{path.name} holds no RetinaFace: choose detection_Resnet50_Final.pth") from error
    network.eval()

    @torch.no_grad()
    def detect(picture: Picture) -> list[Face]:
        bgr = np.ascontiguousarray(picture[..., ::-1])
        rows = network.detect_faces(bgr, RETINAFACE_SCORE, RETINAFACE_OVERLAP)
        return _surest_first(Face(float(row[4]), _points(row[5:15])) for row in rows)

    return detect


def yunet(path: Path) -> Detector:
    """OpenCV's YuNet with the network of an .onnx file. Raises BadFile."""
    try:
        network = cv2.FaceDetectorYN.create(str(path), "", (320, 320), YUNET_SCORE)
    except cv2.error as error:
        raise BadFile(f"{path.name} holds no YuNet: choose face_detection_yunet_2023mar.onnx") from error

    def detect(picture: Picture) -> list[Face]:
        bgr = np.ascontiguousarray(picture[..., ::-1])
        shares = {min(1.0, side / max(bgr.shape[:2])) for side in YUNET_SIDES}
        return _surest_first(face for share in shares for face in _in_a_copy(network, bgr, share))

    return detect


def _in_a_copy(network: Any, bgr: Picture, share: float) -> list[Face]:
    """The faces that YuNet finds in a copy of the image scaled by that factor, in coordinates of the image."""
    height, width = (max(1, round(side * share)) for side in bgr.shape[:2])
    network.setInputSize((width, height))
    _, rows = network.detect(cv2.resize(bgr, (width, height), interpolation=cv2.INTER_AREA))
    back = np.tile((bgr.shape[1] / width, bgr.shape[0] / height), 5)
    return [] if rows is None else [Face(float(row[14]), _points(row[4:14] * back)) for row in rows]


def _points(row: NDArray[np.floating[Any]]) -> Points:
    return tuple((float(x), float(y)) for x, y in np.reshape(row, (5, 2)))


def _surest_first(faces: Any) -> list[Face]:
    return sorted(faces, key=lambda face: face.score, reverse=True)
