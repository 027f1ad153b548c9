"""Presets: Fooocus's settings under a name, in its own JSON files (Fooocus presets/*.json, modules/config.py)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...errors import BadFile, BadValue, UnknownName, UserError
from ...host import Host
from ...names import match_file, match_name, same
from ...settings import (
    DEFAULT_ENGINE,
    DEFAULT_VAE,
    INPAINT_PATCHES,
    NO_FILE,
    PERFORMANCES,
    POCKET_CHOICE,
    SAMPLERS,
    SCHEDULERS,
)
from ...types import Lora, SamplingSettings
from ..prompts.prompt import check_styles
from . import literals
from .json_schemes import loras_in
from .recipe import DEFAULT_SIZE, MODELS_OWN_VAE, Recipe, host_file, is_mode_lora

KIND = "presets"
HERE = Path(__file__).parent
LARGEST_FILE = 2**20
FEW = 5
SHORTEST_SIDE, LONGEST_SIDE = 64, 4096  # as the node Fooocus Aspect Ratio takes them

WITHOUT_EFFECT = (
    "previous_default_models", "checkpoint_downloads", "embeddings_downloads", "lora_downloads", "vae_downloads",
    "default_loras_min_weight", "default_loras_max_weight", "default_max_lora_number",
    "default_save_metadata_to_images",
)  # fmt: skip


def names(host: Host) -> list[str]:
    """List the presets of the user's folder `presets`, then the pack's, without duplicates."""
    return list(dict.fromkeys([*_files(host), *_bundled()]))


def of_preset(host: Host, name: str) -> Recipe:
    """Return the recipe of a preset; keys that it does not set are taken from the preset `default`.

    Raises UnknownName, BadFile for a broken file, and BadValue naming the preset, the key and what it should be.
    """
    given = read(host, name)
    values = {key: value for key, value in given.items() if key in READERS}
    if strange := [key for key in given if key not in READERS and key not in WITHOUT_EFFECT]:
        more = f" and {len(strange) - FEW} more" if len(strange) > FEW else ""
        host.notice(f"the preset {name!r} has keys without effect here: {', '.join(strange[:FEW])}{more}")
    known = {key: _read(name, key, value) for key, value in {**_bundled()["default"], **values}.items()}
    _check_styles(host, name, known["default_styles"])
    return _recipe(host, known, given.get("previous_default_models"))


def read(host: Host, name: str) -> Mapping[str, Any]:
    """Return the values of a preset by key, unchecked."""
    files = _files(host)
    own, bundled = match_name(name, files), match_name(name, _bundled())
    if own is not None:
        return _read_file(host.find(KIND, files[own]))
    if bundled is not None:
        return _bundled()[bundled]
    if (file := match_file(name, list(files.values()))) is not None:
        return _read_file(host.find(KIND, file))
    raise UnknownName("preset", name, names(host), "presets of your own are JSON files in the folder 'presets'")


def stamp(host: Host, name: str) -> str:
    """Return a text that changes when the preset does."""
    return json.dumps(read(host, name), sort_keys=True)


def _files(host: Host) -> dict[str, str]:
    """Return the user's preset files by displayed name, without `.json`."""
    return {name[: -len(".json")]: name for name in host.names(KIND) if name.lower().endswith(".json")}


def _bundled() -> dict[str, dict[str, Any]]:
    presets: dict[str, dict[str, Any]] = json.loads((HERE / "presets.json").read_text(encoding="utf-8"))
    return presets


def _read_file(path: Path) -> Mapping[str, Any]:
    try:
        if (size := path.stat().st_size) > LARGEST_FILE:
            raise BadFile(f"preset file {path} is too large: {size:,} bytes, at most {LARGEST_FILE:,}")
        values = json.loads(path.read_bytes())
    except OSError as error:
        raise BadFile(f"preset file {path} can't be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise BadFile(f"preset file {path} is not in UTF-8 ({error}): save it in that encoding") from error
    except (ValueError, RecursionError) as error:
        raise BadFile(f"preset file {path} is not valid JSON: {error}") from error
    if not isinstance(values, dict):
        raise BadFile(f"preset file {path} should hold an object with keys such as default_model")
    return values


def _read(name: str, key: str, value: Any) -> Any:
    try:
        return READERS[key](NO_FILE if value in (None, "") and key not in MAY_BE_EMPTY else value)
    except ValueError as error:
        raise BadValue(f"preset {name!r}: {key} is {str(value)[:80]!r}, but should be {error}") from error


def _check_styles(host: Host, name: str, styles: tuple[str, ...]) -> None:
    try:
        check_styles(host, styles)
    except UserError as error:
        raise BadValue(f"preset {name!r}: default_styles: {error}") from error


def _recipe(host: Host, known: Mapping[str, Any], previous: Any) -> Recipe:
    performance = known["default_performance"]
    vae, refiner = known.get("default_vae", DEFAULT_VAE), known["default_refiner"]
    width, height = known["default_aspect_ratio"] or _default_size(host)
    return Recipe(
        text=known.get("default_prompt", ""),
        negative=known.get("default_prompt_negative", ""),
        styles=known["default_styles"],
        settings=_settings(known, performance),
        loras=tuple(
            Lora(host_file(host, "loras", lora.name), lora.weight)
            for lora in known["default_loras"]
            if not is_mode_lora(performance, lora)
        ),
        width=width,
        height=height,
        checkpoint=_checkpoint(host, known["default_model"], previous),
        vae=DEFAULT_VAE if any(same(vae, own) for own in MODELS_OWN_VAE) else host_file(host, "vae", vae),
        refiner=NO_FILE if same(refiner, NO_FILE) else host_file(host, "checkpoints", refiner),
        refiner_switch=known["default_refiner_switch"],
        refiner_step=known.get("default_overwrite_switch", -1),
        clip_skip=known.get("default_clip_skip", 2),
        num_images=known.get("default_image_number", 1),
        inpaint_engine=known.get("default_inpaint_engine_version", DEFAULT_ENGINE),
    )


def _default_size(host: Host) -> tuple[int, int]:
    host.notice(f"the preset's size 0*0 means no size of its own: {DEFAULT_SIZE[0]}×{DEFAULT_SIZE[1]} is used")
    return DEFAULT_SIZE


def _settings(known: Mapping[str, Any], performance: str) -> SamplingSettings:
    overwrite = known.get("default_overwrite_step", -1)
    return SamplingSettings(
        performance=performance,
        steps=overwrite if overwrite > 0 else PERFORMANCES[performance].steps,
        sampler=known["default_sampler"],
        scheduler=known["default_scheduler"],
        cfg=known["default_cfg_scale"],
        sharpness=known["default_sample_sharpness"],
        adaptive_cfg=known.get("default_cfg_tsnr", 7.0),
    )


def _checkpoint(host: Host, name: str, previous: Any) -> str:
    """Return the preset's checkpoint, or if it is missing the first installed one of its previous ones (launch.py)."""
    if same(name, POCKET_CHOICE):
        return POCKET_CHOICE
    files = host.names("checkpoints")
    own = match_file(name, files)
    older = previous if own is None and isinstance(previous, list) else []
    for earlier in filter(_is_text, older):
        if (found := match_file(earlier, files)) is not None:
            host.notice(f"the checkpoint {name!r} is missing: the preset's earlier one, {earlier!r}, is used instead")
            return found
    return host_file(host, "checkpoints", name)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _model(value: Any) -> str:
    if not isinstance(value, str) or same(value, NO_FILE):
        raise ValueError("the name of a checkpoint file")
    return value


def _loras(value: Any) -> tuple[Lora, ...]:
    """Read entries [enabled, name, weight], [name, weight] in old files, or another format that `loras_in` reads.

    Disabled ones and those named 'None' are left out.
    """
    wants = "a list of entries [true, file, weight]"
    if not isinstance(value, list):
        raise ValueError(wants)
    loras = []
    for name, weight in loras_in(value):
        if not isinstance(name, str | None) or weight is None:
            raise ValueError(wants)
        if name and not same(name, NO_FILE):
            loras.append(Lora(name, literals.number(-10, 10)(weight)))
    return tuple(loras)


def _aspect_ratio(value: Any) -> tuple[int, int] | None:
    """Read width and height in pixels; None for 0*0, with which FooocusPlus keeps the current size."""
    try:
        width, height = literals.size(value)
    except ValueError:
        width, height = -1, -1
    if (width, height) == (0, 0):
        return None
    if not all(SHORTEST_SIDE <= side <= LONGEST_SIDE for side in (width, height)):
        raise ValueError(f"a size such as 1152*896, with sides from {SHORTEST_SIDE} to {LONGEST_SIDE}")
    return width, height


MAY_BE_EMPTY = ("default_prompt", "default_prompt_negative")
READERS: dict[str, Callable[[Any], Any]] = {
    "default_model": _model,
    "default_refiner": literals.text,
    "default_refiner_switch": literals.number(0, 1),
    "default_loras": _loras,
    "default_cfg_scale": literals.number(),
    "default_sample_sharpness": literals.number(),
    "default_cfg_tsnr": literals.number(),
    "default_clip_skip": literals.whole(1, 12),
    "default_sampler": literals.one_of(SAMPLERS),
    "default_scheduler": literals.one_of(SCHEDULERS),
    "default_overwrite_step": literals.whole(-1, 200),
    "default_overwrite_switch": literals.whole(-1, 200),
    "default_performance": literals.one_of(tuple(PERFORMANCES)),
    "default_image_number": literals.whole(1, 32),
    "default_prompt": literals.text,
    "default_prompt_negative": literals.text,
    "default_styles": literals.names,
    "default_aspect_ratio": _aspect_ratio,
    "default_vae": literals.text,
    "default_inpaint_engine_version": literals.one_of(tuple(INPAINT_PATCHES)),
}
