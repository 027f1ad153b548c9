"""`doctor`: what this machine has, what can run on it now, and what each of the other workflows lacks."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ... import __version__
from ...pipelines.assets import fetch, needs
from ...pipelines.errors import UserError
from ...pipelines.host import files_of
from ..bundled.workflow_files import About, bundled
from ..console import Console
from .common import OK, REFUSED, FoldersHost, add_command, add_host_options, folder_options, host_of, show

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements.txt"
OPENCV = "opencv-python-headless>=4.8"  # or another of its packages; only control images and masks need it
OTHER_NAMES = {"opencv-python-headless": ("opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python")}
KINDS = (
    "checkpoints", "loras", "vae", "vae_approx", "embeddings", "upscale_models", "controlnet", "inpaint", "clip_vision",
    "prompt_expansion/fooocus_expansion", "styles", "sdxl_styles", "wildcards", "presets",
)  # fmt: skip
OF_USE = "checkpoints"
CANNOT = "can't run"


def add(commands: Any) -> None:
    """Add the command to a parser's commands."""
    doctor = add_command(commands, "doctor", examine, "say what can run here, and what lacks for the rest")
    doctor.add_argument("--device", help="cpu, cuda, cuda:1, mps; default: the best there is")
    add_host_options(doctor)


def examine(options: argparse.Namespace, console: Console) -> int:
    """`doctor`: libraries, device, folders, vocabulary and workflows; the exit code says whether anything can run."""
    host = host_of(options, console)
    libraries = [_library(line) for line in _requirements()]
    report: dict[str, Any] = {
        "fooocus_stages": __version__,
        "python": platform.python_version(),
        "libraries": [*libraries, _library(OPENCV)],
        "device": _device(host),
        "memory": _memory(),
        "folders": _folders(host),
        "vocabulary": _vocabulary(),
        "workflows": [],
    }
    sound = all(library["ok"] for library in libraries) and "error" not in report["device"]
    found = needs.everything(host)
    report["workflows"] = [_workflow(about, found, sound, folder_options(options)) for about in bundled()]
    report["ok"] = any(workflow["ok"] for workflow in report["workflows"])
    show(options, report, list(_lines(report)))
    return OK if report["ok"] else REFUSED


def _requirements() -> list[str]:
    """The libraries that the pack needs, as 'name>=version'."""
    try:
        return REQUIREMENTS.read_text(encoding="utf-8").split()
    except OSError:
        needed = importlib.metadata.requires("fooocus-stages") or []
        return [line.replace(" ", "") for line in needed if ";" not in line]


def _library(requirement: str) -> dict[str, Any]:
    """One library: its version, and whether it is new enough. It is not imported."""
    name, _, bound = requirement.partition(">=")
    for known in (name, *OTHER_NAMES.get(name, ())):
        try:
            version = importlib.metadata.version(known)
        except importlib.metadata.PackageNotFoundError:
            continue
        new_enough = _numbers(version) >= _numbers(bound)
        problem = "" if new_enough else f"older than {bound}; run `pip install '{requirement}'`"
        return {"name": known, "version": version, "ok": new_enough, "problem": problem}
    return {"name": name, "version": None, "ok": False, "problem": f"missing; run `pip install '{requirement}'`"}


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version.partition("+")[0])]


def _device(host: FoldersHost) -> dict[str, Any]:
    """Where networks run, how much memory is there, and the dtypes chosen; or why that can't be said."""
    try:
        import torch

        device = host.device
        dtypes = {role: str(host.dtype(role)).removeprefix("torch.") for role in ("unet", "vae", "text")}
        found: dict[str, Any] = {"device": str(device), "dtypes": dtypes}
        if device.type == "cuda":
            free, total = torch.cuda.mem_get_info(device)
            found |= {"name": torch.cuda.get_device_name(device), "free": free, "total": total}
    except Exception as error:  # a half-broken installation raises anything at all
        return {"error": f"torch can't be used: {type(error).__name__}: {' '.join(str(error).split())}"}
    return found


def _memory() -> dict[str, int | None]:
    """Bytes of main memory, and free on the disk of this folder."""
    try:
        ram: int | None = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # there is no sysconf on Windows
        ram = None
    return {"ram": ram, "disk_free": shutil.disk_usage(Path()).free}


def _folders(host: FoldersHost) -> list[dict[str, Any]]:
    """The folders looked in, with how many files of their kind they hold; a missing one is told of for checkpoints."""
    found = [(kind, folder) for kind in KINDS for folder in host.folders_of(kind)]
    return [
        {"kind": kind, "folder": str(folder), "there": folder.is_dir(), "files": len(files_of(kind, folder))}
        for kind, folder in found
        if kind == OF_USE or folder.is_dir()
    ]


def _vocabulary() -> dict[str, Any]:
    """Where CLIP's vocabulary is found for a checkpoint that has none of its own."""
    try:
        return {"source": needs.vocabulary(), "problem": ""}
    except UserError as error:
        return {"source": None, "problem": str(error)}


def _workflow(about: About, found: Any, sound: bool, folders: str) -> dict[str, Any]:
    """Whether a bundled workflow can run now, and what lacks."""
    try:
        need = needs.needs(about.mode, found)
    except UserError as error:
        return {
            "name": about.name,
            "mode": about.mode,
            "ok": False,
            "lacks": [str(error)],
            "without": [],
            "command": "",
        }
    return {
        "name": about.name,
        "mode": about.mode,
        "ok": sound and not need.lacking,
        "lacks": [f"{asset.kind}/{asset.name}" for asset in need.lacking],
        "without": list(dict.fromkeys(reason for _, reason in need.without)),
        "command": need.command(folders),
    }


def _lines(report: dict[str, Any]) -> Iterable[str]:
    yield f"fooocus-stages {report['fooocus_stages']}, Python {report['python']}"
    for library in report["libraries"]:
        words = (library["name"], library["version"], f"({library['problem']})" if library["problem"] else "")
        yield "  " + " ".join(filter(None, words))
    yield from _lines_of_device(report["device"], report["memory"])
    yield "folders"
    for row in report["folders"]:
        count = f"{row['files']} file{'' if row['files'] == 1 else 's'}" if row["there"] else "is not there"
        yield f"  {row['kind']}: {row['folder']} ({count})"
    yield f"CLIP's vocabulary: {report['vocabulary']['source'] or report['vocabulary']['problem']}"
    yield "workflows"
    for row in report["workflows"]:
        yield from _lines_of_workflow(row)
    can = sum(row["ok"] for row in report["workflows"])
    yield f"{can} of {len(report['workflows'])} workflows can run now"


def _lines_of_device(device: dict[str, Any], memory: dict[str, Any]) -> Iterable[str]:
    words = fetch.in_words
    if "error" in device:
        yield device["error"]
    else:
        dtypes = ", ".join(f"{role} {dtype}" for role, dtype in device["dtypes"].items())
        room = (
            f" {device['name']}, {words(device['free'])} of {words(device['total'])} free" if "total" in device else ""
        )
        yield f"device: {device['device']}{room} ({dtypes})"
    ram = "unknown" if memory["ram"] is None else words(memory["ram"])
    yield f"memory: {ram}; free on the disk here: {words(memory['disk_free'])}"


def _lines_of_workflow(row: dict[str, Any]) -> Iterable[str]:
    yield f"  {row['mode']:4} {row['name']}: {'can run' if row['ok'] else CANNOT}"
    if row["lacks"]:
        yield f"       lacks {', '.join(row['lacks'])}" + (f"; run `{row['command']}`" if row["command"] else "")
    for reason in row["without"] if row["ok"] else ():
        yield f"       {reason}"
