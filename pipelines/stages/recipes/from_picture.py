"""What the text in a picture comes to on this host: the recipe to make the picture again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ...files import file_hash
from ...host import Host
from ...settings import DEFAULT_CHECKPOINT, DEFAULT_VAE, NO_FILE, PERFORMANCES, POCKET_CHOICE, SAMPLERS, SCHEDULERS
from ...text.styles import Styles
from ...types import SWAP_METHODS, SamplingSettings
from ..load import find_files, home_of
from ..prompts.prompt import find_styles
from .read_metadata import read_parameters, recall
from .recipe import DEFAULT_SIZE, MODELS_OWN_VAE, Recipe, host_file, is_mode_lora
from .write_metadata import PictureInfo


def of_picture(host: Host, path: Path) -> tuple[Recipe, str]:
    """The recipe of the picture in a file, and the text that says so, as it stands there.

    What the text does not tell is as Fooocus sets it. Raises BadFile, naming the file.
    """
    info = recall(path, lambda: _readable_styles(host))
    return of_info(host, info), read_parameters(path)[0]


def of_info(host: Host, info: PictureInfo) -> Recipe:
    """The recipe of a picture, its files named as this host names them. What it lacks is told in a notice."""
    plain = Recipe()
    checkpoint, home = _checkpoint(host, info)
    performance = _listed(host, "performance", info.performance, tuple(PERFORMANCES), "Speed")
    text, negative = _texts(host, info)
    width, height = info.resolution or DEFAULT_SIZE
    unrefined = info.refiner_model in (None, "", NO_FILE)
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
        vae=DEFAULT_VAE if info.vae is None or info.vae in MODELS_OWN_VAE else host_file(host, "vae", info.vae, home),
        clip_skip=info.clip_skip,
        refiner=NO_FILE if unrefined else host_file(host, "checkpoints", str(info.refiner_model), home),
        refiner_switch=plain.refiner_switch if info.refiner_switch is None else info.refiner_switch,
        refiner_swap=_listed(host, "refiner swap method", info.refiner_swap_method, SWAP_METHODS, plain.refiner_swap),
        refiner_step=info.overwrite_switch,
        freeu=info.freeu,
        seed=info.seed or 0,
    )


def _checkpoint(host: Host, info: PictureInfo) -> tuple[str, Path | None]:
    """The checkpoint as it is chosen on the node, and the folder in which its other files are looked for first."""
    if info.base_model is None:
        return DEFAULT_CHECKPOINT, None
    pocket, _ = find_files(host, POCKET_CHOICE, DEFAULT_VAE)
    if Path(info.base_model).name in (pocket.name, pocket.stem) and info.base_model_hash == file_hash(
        pocket, host.keep
    ):
        return POCKET_CHOICE, home_of(pocket)
    return host_file(host, "checkpoints", info.base_model), None


def _texts(host: Host, info: PictureInfo) -> tuple[str, str]:
    """What was typed; all that was read when the styles in it are not known."""
    text, negative = info.prompt or "", info.negative_prompt or ""
    full, full_negative = ", ".join(info.full_prompt), ", ".join(info.full_negative_prompt)
    if info.styles is not None or not info.full_prompt or (text, negative) == (full, full_negative):
        return text, negative
    host.notice("the styles of this picture are not among yours: their whole text is given as the prompt")
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
    )


def _listed(host: Host, what: str, name: str | None, choices: tuple[str, ...], default: str) -> str:
    if name in choices:
        return str(name)
    if name is not None:
        host.notice(f"the picture's {what} {name!r} is not known here: {default!r} is taken")
    return default


def _readable_styles(host: Host) -> Styles:
    return find_styles(host, broken=lambda error: host.notice(str(error)))
