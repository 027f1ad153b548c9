"""Samplers and schedules under the titles of A1111 and compatible programs."""

from __future__ import annotations

from ...names import match_name
from ...settings import SAMPLERS, SCHEDULERS
from .infotext import Infotext
from .write_metadata import A1111_SAMPLERS

GPU_SAMPLERS = ("dpmpp_sde_gpu", "dpmpp_2m_sde_gpu")  # of two samplers with one title, the one that the modes use
HORDE_PREFIX = "k_"  # of the names that clients of the AI Horde write, such as k_dpmpp_2s_a
SAMPLERS_ELSEWHERE = {  # titles of other programs, without spaces and signs
    "eulera": "euler_ancestral", "eulerancestral": "euler_ancestral", "dpm2a": "dpm_2_ancestral",
    "dpm++2mv2": "dpmpp_2m", "dpm++2sa": "dpmpp_2s_ancestral", "dpm2": "dpm_2", "eulerdiscrete": "euler",
    "dpm++3msde": "dpmpp_3m_sde_gpu",
}  # fmt: skip
SCHEDULES_ELSEWHERE = {"uniform": "normal", "ddim": "ddim_uniform", "none": "normal"}
AUTOMATIC = "automatic"
SCHEDULES_OF_A1111 = {  # the schedules that it calls automatic; of all other samplers it is 'normal'
    **dict.fromkeys(("dpmpp_2m", "dpmpp_sde_gpu", "dpmpp_2s_ancestral", "dpm_2", "dpm_2_ancestral"), "karras"),
    **dict.fromkeys(("dpmpp_2m_sde_gpu", "dpmpp_3m_sde_gpu"), "exponential"),
    "restart": "karras",
    "ddim": "ddim_uniform",
}


def sampling_in(parts: Infotext) -> dict[str, str]:
    """Read sampler and scheduler, joined ('DPM++ 2M Karras') or separate, as titles or Fooocus's names.

    Unknown ones are returned as they are written.
    """
    shown = parts.get("Sampler") or ""
    if not shown:
        return {}
    shown = shown.removeprefix(HORDE_PREFIX).replace("dpmpp", "DPM++") if shown.startswith(HORDE_PREFIX) else shown
    name, suffix = shown, ""
    for scheduler in SCHEDULERS:
        title = scheduler.replace("_", " ")
        for ending in (f" {title}", f"_{scheduler}"):
            if shown.casefold().endswith(ending.casefold()):
                name, suffix = shown[: -len(ending)], scheduler
    sampler = _sampler(name)
    return {"sampler": sampler, "scheduler": parts.get("Scheduler") or _schedule(parts, suffix, sampler)}


def _sampler(name: str) -> str:
    named = [known for known, title in A1111_SAMPLERS.items() if _plain(title) == _plain(name)]
    preferred = [known for known in named if known in GPU_SAMPLERS]
    elsewhere = [SAMPLERS_ELSEWHERE[_plain(name)]] if _plain(name) in SAMPLERS_ELSEWHERE else []
    own = match_name(name, SAMPLERS)
    return [*preferred, *named, *elsewhere, own or name][0]


def _schedule(parts: Infotext, suffix: str, sampler: str) -> str:
    typed = parts.get("Schedule type") or suffix or "normal"
    key = typed.casefold().replace(" ", "_")
    if key == AUTOMATIC:
        return suffix or SCHEDULES_OF_A1111.get(sampler, "normal")
    return match_name(key, SCHEDULERS) or SCHEDULES_ELSEWHERE.get(key, typed)


def _plain(title: str) -> str:
    """Return a sampler's title in lower case, without spaces and underscores."""
    return title.casefold().replace(" ", "").replace("_", "")
