"""What the commands share: their parsers, the host of their folders, and how they print."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ...nodes import NODE_CLASS_MAPPINGS
from ...nodes.headless import HEADLESS_NODES
from ...pipelines.assets import needs
from ...pipelines.errors import BadValue, MissingFile
from ...pipelines.host import POCKET, LocalHost
from ..console import Console

OK, FAILED, REFUSED, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143
MODELS_VARIABLE = "FOOOCUS_STAGES_MODELS"
REGISTRY: dict[str, type[Any]] = {**NODE_CLASS_MAPPINGS, **HEADLESS_NODES}

Act = Callable[[argparse.Namespace, Console], int]


class FoldersHost(LocalHost):
    """A local host that looks into further folders of single kinds first."""

    def __init__(self, first: Mapping[str, Path], **settings: Any) -> None:
        super().__init__(**settings)
        self._first = first

    def folders_of(self, kind: str) -> list[Path]:
        return [*([self._first[kind]] if kind in self._first else []), *super().folders_of(kind)]


def add_command(commands: Any, name: str, act: Act, help: str) -> argparse.ArgumentParser:
    """A command with the options that all have; `act` does it and returns the exit code."""
    command: argparse.ArgumentParser = commands.add_parser(name, help=help, description=help)
    command.add_argument("--json", action="store_true", help="print one JSON object or list on stdout")
    command.add_argument("--debug", action="store_true", help="show where an error comes from")
    command.set_defaults(act=act)
    return command


def host_options(command: argparse.ArgumentParser) -> None:
    """Let a command be told where models, styles and wildcards lie."""
    command.add_argument(
        "--models",
        action="append",
        metavar="pocket|DIR",
        help="a models folder, or a ComfyUI or Fooocus folder; pocket: the small model of this pack; can be given "
        f"several times (default: ${MODELS_VARIABLE}, else ./models)",
    )
    command.add_argument(
        "--extra-model-paths",
        action="append",
        type=Path,
        metavar="FILE",
        help="further folders, in the format of ComfyUI's extra_model_paths.yaml; can be given several times",
    )
    command.add_argument("--styles-dir", type=Path, metavar="DIR", help="style files to look at first")
    command.add_argument("--wildcards-dir", type=Path, metavar="DIR", help="wildcard files to look at first")


def host_of(options: argparse.Namespace, console: Console) -> FoldersHost:
    """The host of the folders that the options name. Raises MissingFile for a folder that is not there."""
    given = options.models or list(filter(None, os.environ.get(MODELS_VARIABLE, "").split(os.pathsep)))
    first = {"styles": options.styles_dir, "wildcards": options.wildcards_dir}
    models = [POCKET if name == "pocket" else Path(name) for name in given]
    for folder in [*models, *filter(None, first.values())]:
        if not folder.is_dir():
            raise MissingFile(f"folder {folder} is not there; name one that is")
    settings: dict[str, Any] = {"models": models or [Path("models")], "on_progress": console.progress}
    settings |= {
        "extra_model_paths": options.extra_model_paths or (),
        "hint": partial(needs.how_to_get, folders=folders_again(options)),
    }
    if "workflow" in options:
        settings |= {"output": options.output, "input": options.input_dir}
    if "device" in options:
        settings |= {"device": options.device}
        _check_device(options.device)
    return FoldersHost({k: f for k, f in first.items() if f}, on_notice=console.notice, **settings)


def folders_again(options: argparse.Namespace) -> str:
    """The options that name folders of models, to be given to another command; the pocket's has nothing to fetch."""
    words = [word for name in options.models or () if name != "pocket" for word in ("--models", name)]
    words += [word for path in options.extra_model_paths or () for word in ("--extra-model-paths", str(path))]
    return shlex.join(words)


def show(options: argparse.Namespace, data: Any, lines: Sequence[str]) -> None:
    """Print the lines, or with --json the data instead, on stdout."""
    if options.json:
        lines = [json.dumps(data, indent=1, ensure_ascii=False, default=str)]
    for line in lines:
        print(line)
    sys.stdout.flush()


def lines_of(outputs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the nodes have to show, a line each: the paths of files, and texts."""
    shown = [output.get("path", output.get("text")) for output in outputs]
    return [str(one) for one in shown if one is not None]


def _check_device(device: str | None) -> None:
    if device is not None and device.split(":")[0] not in ("cpu", "cuda", "mps"):
        raise BadValue(f"--device {device!r} is not a device; choose cpu, cuda, cuda:0 and so on, or mps")
