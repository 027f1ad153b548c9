"""The quantity that a checkpoint's network predicts, from markers in its file and from its metadata.

Markers are empty tensors: `v_pred` and `ztsnr` (NoobAI-XL and its merges). Metadata is that of the safetensors header:
`modelspec.prediction_type` (Stability AI's ModelSpec, written by kohya's and naifu's trainers) and kohya's `ss_…`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import chosen
from ..settings import AUTO, PREDICTIONS
from ..types import Prediction
from .weights.checkpoint_files import BROKEN_SCHEDULER, SCHEDULER
from .weights.files import Weights

_V_MARKER, _ZERO_SNR_MARKER = "v_pred", "ztsnr"
_TYPE_KEYS = ("modelspec.prediction_type", "prediction_type", "ss_prediction_type")
_V_KEYS = ("ss_v_parameterization", "v_parameterization", "v_pred", "v_prediction")
_ZERO_SNR_KEYS = ("ss_zero_terminal_snr", "zero_terminal_snr", "ztsnr", "rescale_betas_zero_snr")
_EDM = {
    "edm_mean": "was trained in the EDM way of Playground v2.5: choose the scheduler edm_playground_v2.5 for it",
    "edm_vpred.sigma_max": "predicts v in the EDM way (CosXL), which is not supported: expect images of noise",
}
_YES = ("true", "1", "yes")
CHOICES: dict[str, tuple[Prediction, bool]] = dict(
    zip(PREDICTIONS[1:], [("eps", False), ("v", False), ("v", True)], strict=True)
)


@dataclass(frozen=True)
class Predicts:
    """The quantity that a network predicts, and `zero_snr`: its noise levels reach zero terminal SNR (Lin et al. 2023).

    `notices` tells a user what was found in the file, without its name.
    """

    prediction: Prediction = "eps"
    zero_snr: bool = False
    notices: tuple[str, ...] = ()


def predicts(weights: Weights, choice: str = AUTO) -> Predicts:
    """The prediction of the network in an open checkpoint; a `choice` other than 'auto' overrides the file.

    Raises UnknownName for a choice that does not exist.
    """
    choice = chosen("prediction", choice, PREDICTIONS)
    if choice != AUTO:
        return Predicts(*CHOICES[choice])
    says_v = _found(weights, [_V_MARKER], _V_KEYS) or _says_v(weights)
    says_zero = _found(weights, [_ZERO_SNR_MARKER], _ZERO_SNR_KEYS)
    notices = [text for marker, text in _EDM.items() if _has_marker(weights, marker)]
    if says_v and says_zero:
        notices += [f"is sampled as v-prediction with zero terminal SNR, as {says_v} and {says_zero} in the file say"]
    elif says_v:
        notices += [f"is sampled as v-prediction, as {says_v} in the file says"]
    elif strange := _unknown_type(weights):
        notices += [f"has {strange} in its file, which is not known here: it is sampled as eps-prediction"]
    elif says_zero:
        notices += [f"has {says_zero} in its file but nothing says v-prediction: it is sampled as eps-prediction"]
    if not says_v and (error := weights.metadata.get(BROKEN_SCHEDULER)):
        notices += [
            f"has a {SCHEDULER.name} that can't be read ({error}): it is sampled as eps-prediction; if that gives "
            "noise, choose another prediction on the loader, or get that file again"
        ]
    return Predicts("v" if says_v else "eps", bool(says_v and says_zero), tuple(notices))


def _found(weights: Weights, markers: Iterable[str], keys: Iterable[str]) -> str:
    """The first marker or true metadata entry, as it is named to a user; '' when there is none."""
    for marker in markers:
        if _has_marker(weights, marker):
            return f"the marker '{marker}'"
    return next((f"'{key}'" for key in keys if weights.metadata.get(key, "").strip().casefold() in _YES), "")


def _has_marker(weights: Weights, marker: str) -> bool:
    """Return True for a file with an entry of that name, at the top or beside the weights of its network."""
    return any(f".{key}".endswith(f".{marker}") for key in weights.shapes)


def _says_v(weights: Weights) -> str:
    return next((f"'{key}'" for key, value in _types(weights) if value.startswith("v")), "")


def _unknown_type(weights: Weights) -> str:
    return next((f"'{key}: {value}'" for key, value in _types(weights) if not value.startswith("eps")), "")


def _types(weights: Weights) -> list[tuple[str, str]]:
    values = [(key, weights.metadata.get(key, "").strip().casefold()) for key in _TYPE_KEYS]
    return [(key, value) for key, value in values if value]
