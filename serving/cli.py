"""The command fooocus-stages: which commands there are, and how each may end."""

from __future__ import annotations

import argparse
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
from .commands.common import FAILED, INTERRUPTED, REFUSED, TERMINATED, lines_of, show
from .console import Console
from .engine.results import RunError

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
        return _ended(options, console, "interrupted", INTERRUPTED)
    except Terminated:
        return _ended(options, console, "terminated", TERMINATED)
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
    _report(options, console, str(error))
    print(f"error: {error}", file=sys.stderr)
    return REFUSED if isinstance(error, UserError) else FAILED


def _ended(options: argparse.Namespace, console: Console, word: str, code: int) -> int:
    console.close()
    _report(options, console, word)
    print(word, file=sys.stderr)
    return code


def _report(options: argparse.Namespace, console: Console, word: str) -> None:
    """Say on stdout what a run had saved before it ended; as JSON with the word for its end."""
    saved = {"outputs": console.outputs} if console.outputs else {}
    show(options, {"error": word, **saved}, lines_of(console.outputs))


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


if __name__ == "__main__":
    sys.exit(main())
