"""The safety check: flags images and hides them (Fooocus extras/censor.py)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ..errors import chosen
from ..files import file_state
from ..functional.safety import blurred
from ..host import Host, find_or_pocket
from ..models.safety import SafetyChecker, embeddings, load_safety_checker, pixels, scores
from ..models.weights.soundness import require_finite
from ..settings import BLACK_OUT, BLUR, DEFAULT_SAFETY_CHECKER, POCKET_CHECKER, SAFETY_MODES
from . import pictures

KIND = "safety_checker"
NAME = "an image to check"


def find(host: Host, name: str) -> Path:
    """Path of a safety checker. Raises MissingFile."""
    return find_or_pocket(host, KIND, name, DEFAULT_SAFETY_CHECKER)


def load(host: Host, name: str) -> SafetyChecker:
    """Load a safety checker, once while the host keeps it; a notice tells when it is only the pocket's.

    Raises MissingFile and BadFile.
    """
    path = find(host, name)

    def loaded() -> SafetyChecker:
        checker = load_safety_checker(path)
        host.manage("upscaler", checker.module)
        return checker

    checker = host.keep((KIND, *file_state(path)), loaded)
    if not checker.protects:
        host.notice(POCKET_CHECKER)
    return checker


def check(host: Host, name: str, image: Tensor, mode: str = BLACK_OUT) -> tuple[Tensor, list[bool], list[float]]:
    """Images (B, H, W, 1, 3 or 4) with the flagged ones hidden, True for each flagged one, and each one's score.

    The score is the highest of the 17 concepts', flagged above 0. `mode`: 'black out' makes a flagged image black,
    'blur' leaves a dozen cells of its colours, 'only report' leaves it as it is. Images that are not flagged stay
    bit-identical. Raises MissingFile, BadFile, UnknownName, and BadValue for what is no image.
    """
    mode = chosen("safety check mode", mode, SAFETY_MODES)
    arrays = pictures.to_arrays(image, NAME)
    checker = load(host, name)
    device = host.load("upscaler", checker.module)
    each = []
    for number, array in enumerate(arrays, start=1):
        host.check_interrupted()
        each.append(embeddings(checker, pixels([array], checker.size).to(device)))
        host.progress(number, len(arrays))
    networks = [(checker.name, checker.module)]
    embeds = require_finite(torch.cat(each), "the safety check", networks, "choose another image")
    found = scores(checker, embeds)
    return hidden(image, found.flagged, mode), found.flagged, found.highest


def hidden(image: Tensor, flagged: list[bool], mode: str) -> Tensor:
    """Images (B, H, W, C) with the flagged ones made black or blurred; the same tensor if none is changed."""
    if mode not in (BLACK_OUT, BLUR) or not any(flagged):
        return image
    result = image.clone()
    for index in (index for index, is_flagged in enumerate(flagged) if is_flagged):
        shown = pictures.rgb(image[index : index + 1], NAME)
        cover = blurred(shown.movedim(-1, 1)).movedim(1, -1) if mode == BLUR else torch.zeros_like(shown)
        result[index] = 1  # opaque, if there is a fourth channel
        result[index, ..., :3] = cover[0, ..., : image.shape[-1]]
    return result
