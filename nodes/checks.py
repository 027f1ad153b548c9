"""The files that a node offers, and validation of the chosen one before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from ..pipelines.assets.catalogue import download_link
from ..pipelines.errors import MissingFile, UserError
from ..pipelines.host import POCKET, files_of
from ..pipelines.settings import POCKET_CHOICE
from .comfy import current_host

Value = TypeVar("Value")


def problem(check: Callable[[], object]) -> bool | str:
    """Run a check for VALIDATE_INPUTS: return True, or the message of the user error that it raised."""
    try:
        check()
    except UserError as error:
        return str(error)
    return True


def is_published(kind: str, name: str) -> bool:
    """True for a file of Fooocus that the pack knows where to download, as opposed to one of the user's own."""
    return download_link(kind, name) is not None


def unless_skipped(check: Callable[[], object], skip_missing: bool, kind: str, name: str) -> bool | str:
    """Run a check for VALIDATE_INPUTS; with `skip_missing` a published file may be missing."""

    def skipping() -> None:
        try:
            check()
        except MissingFile:
            if not (skip_missing and is_published(kind, name)):
                raise

    return problem(skipping)


def loaded_or_skipped(
    load: Callable[[], Value], skip_missing: bool, kind: str, name: str, without: str
) -> Value | None:
    """Load a file. With `skip_missing`, return None for a published file that is missing, with a notice.

    `without` begins the notice: what happens without the file.
    """
    try:
        return load()
    except MissingFile as error:
        if not (skip_missing and is_published(kind, name)):
            raise
        current_host().notice(f"{without}: {error}")
        return None


def with_pocket(names: Sequence[str], kind: str, default: str, others: Sequence[str] | None = None) -> list[str]:
    """Append the pocket model's files of a kind to a list: 'pocket' for its `default`, 'pocket/NAME' for the others.

    `others`: which of the other files to offer; None offers all.
    """
    offered = pocket_names(kind) if others is None else [f"{POCKET_CHOICE}/{name}" for name in others]
    return [*names, POCKET_CHOICE, *(name for name in offered if name != f"{POCKET_CHOICE}/{default}")]


def pocket_names(kind: str) -> list[str]:
    """Return the pocket model's files of a kind as 'pocket/NAME', so that none passes for the published file."""
    return [f"{POCKET_CHOICE}/{name}" for name in files_of(kind, POCKET / kind)]
