"""Control images: preprocessors, face crops, and hints (Fooocus modules/async_worker.py: apply_control_nets).

Images are (B, H, W, 1, 3 or 4) in 0…1 and are processed as uint8; see `pictures`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from ...preprocessors import canny, face_crop, geometry
from ...preprocessors import cpds as cpds_maths
from ..errors import BadValue, MissingFile
from ..files import file_state
from ..host import Host, find_or_pocket
from ..models.handles import ControlHint, ControlNet, Hint
from ..models.hints import face_detection
from ..models.hints.controlnet import load_controlnet
from ..settings import AUTO, DEFAULT_CONTROL
from . import pictures

KIND = "controlnet"
NAME = "a control image"
RETINAFACE = (KIND, "detection_Resnet50_Final.pth")
YUNET = ("face_detection", "face_detection_yunet_2023mar.onnx")
MOST_PIXELS = 2**28
Preprocessor = Callable[[geometry.Picture], geometry.Picture]


def find(host: Host, name: str) -> Path:
    """Path of a control network. Raises MissingFile."""
    return find_or_pocket(host, KIND, name, DEFAULT_CONTROL)


def load(host: Host, name: str) -> ControlNet:
    """Load a control network. Raises MissingFile and BadFile."""
    path, dtype = find(host, name), host.dtype("unet")
    return host.keep_networks(("controlnet", *file_state(path), dtype), lambda: load_controlnet(path, dtype))


def hint(
    network: ControlNet,
    image: Tensor,
    weight: float = 1.0,
    start_at: float = 0.0,
    stop_at: float = 0.5,
    softness: float = 0.25,
    control: tuple[Hint, ...] = (),
) -> tuple[Hint, ...]:
    """The hints in `control` and one more: `network` reads `image` from `start_at` to `stop_at` of the timesteps.

    The order of hints has no effect. Raises BadValue for values out of range and for what is no image.
    """
    fractions = {"start_at": start_at, "stop_at": stop_at, "softness": softness}
    for name, value in fractions.items():
        if not 0 <= value <= 1:
            raise BadValue(f"{name} is {value}: choose a fraction between 0 and 1")
    if start_at > stop_at:
        raise BadValue(f"the control would start at {start_at} and stop before, at {stop_at}: swap the two")
    if not math.isfinite(weight):
        raise BadValue(f"weight is {weight}: choose a number, 1 is the published strength")
    return (*control, ControlHint(network, pictures.checked(image, NAME), weight, start_at, stop_at, softness))


def pyra_canny(image: Tensor, low: int = 64, high: int = 128, width: int = 0, height: int = 0) -> Tensor:
    """White outlines on black, (B, H, W, 3).

    Images are first scaled and cropped to `width` and `height`; 0 for both keeps their own size. Raises BadValue for
    what is no image and for thresholds outside 1…255.
    """
    for name, value in {"low": low, "high": high}.items():
        if not 1 <= value <= 255:
            raise BadValue(f"{name} is {value}: choose a threshold from 1 to 255")
    return _preprocessed(image, width, height, lambda array: canny.pyramid_canny(array, low, high))


def cpds(image: Tensor, width: int = 0, height: int = 0) -> Tensor:
    """Contrast-preserving structure in grey, (B, H, W, 3).

    Images are first scaled and cropped to `width` and `height`; 0 for both keeps their own size. Raises BadValue for
    what is no image.
    """
    return _preprocessed(image, width, height, cpds_maths.structure)


def cropped_faces(host: Host, image: Tensor, landmarks: object = None, detector_name: str = AUTO) -> Tensor:
    """The most confidently detected face of each image, upright, (B, 512, 512, 3); the image itself without a face.

    `landmarks`: five points x, y for each image or for all, as numbers or as text that contains them; without them the
    detector of the name finds the faces. In a batch, images without a face are stretched to 512×512. Raises BadValue,
    and MissingFile without a detector.
    """
    arrays = pictures.to_arrays(image, NAME)
    found: Sequence[face_detection.Points | None]
    if landmarks is None or (isinstance(landmarks, str) and not landmarks.strip()):
        detect = detector(host, detector_name)
        found = [next((face.points for face in detect(array)), None) for array in arrays]
    else:
        found = points_of(landmarks, len(arrays))
    for i, points in enumerate(found):
        if points is None:
            host.notice(f"no face was found in image {i + 1} of {len(found)}: the whole image is used")
    crops = [a if points is None else _face(a, points) for a, points in zip(arrays, found, strict=True)]
    if len(crops) > 1:
        crops = [geometry.resample(crop, face_crop.SIDE, face_crop.SIDE) for crop in crops]
    return pictures.from_arrays(crops)


def detector(host: Host, name: str = AUTO) -> face_detection.Detector:
    """Load the face detector that `find_detector` chooses. Raises MissingFile and BadFile."""
    load_detector, path = find_detector(host, name)
    return load_detector(path)


def find_detector(host: Host, name: str = AUTO) -> tuple[Callable[[Path], face_detection.Detector], Path]:
    """Find the YuNet file of a name; 'pocket' is the pocket model's.

    'auto' chooses RetinaFace, as Fooocus does, if facexlib and its weights are installed, and else the published YuNet.
    Raises MissingFile.
    """
    if name != AUTO:
        return face_detection.yunet, find_or_pocket(host, YUNET[0], name, YUNET[1])
    if face_detection.has_facexlib():
        try:
            return face_detection.retinaface, host.find(*RETINAFACE)
        except MissingFile:
            pass
    try:
        return face_detection.yunet, host.find(*YUNET)
    except MissingFile as error:
        raise MissingFile(f"{error}; with the pocket model, choose 'pocket' in detector_name") from error


def points_of(landmarks: object, images: int) -> list[list[list[float]]]:
    """Five points for each of `images` images from numbers or text. Raises BadValue unless there are ten per image, or
    ten for all."""
    numbers = _numbers(landmarks)
    if len(numbers) not in (10, 10 * images):
        raise BadValue(
            f"landmarks has {len(numbers)} numbers: give ten for a face, x and y of left eye, right eye, nose, left "
            f"and right corner of the mouth{'' if images == 1 else f', or ten for each of {images} images'}"
        )
    faces: list[list[list[float]]] = np.reshape(numbers, (-1, 5, 2)).tolist()
    return faces * (images // len(faces))


def _preprocessed(image: Tensor, width: int, height: int, preprocess: Preprocessor) -> Tensor:
    if (width > 0) != (height > 0):
        raise BadValue(f"the size is {width}×{height}: give both sides, or 0 for both to keep the image's own size")
    arrays = pictures.to_arrays(image, NAME)
    if width:
        arrays = [_covering(array, width, height) for array in arrays]
    try:
        return pictures.from_arrays(preprocess(array) for array in arrays)
    except ValueError as error:
        raise BadValue(f"{error}: crop the image to a wider part first") from error


def _covering(array: geometry.Picture, width: int, height: int) -> geometry.Picture:
    """The image scaled to cover the size and cropped to it. Raises BadValue where the scaled image would be huge."""
    proportions = width / height / (array.shape[1] / array.shape[0])
    if width * height * max(proportions, 1 / proportions) > MOST_PIXELS:
        raise BadValue(
            f"an image of {array.shape[1]}×{array.shape[0]} pixels can't be made to cover {width}×{height}: "
            "crop it to similar proportions first"
        )
    return geometry.cover(array, width, height)


def _face(array: geometry.Picture, points: Sequence[Sequence[float]]) -> geometry.Picture:
    try:
        return face_crop.cropped(array, points)
    except ValueError as error:
        raise BadValue(f"{error}: correct the landmarks") from error


def _numbers(landmarks: object) -> list[float]:
    if isinstance(landmarks, str):
        return [float(number) for number in re.findall(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", landmarks)]
    try:
        numbers: list[float] = np.asarray(landmarks, dtype=np.float64).ravel().tolist()
    except (TypeError, ValueError) as error:
        raise BadValue(f"landmarks is a {type(landmarks).__name__}: give ten numbers, or a text with them") from error
    return numbers
