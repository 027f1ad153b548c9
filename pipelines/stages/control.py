"""Control images: outlines, structure, a face, and the hints made of them (Fooocus async_worker.py).

Pictures are (B, H, W, 1, 3 or 4) in 0…1, what is transparent over white; they become uint8 and back as in Fooocus.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...preprocessors import canny, face_crop, geometry
from ...preprocessors import cpds as cpds_maths
from ..errors import BadValue, MissingFile
from ..functional.latents import from_uint8, to_uint8
from ..host import Host
from ..models.handles import ControlHint, ControlNet, Hint
from ..models.hints import face_detection
from ..models.hints.controlnet import load_controlnet
from ..settings import DEFAULT_CONTROL
from .load import find_or_pocket

KIND = "controlnet"
RETINAFACE = (KIND, "detection_Resnet50_Final.pth")
YUNET = ("face_detection", "face_detection_yunet_2023mar.onnx")
MOST_PIXELS = 2**28
Maker = Callable[[geometry.Picture], geometry.Picture]


def find(host: Host, name: str) -> Path:
    """The control network's file. Raises MissingFile."""
    return find_or_pocket(host, KIND, name, DEFAULT_CONTROL)


def load(host: Host, name: str) -> ControlNet:
    """The control network of a file. Raises MissingFile and BadFile."""
    return load_controlnet(find(host, name), host.dtype("unet"))


def hint(
    network: ControlNet,
    image: Tensor,
    weight: float = 1.0,
    start_at: float = 0.0,
    stop_at: float = 0.5,
    softness: float = 0.25,
    control: tuple[Hint, ...] = (),
) -> tuple[Hint, ...]:
    """The hints so far, and one more: the network reads the picture from `start_at` to `stop_at` of the timesteps.

    Their order has no meaning. Raises BadValue for values out of range and for what is no picture.
    """
    shares = {"start_at": start_at, "stop_at": stop_at, "softness": softness}
    for name, value in shares.items():
        if not 0 <= value <= 1:
            raise BadValue(f"{name} is {value}: choose a share between 0 and 1")
    if start_at > stop_at:
        raise BadValue(f"the control would start at {start_at} and stop before, at {stop_at}: swap the two")
    if not math.isfinite(weight):
        raise BadValue(f"weight is {weight}: choose a number, 1 is the published strength")
    return (*control, ControlHint(network, checked(image), weight, start_at, stop_at, softness))


def pyra_canny(image: Tensor, low: int = 64, high: int = 128, width: int = 0, height: int = 0) -> Tensor:
    """White outlines on black, (B, H, W, 3). With a size, the pictures are first scaled and cut to it (0: as they are).

    Raises BadValue for what is no picture and for thresholds outside 1…255.
    """
    for name, value in {"low": low, "high": high}.items():
        if not 1 <= value <= 255:
            raise BadValue(f"{name} is {value}: choose a threshold from 1 to 255")
    return _each(image, width, height, lambda picture: canny.pyramid_canny(picture, low, high))


def cpds(image: Tensor, width: int = 0, height: int = 0) -> Tensor:
    """Structure as grey, (B, H, W, 3). With a size, the pictures are first scaled and cut to it (0: as they are).

    Raises BadValue for what is no picture.
    """
    return _each(image, width, height, cpds_maths.structure)


def cropped_faces(host: Host, image: Tensor, landmarks: object = None) -> Tensor:
    """The surest face of each picture, upright in 512×512: (B, 512, 512, 3); without a face the picture itself.

    `landmarks`: five points x, y for each picture or for all, as numbers or as text with numbers in it; without them a
    detector finds the face. Of several pictures, those without a face are stretched to 512×512. Raises BadValue, and
    MissingFile when there is no detector's file.
    """
    pictures = _pictures(image)
    found: Sequence[face_detection.Points | None]
    if landmarks is None or (isinstance(landmarks, str) and not landmarks.strip()):
        detect = detector(host)
        found = [next((face.points for face in detect(picture)), None) for picture in pictures]
    else:
        found = points_of(landmarks, len(pictures))
    for i, points in enumerate(found):
        if points is None:
            host.notice(f"no face was found in picture {i + 1} of {len(found)}: the whole picture is used")
    crops = [p if points is None else _face(p, points) for p, points in zip(pictures, found, strict=True)]
    if len(crops) > 1:
        crops = [geometry.resample(crop, face_crop.SIDE, face_crop.SIDE) for crop in crops]
    return _as_images(crops)


def detector(host: Host) -> face_detection.Detector:
    """Load the face detector that `find_detector` chooses. Raises MissingFile and BadFile."""
    load_detector, path = find_detector(host)
    return load_detector(path)


def find_detector(host: Host) -> tuple[Callable[[Path], face_detection.Detector], Path]:
    """Choose RetinaFace, as Fooocus does, if facexlib and its weights are installed; else YuNet. Raises MissingFile."""
    if face_detection.has_facexlib():
        try:
            return face_detection.retinaface, host.find(*RETINAFACE)
        except MissingFile:
            pass
    return face_detection.yunet, host.find(*YUNET)


def points_of(landmarks: object, pictures: int) -> list[list[list[float]]]:
    """Five points for each picture out of numbers or text. Raises BadValue for another count than ten or ten each."""
    numbers = _numbers(landmarks)
    if len(numbers) not in (10, 10 * pictures):
        raise BadValue(
            f"landmarks holds {len(numbers)} numbers: give ten for a face, x and y of left eye, right eye, nose, left "
            f"and right corner of the mouth{'' if pictures == 1 else f', or ten for each of {pictures} pictures'}"
        )
    faces: list[list[list[float]]] = np.reshape(numbers, (-1, 5, 2)).tolist()
    return faces * (pictures // len(faces))


def checked(image: Tensor) -> Tensor:
    """Pictures. Raises BadValue for what is none."""
    if image.ndim != 4 or image.shape[-1] not in (1, 3, 4) or not image.numel():
        raise BadValue(f"a control image must be (B, H, W, 3), got {tuple(image.shape)}: wire in a picture")
    if not image.isfinite().all():
        raise BadValue("the control image holds values that are no numbers: look at the node that made it")
    return image


def _each(image: Tensor, width: int, height: int, make: Maker) -> Tensor:
    if (width > 0) != (height > 0):
        raise BadValue(f"the size is {width}×{height}: give both sides, or 0 for both to leave the picture's")
    pictures = _pictures(image)
    if width:
        pictures = [_covering(picture, width, height) for picture in pictures]
    try:
        return _as_images([make(picture) for picture in pictures])
    except ValueError as error:
        raise BadValue(f"{error}: cut the picture to a wider part first") from error


def _covering(picture: geometry.Picture, width: int, height: int) -> geometry.Picture:
    """The picture scaled until it covers the size and cut to it. Raises BadValue where that needs a giant picture."""
    proportions = width / height / (picture.shape[1] / picture.shape[0])
    if width * height * max(proportions, 1 / proportions) > MOST_PIXELS:
        raise BadValue(
            f"a picture of {picture.shape[1]}×{picture.shape[0]} pixels can't be made to cover {width}×{height}: "
            "cut it to like proportions first"
        )
    return geometry.cover(picture, width, height)


def _face(picture: geometry.Picture, points: Sequence[Sequence[float]]) -> geometry.Picture:
    try:
        return face_crop.cropped(picture, points)
    except ValueError as error:
        raise BadValue(f"{error}: correct the landmarks") from error


def _pictures(image: Tensor) -> list[geometry.Picture]:
    return [geometry.as_rgb(to_uint8(picture).cpu().numpy()) for picture in checked(image)]


def _as_images(pictures: Sequence[geometry.Picture]) -> Tensor:
    return torch.stack([from_uint8(torch.from_numpy(np.ascontiguousarray(geometry.as_rgb(p)))) for p in pictures])


def _numbers(landmarks: object) -> list[float]:
    if isinstance(landmarks, str):
        return [float(number) for number in re.findall(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", landmarks)]
    try:
        numbers: list[float] = np.asarray(landmarks, dtype=np.float64).ravel().tolist()
    except (TypeError, ValueError) as error:
        raise BadValue(f"landmarks is a {type(landmarks).__name__}: give ten numbers, or a text with them") from error
    return numbers
