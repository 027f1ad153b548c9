"""The recipe that reproduces an image, from the metadata in its file and the files of the host."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ...files import file_hash
from ...host import Host
from ...names import base, match_name, same
from ...settings import DEFAULT_CHECKPOINT, DEFAULT_VAE, NO_FILE, PERFORMANCES, POCKET_CHOICE, SAMPLERS, SCHEDULERS
from ...text.styles import Styles
from ...types import SWAP_METHODS, SamplingSettings
from ..load import find_files, home_of
from ..prompts.prompt import find_styles
from .read_metadata import Reading, read_picture
from .recipe import DEFAULT_SIZE, MODELS_OWN_VAE, Recipe, host_file, is_mode_lora
from .write_metadata import PictureInfo

FOOOCUS_ITSELF = "Fooocus v"  # how the version begins in an image that Fooocus wrote


def reading_of(host: Host, path: Path) -> Reading:
    """Read how the image in a file was made, with one notice for what had to be left out. Raises BadFile."""
    reading = read_picture(path, lambda: _readable_styles(host), host.notice)
    reading.tell(host.notice, path.name)
    return reading


def of_picture(host: Host, path: Path) -> tuple[Recipe, str]:
    """Return the recipe of the image in a file, and the text that it was read from.

    Settings missing from the text take Fooocus's defaults. Raises BadFile, naming the file.
    """
    reading = reading_of(host, path)
    return of_info(host, reading.info), reading.text


def of_info(host: Host, info: PictureInfo) -> Recipe:
    """Return the recipe of an image with the host's file names; a notice reports what is missing or unknown."""
    plain = Recipe()
    checkpoint, home = _checkpoint(host, info)
    performance = _listed(host, "performance", info.performance, tuple(PERFORMANCES), "Speed")
    text, negative = _texts(host, info)
    width, height = info.resolution or DEFAULT_SIZE
    unrefined = same(info.refiner_model or NO_FILE, NO_FILE)
    of_checkpoint = any(same(info.vae or "", name) for name in MODELS_OWN_VAE)
    return Recipe(
        text=text,
        negative=negative,
        styles=info.styles or (),
        settings=_settings(host, info, performance),
        loras=tuple(
            replace(lora, name=host_file(host, "loras", lora.name, home))
            for lora in info.loras
            if not is_mode_lora(performance, lora)
        ),
        width=width,
        height=height,
        checkpoint=checkpoint,
        vae=DEFAULT_VAE if of_checkpoint else host_file(host, "vae", str(info.vae), home),
        clip_skip=info.clip_skip,
        refiner=NO_FILE if unrefined else host_file(host, "checkpoints", str(info.refiner_model), home),
        refiner_switch=plain.refiner_switch if info.refiner_switch is None else info.refiner_switch,
        refiner_swap=_listed(host, "refiner swap method", info.refiner_swap_method, SWAP_METHODS, plain.refiner_swap),
        refiner_step=info.overwrite_switch,
        freeu=info.freeu,
        seed=info.seed or 0,
    )


def _checkpoint(host: Host, info: PictureInfo) -> tuple[str, Path | None]:
    """Return the checkpoint as chosen on the node, and the models folder that is searched first for other files."""
    if info.base_model is None:
        return DEFAULT_CHECKPOINT, None
    pocket, _ = find_files(host, POCKET_CHOICE, DEFAULT_VAE)
    named = base(info.base_model) in (pocket.name, pocket.stem)
    if named and info.base_model_hash == file_hash(pocket, host.keep):
        return POCKET_CHOICE, home_of(pocket)
    return host_file(host, "checkpoints", info.base_model), None


def _texts(host: Host, info: PictureInfo) -> tuple[str, str]:
    """Return the typed prompts, or the composed prompts if the styles in them are unknown."""
    text, negative = info.prompt or "", info.negative_prompt or ""
    full, full_negative = ", ".join(info.full_prompt), ", ".join(info.full_negative_prompt)
    if info.styles is not None or not info.full_prompt or (text, negative) == (full, full_negative):
        return text, negative
    host.notice("this image was made with styles that you don't have: its whole text is used as the prompt")
    return full, full_negative


def _settings(host: Host, info: PictureInfo, performance: str) -> SamplingSettings:
    plain = SamplingSettings()
    adm = info.adm_guidance or (plain.adm_positive, plain.adm_negative, plain.adm_end)
    return SamplingSettings(
        performance=performance,
        steps=info.steps or PERFORMANCES[performance].steps,
        sampler=_listed(host, "sampler", info.sampler, SAMPLERS, plain.sampler),
        scheduler=_listed(host, "scheduler", info.scheduler, SCHEDULERS, plain.scheduler),
        cfg=plain.cfg if info.guidance_scale is None else info.guidance_scale,
        sharpness=plain.sharpness if info.sharpness is None else info.sharpness,
        adaptive_cfg=info.adaptive_cfg,
        adm_positive=adm[0],
        adm_negative=adm[1],
        adm_end=adm[2],
        as_fooocus=info.as_fooocus or info.version.startswith(FOOOCUS_ITSELF),
    )


def _listed(host: Host, what: str, name: str | None, choices: tuple[str, ...], default: str) -> str:
    found = None if name is None else match_name(name, choices)
    if found is None and name is not None:
        host.notice(f"the image's {what} {name!r} is unknown: {default!r} is used instead")
    return default if found is None else found


def _readable_styles(host: Host) -> Styles:
    return find_styles(host, broken=lambda error: host.notice(str(error)))
