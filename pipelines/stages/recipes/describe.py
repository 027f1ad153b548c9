"""Generation parameters of an image, from how it was sampled."""

from __future__ import annotations

from typing import Any

from ...host import Host
from ...models.handles import Info, RefinerSwitch
from ...settings import NO_FILE, PERFORMANCES
from ...types import SamplingSettings
from .write_metadata import PictureInfo


def picture_info(host: Host, images: Any, info: Info | None) -> PictureInfo | None:
    """Return the parameters to embed in images (B, H, W, 3), or None when the host embeds none."""
    if info is None or not host.embeds_metadata:
        return None
    model, settings = info.model, info.settings
    known: dict[str, Any] = {
        "resolution": (int(images.shape[2]), int(images.shape[1])),
        "performance": settings.performance,
        "steps": settings.steps,
        "guidance_scale": settings.cfg,
        "sharpness": settings.sharpness,
        "adm_guidance": (settings.adm_positive, settings.adm_negative, settings.adm_end),
        "adaptive_cfg": settings.adaptive_cfg,
        "sampler": settings.sampler,
        "scheduler": settings.scheduler,
        "as_fooocus": settings.as_fooocus,
        "base_model": model.name or None,
        "loras": model.loras,
        "freeu": model.freeu,
        "home": model.home,
        "vae": model.vae_name or None,
        "clip_skip": info.clip_skip or 1,
        "seed": info.seed,
        **_refining(model.switch, settings),
    }
    if prompt := info.prompt:
        known |= {
            "prompt": prompt.text,
            "negative_prompt": prompt.negative_text,
            "prompt_expansion": prompt.expansion,
            "styles": prompt.styles,
            "full_prompt": prompt.positive,
            "full_negative_prompt": prompt.negative,
        }
    return PictureInfo(**known)


def _refining(switch: RefinerSwitch | None, settings: SamplingSettings) -> dict[str, Any]:
    """Return the refiner's parameters; the distilled performance modes have none."""
    mode = PERFORMANCES.get(settings.performance)
    if mode is not None and mode.distilled:
        return {"refiner_model": NO_FILE, "refiner_switch": 1.0}
    if switch is None:
        return {"refiner_model": NO_FILE, "refiner_switch": 0.5}
    return {
        "refiner_model": switch.refiner.model.name or None,
        "refiner_switch": switch.at,
        "refiner_swap_method": switch.method,
        "overwrite_switch": switch.step,
    }
