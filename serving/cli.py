"""The command fooocus-stages: its commands and its exit codes."""

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
from .commands import assets, batch, convert, doctor, info, nodes, prompt, request, run, serve, workflows
from .commands.common import FAILED, INTERRUPTED, REFUSED, TERMINATED, lines_of, show
from .console import Console, escaping_streams
from .engine.results import RunError

COMMANDS = (run, batch, request, serve, convert, prompt, info, workflows, nodes, assets, doctor)


class Terminated(BaseException):
    """Raised by SIGTERM."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0: success. 1: a node or the server failed. 2: an error that the user can fix. 130: Ctrl-C. 143: SIGTERM.
    """
    with escaping_streams():
        return _run(parser().parse_args(arguments))


def parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    top = argparse.ArgumentParser(prog="fooocus-stages", description="Run the stages of Fooocus without ComfyUI.")
    top.add_argument("--version", action="version", version=f"fooocus-stages {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return top


def _run(options: argparse.Namespace) -> int:
    signal.signal(signal.SIGTERM, _terminate)
    console = Console()
    try:
        return int(options.act(options, console))
    except (KeyboardInterrupt, Interrupted):
        return _end(options, console, "interrupted", INTERRUPTED)
    except Terminated:
        return _end(options, console, "terminated", TERMINATED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (UserError, RunError) as error:
        if options.debug:
            console.close()
            traceback.print_exception(error)
        code = REFUSED if isinstance(error, UserError) else FAILED
        return _end(options, console, str(error), code, prefix="error: ")


def _end(options: argparse.Namespace, console: Console, reason: str, code: int, prefix: str = "") -> int:
    """Report why a command ended early, and what it had saved, on both streams; return the exit code."""
    console.close()
    report: dict[str, object] = {"error": reason}
    report |= {"outputs": console.outputs} if console.outputs else {}
    report |= {"notices": console.notices} if console.notices else {}
    show(options, report, lines_of(console.outputs))
    print(f"{prefix}{reason}", file=sys.stderr)
    return code


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


if __name__ == "__main__":
    sys.exit(main())
