"""Shared by the commands: options, the host of the model folders, and output."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from ...nodes import NODE_CLASS_MAPPINGS
from ...nodes.headless import HEADLESS_NODES
from ...pipelines.assets import needs
from ...pipelines.errors import BadValue, MissingFile
from ...pipelines.host import POCKET, LocalHost
from ...pipelines.settings import NO_FILE
from ..console import Console, shows_unicode
from ..pool.settings import WorkerSettings

OK, FAILED, REFUSED, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143
DEFAULT_MODELS = (Path("models"),)
MODELS_VARIABLE = "FOOOCUS_STAGES_MODELS"
REGISTRY: dict[str, type[Any]] = {**NODE_CLASS_MAPPINGS, **HEADLESS_NODES}

Act = Callable[[argparse.Namespace, Console], int]


class Commands(Protocol):
    """argparse's sub-commands, to which a command is added."""

    def add_parser(self, name: str, *, help: str, description: str) -> argparse.ArgumentParser:
        """Add a sub-command and return its parser."""
        ...


class FoldersHost(LocalHost):
    """A local host that searches extra folders first for some kinds: `first` maps a kind to its folder."""

    def __init__(self, first: Mapping[str, Path], **settings: Any) -> None:
        super().__init__(**settings)
        self._first = first

    def folders_of(self, kind: str) -> list[Path]:
        return [*([self._first[kind]] if kind in self._first else []), *super().folders_of(kind)]


def add_command(commands: Commands, name: str, act: Act, help: str) -> argparse.ArgumentParser:
    """Add a command with the options that all commands have; `act` runs it and returns the exit code."""
    command = commands.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}.")
    command.add_argument("--json", action="store_true", help="print one JSON object or list on stdout")
    command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    command.set_defaults(act=act)
    return command


def add_host_options(command: argparse.ArgumentParser) -> None:
    """Add the options that name the folders of models, styles and wildcards."""
    command.add_argument(
        "--models",
        action="append",
        metavar="pocket|DIR",
        help="a models folder, or a ComfyUI or Fooocus folder; 'pocket' is the small model of this pack, which is "
        f"searched last; repeatable (default: ${MODELS_VARIABLE}, else ./models)",
    )
    command.add_argument(
        "--extra-model-paths",
        action="append",
        type=Path,
        metavar="FILE",
        help="a file in the format of ComfyUI's extra_model_paths.yaml; repeatable",
    )
    command.add_argument("--styles-dir", type=Path, metavar="DIR", help="a folder of style files, searched first")
    command.add_argument("--wildcards-dir", type=Path, metavar="DIR", help="a folder of wildcard files, searched first")


def host_of(
    options: argparse.Namespace,
    console: Console,
    on_notice: Callable[[str], None] | None = None,
    loras: Path | None = None,
) -> FoldersHost:
    """Return the host of the folders that the options name; the LoRAs in the folder `loras` are found first.

    Raises MissingFile for a folder that is none, or not there.
    """
    first = {"styles": options.styles_dir, "wildcards": options.wildcards_dir, "loras": loras}
    models = models_of(options)
    for folder in [*models, *filter(None, first.values())]:
        if not folder.is_dir():
            fault = "is a file" if folder.is_file() else "does not exist"
            raise MissingFile(f"folder {folder} {fault}; name an existing folder")
    settings: dict[str, Any] = {"models": models or DEFAULT_MODELS, "on_progress": console.progress}
    settings |= {
        "extra_model_paths": options.extra_model_paths or (),
        "hint": partial(needs.how_to_get, folders=folder_options(options)),
    }
    if "input_dir" in options:
        settings |= {"output": options.output, "input": options.input_dir}
    if "device" in options and not isinstance(options.device, list):
        settings |= {"device": options.device}
        _check_device(options.device)
    return FoldersHost({k: f for k, f in first.items() if f}, on_notice=on_notice or console.notice, **settings)


def models_of(options: argparse.Namespace) -> list[Path]:
    """Return the models folders that the options or the environment name."""
    given = options.models or list(filter(None, os.environ.get(MODELS_VARIABLE, "").split(os.pathsep)))
    return [POCKET if name == "pocket" else Path(name) for name in given]


def worker_settings(options: argparse.Namespace, checker: str = NO_FILE) -> WorkerSettings:
    """Return the settings of worker processes that look into the folders that the options name.

    `checker`: file of the safety checker that they must have.
    """
    return WorkerSettings(
        models=tuple(models_of(options) or filter(Path.is_dir, DEFAULT_MODELS)),
        extra_model_paths=tuple(options.extra_model_paths or ()),
        styles=options.styles_dir,
        wildcards=options.wildcards_dir,
        safety_checker=checker,
    )


def folder_options(options: argparse.Namespace) -> str:
    """Return the options that name model folders, quoted for a suggested command; 'pocket' needs no fetching."""
    words = [word for name in options.models or () if name != "pocket" for word in ("--models", name)]
    words += [word for path in options.extra_model_paths or () for word in ("--extra-model-paths", str(path))]
    return shlex.join(words)


def show(options: argparse.Namespace, data: Any, lines: Sequence[str]) -> None:
    """Print the lines, or the data with --json, on stdout. The JSON is ASCII where stdout is not Unicode."""
    if options.json:
        data = json.loads(json.dumps(data, default=str), parse_constant=str)  # JSON has no NaN
        lines = [json.dumps(data, indent=1, ensure_ascii=not shows_unicode())]
    for line in lines:
        print(line)
    sys.stdout.flush()


def lines_of(outputs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return one line for each output of the nodes that is a file, by its path, or a text."""
    shown = [output.get("path", output.get("text")) for output in outputs]
    return [str(one) for one in shown if one is not None]


def _check_device(device: str | None) -> None:
    if device is not None and device.split(":")[0] not in ("cpu", "cuda", "mps"):
        raise BadValue(f"--device {device!r} is not a device; choose cpu, cuda, cuda:0 and so on, or mps")
