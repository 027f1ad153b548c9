"""The command fooocus-stages: which commands there are, and how each may end."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from .. import __version__
from ..pipelines.errors import Interrupted, UserError
from .commands import assets, doctor, nodes, prompt, run, workflows
from .commands.common import FAILED, INTERRUPTED, REFUSED, TERMINATED
from .console import Console
from .results import RunError

COMMANDS = (run, prompt, workflows, nodes, assets, doctor)


class Terminated(BaseException):
    """The process was asked to end."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 1 a node failed, 2 the user can mend it, 130 Ctrl-C."""
    options = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _terminate)
    console = Console()
    try:
        return int(options.act(options, console))
    except (KeyboardInterrupt, Interrupted):
        return _ended(console, "interrupted", INTERRUPTED)
    except Terminated:
        return _ended(console, "terminated", TERMINATED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (UserError, RunError) as error:
        return _told(options, console, error)


def parser() -> argparse.ArgumentParser:
    """The command line's words."""
    top = argparse.ArgumentParser(prog="fooocus-stages", description="Fooocus, one stage at a time, without ComfyUI.")
    top.add_argument("--version", action="version", version=f"fooocus-stages {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return top


def _told(options: argparse.Namespace, console: Console, error: Exception) -> int:
    """Tell an error in one line, as JSON too where that is asked for; returns the exit code."""
    console.close()
    if options.debug:
        traceback.print_exception(error)
    if options.json:
        print(json.dumps({"error": str(error)}, ensure_ascii=False), flush=True)
    print(f"error: {error}", file=sys.stderr)
    return REFUSED if isinstance(error, UserError) else FAILED


def _ended(console: Console, word: str, code: int) -> int:
    console.close()
    print(word, file=sys.stderr)
    return code


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


if __name__ == "__main__":
    sys.exit(main())
