"""Errors that a user can cause. Each message is one sentence: what was wrong, which value, what to do."""

from __future__ import annotations

from collections.abc import Iterable

from .names import match_name, nearest


class UserError(Exception):
    """An error that the user can fix; shown without a traceback.

    ComfyUI's error report opens with the module and name of the exception's class. The real module's name is a long
    path there, so all subclasses carry the name of the pack in its place.
    """

    __module__ = "fooocus_stages"

    def __init_subclass__(cls) -> None:
        cls.__module__ = UserError.__module__


class BadValue(UserError, ValueError):
    """A setting, size or input value that the stage does not accept."""


class UnknownName(BadValue):
    """An unknown name of a style, sampler, node or preset."""

    def __init__(self, what: str, name: str, known: Iterable[str], hint: str = "") -> None:
        super().__init__(f"unknown {what} {name!r}{did_you_mean(name, known)}{'; ' + hint if hint else ''}")


class MissingFile(UserError, FileNotFoundError):
    """A model or data file that was not found in any searched folder."""


class BadFile(UserError):
    """A file that is truncated, unsafe, or of another format or model family."""


class BadGraph(UserError):
    """A workflow that is invalid."""


class Interrupted(Exception):
    """The user stopped the run; not an error of any stage."""


def chosen(what: str, name: str, known: Iterable[str], hint: str = "") -> str:
    """Return the known name that `name` spells, in any spelling (`names.match_name`). Raises UnknownName."""
    listed = list(known)
    if (found := match_name(name, listed)) is None:
        raise UnknownName(what, name, listed, hint)
    return found


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ' (did you mean …?)' with the nearest known names; '' if none is near or the only one looks the same."""
    near = nearest(name, known)
    return f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""
