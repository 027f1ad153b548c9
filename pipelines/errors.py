"""The few errors a user can cause. Each message is one sentence: what was wrong, which value, what to do."""

from __future__ import annotations

from collections.abc import Iterable

from .names import nearest


class UserError(Exception):
    """Something the user can mend; shown without a traceback."""


class BadValue(UserError, ValueError):
    """A setting, size or socket value outside what the stage can take."""


class UnknownName(BadValue):
    """A name that is in no list: style, sampler, node, preset."""

    def __init__(self, what: str, name: str, known: Iterable[str], hint: str = "") -> None:
        super().__init__(f"unknown {what} {name!r}{did_you_mean(name, known)}{'; ' + hint if hint else ''}")


class MissingFile(UserError, FileNotFoundError):
    """A model or data file that lies in none of the folders looked at."""


class BadFile(UserError):
    """A file that is truncated, foreign, unsafe or for another model family."""


class BadGraph(UserError):
    """A workflow that can't run as it is written."""


class Interrupted(Exception):
    """The user stopped the run; not an error of any stage."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """' (did you mean …?)' for the nearest known names; '' when none is near or the only one near looks the same."""
    near = nearest(name, known)
    return f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""
