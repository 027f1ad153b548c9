"""The files that a node offers, and validation of the chosen one before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..pipelines.errors import UserError
from ..pipelines.host import POCKET, files_of
from ..pipelines.settings import POCKET_CHOICE


def problem(check: Callable[[], object]) -> bool | str:
    """Run a check for VALIDATE_INPUTS: return True, or the message of the user error that it raised."""
    try:
        check()
    except UserError as error:
        return str(error)
    return True


def with_pocket(names: Sequence[str], kind: str, default: str) -> list[str]:
    """Append the pocket model's files of a kind to a list: 'pocket' for its `default`, 'pocket/NAME' for the others."""
    return [*names, POCKET_CHOICE, *(name for name in pocket_names(kind) if name != f"{POCKET_CHOICE}/{default}")]


def pocket_names(kind: str) -> list[str]:
    """Return the pocket model's files of a kind as 'pocket/NAME', so that none passes for the published file."""
    return [f"{POCKET_CHOICE}/{name}" for name in files_of(kind, POCKET / kind)]
