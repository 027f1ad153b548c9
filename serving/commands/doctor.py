"""`doctor`: shows what can run on this machine and what is missing for the rest."""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ... import __version__
from ...pipelines.assets import needs
from ...pipelines.assets.catalogue import Asset, format_bytes
from ...pipelines.errors import UserError
from ...pipelines.host import POCKET, files_of
from ...pipelines.settings import DEFAULT_SAFETY_CHECKER, POCKET_CHECKER
from ..bundled.workflow_files import About, bundled, read_workflow
from ..console import Console
from .common import (
    OK,
    REFUSED,
    REGISTRY,
    Commands,
    FoldersHost,
    add_command,
    add_host_options,
    folder_options,
    host_of,
    show,
)

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements.txt"
OPENCV = "opencv-python-headless>=4.8"  # or another of its packages; only control images and masks need it
OTHER_NAMES = {"opencv-python-headless": ("opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python")}
KINDS = (
    "checkpoints", "loras", "vae", "vae_approx", "embeddings", "upscale_models", "controlnet", "inpaint", "clip_vision",
    "face_detection", "safety_checker", "prompt_expansion/fooocus_expansion", "styles", "sdxl_styles", "wildcards",
    "presets",
)  # fmt: skip
ALWAYS_SHOWN = "checkpoints"


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    doctor = add_command(commands, "doctor", examine, "show what can run now and what is missing for the rest")
    doctor.add_argument("--verbose", action="store_true", help="also show libraries, folders and each workflow")
    doctor.add_argument("--device", help="cpu, cuda, cuda:1 or mps; default: the fastest available")
    add_host_options(doctor)


def examine(options: argparse.Namespace, console: Console) -> int:
    """Report on libraries, device, folders and workflows; the exit code is 0 if at least one workflow can run."""
    host = host_of(options, console)
    libraries = [_library(line) for line in [*_requirements(), OPENCV]]
    report: dict[str, Any] = {
        "fooocus_stages": __version__,
        "python": platform.python_version(),
        "libraries": libraries,
        "device": _device(host),
        "memory": _memory(),
        "folders": _folders(host),
        "vocabulary": _vocabulary(),
        "safety": _safety(host),
    }
    sound = all(library["ok"] for library in libraries) and "error" not in report["device"]
    report["workflows"], missing = _workflows(host, sound, "error" not in report["device"], folder_options(options))
    report["command"] = needs.fetch_command(missing, folder_options(options))
    report["ok"] = any(workflow["ok"] for workflow in report["workflows"])
    more = _details(report) if options.verbose else ["--verbose also shows libraries, folders and each workflow"]
    lines = [*_summary(report), *more]
    show(options, report, lines)
    return OK if report["ok"] else REFUSED


def _requirements() -> list[str]:
    """Return the required libraries as 'name>=version'."""
    from importlib.metadata import requires

    try:
        return REQUIREMENTS.read_text(encoding="utf-8").split()
    except OSError:
        needed = requires("fooocus-stages") or []
        return [line.replace(" ", "") for line in needed if ";" not in line]


def _library(requirement: str) -> dict[str, Any]:
    """Return the version of a library and whether it is recent enough, without importing it."""
    from importlib.metadata import PackageNotFoundError, version

    name, _, bound = requirement.partition(">=")
    for known in (name, *OTHER_NAMES.get(name, ())):
        try:
            installed = version(known)
        except PackageNotFoundError:
            continue
        new_enough = _numbers(installed) >= _numbers(bound)
        problem = "" if new_enough else f"older than {bound}; run `pip install '{requirement}'`"
        return {"name": known, "version": installed, "ok": new_enough, "problem": problem}
    return {"name": name, "version": None, "ok": False, "problem": f"missing; run `pip install '{requirement}'`"}


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version.partition("+")[0])]


def _device(host: FoldersHost) -> dict[str, Any]:
    """Return the device, its memory and the dtypes, or the error that torch raised."""
    try:
        import torch

        device = host.device
        dtypes = {role: str(host.dtype(role)).removeprefix("torch.") for role in ("unet", "vae", "text")}
        found: dict[str, Any] = {"device": str(device), "dtypes": dtypes}
        if device.type == "cuda":
            free, total = torch.cuda.mem_get_info(device)
            found |= {"name": torch.cuda.get_device_name(device), "free": free, "total": total}
    except Exception as error:  # a broken installation can raise anything
        return {"error": f"torch can't be used: {type(error).__name__}: {' '.join(str(error).split())}"}
    return found


def _memory() -> dict[str, int | None]:
    """Return the bytes of main memory, and those free on the disk of the current folder."""
    try:
        ram: int | None = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # there is no sysconf on Windows
        ram = None
    return {"ram": ram, "disk_free": shutil.disk_usage(Path()).free}


def _folders(host: FoldersHost) -> list[dict[str, Any]]:
    """Return the searched folders and their file counts; those that do not exist are listed for checkpoints only."""
    found = [(kind, folder) for kind in KINDS for folder in host.folders_of(kind)]
    return [
        {"kind": kind, "folder": str(folder), "there": folder.is_dir(), "files": len(files_of(kind, folder))}
        for kind, folder in found
        if kind == ALWAYS_SHOWN or folder.is_dir()
    ]


def _vocabulary() -> dict[str, Any]:
    """Return where CLIP's vocabulary is found for a checkpoint without one of its own."""
    try:
        return {"source": needs.vocabulary(), "problem": ""}
    except UserError as error:
        return {"source": None, "problem": str(error)}


def _safety(host: FoldersHost) -> dict[str, Any]:
    """Return where the safety checker is found, and why it does not protect."""
    try:
        path = host.find("safety_checker", DEFAULT_SAFETY_CHECKER)
    except UserError as error:
        return {"source": None, "problem": str(error)}
    return {"source": str(path), "problem": POCKET_CHECKER if POCKET in path.resolve().parents else ""}


def _workflows(
    host: FoldersHost, sound: bool, torch_works: bool, folders: str
) -> tuple[list[dict[str, Any]], list[Asset]]:
    """Check each bundled workflow; return a row for each, and the files that the catalogue can fetch for all."""
    if not torch_works:
        return [_row(about, False) for about in bundled()], []
    from .readiness import Checker

    checker, found = Checker(host, REGISTRY), needs.everything(host)
    rows, all_missing = [], dict[Asset, None]()
    for about in bundled():
        readiness = checker.check(read_workflow(about.name))
        assets = needs.assets_of(readiness.missing)
        all_missing |= dict.fromkeys(assets)
        reasons = [f"{kind}/{name}" for kind, name in readiness.missing] or list(readiness.problems)
        ready = sound and not readiness.problems
        fallbacks = needs.fallbacks(about.mode, found)
        rows.append(_row(about, ready, reasons, fallbacks, needs.fetch_command(assets, folders)))
    return rows, list(all_missing)


def _row(
    about: About, ok: bool, reasons: Sequence[str] = (), fallbacks: Sequence[str] = (), command: str = ""
) -> dict[str, Any]:
    return {
        "name": about.name,
        "mode": about.mode,
        "ok": ok,
        "lacks": list(reasons),
        "without": list(fallbacks),
        "command": command,
    }


def _summary(report: dict[str, Any]) -> Iterator[str]:
    """The most important lines: what can run, on which device, what is broken, and what to do next."""
    workflows = report["workflows"]
    yield f"{sum(row['ok'] for row in workflows)} of {len(workflows)} workflows can run now"
    yield f"fooocus-stages {report['fooocus_stages']}, Python {report['python']}, {_device_line(report['device'])}"
    for library in report["libraries"]:
        if not library["ok"]:
            yield _library_line(library)
    if report["vocabulary"]["problem"]:
        yield f"CLIP vocabulary: {report['vocabulary']['problem']}"
    if report["safety"]["source"] and report["safety"]["problem"]:
        yield f"safety checker: {report['safety']['problem']}"
    for folder in dict.fromkeys(row["folder"] for row in report["folders"] if not row["there"]):
        yield f"folder {folder} does not exist"
    if report["command"]:
        missing = dict.fromkeys(name for row in workflows for name in row["lacks"])
        yield f"{len(missing)} file{'' if len(missing) == 1 else 's'} missing; `{report['command']}` downloads them"


def _details(report: dict[str, Any]) -> Iterator[str]:
    yield "libraries"
    for library in report["libraries"]:
        yield f"  {_library_line(library)}"
    memory = report["memory"]
    ram = "unknown" if memory["ram"] is None else format_bytes(memory["ram"])
    yield f"memory: {ram}; free disk space here: {format_bytes(memory['disk_free'])}"
    yield "folders"
    for row in report["folders"]:
        count = f"{row['files']} file{'' if row['files'] == 1 else 's'}" if row["there"] else "does not exist"
        yield f"  {row['kind']}: {row['folder']} ({count})"
    yield f"CLIP vocabulary: {report['vocabulary']['source'] or report['vocabulary']['problem']}"
    yield f"safety checker: {report['safety']['problem'] or report['safety']['source']}"
    yield "workflows"
    for row in report["workflows"]:
        yield from _workflow_lines(row)


def _library_line(library: dict[str, Any]) -> str:
    words = (library["name"], library["version"], f"({library['problem']})" if library["problem"] else "")
    return " ".join(filter(None, words))


def _device_line(device: dict[str, Any]) -> str:
    if "error" in device:
        return str(device["error"])
    dtypes = ", ".join(f"{role} {dtype}" for role, dtype in device["dtypes"].items())
    room = (
        f" {device['name']}, {format_bytes(device['free'])} of {format_bytes(device['total'])} free"
        if "total" in device
        else ""
    )
    return f"device {device['device']}{room} ({dtypes})"


def _workflow_lines(row: dict[str, Any]) -> Iterator[str]:
    yield f"  {row['mode']:4} {row['name']}: {'can run' if row['ok'] else 'cannot run'}"
    if row["lacks"]:
        yield f"       missing: {', '.join(row['lacks'])}" + (f"; run `{row['command']}`" if row["command"] else "")
    for reason in row["without"] if row["ok"] else ():
        yield f"       {reason}"
