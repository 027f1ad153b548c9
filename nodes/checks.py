"""What a validation function answers the server."""

from __future__ import annotations

from collections.abc import Callable

from ..pipelines.errors import UserError


def problem(check: Callable[[], object]) -> bool | str:
    """True, or the sentence of the user's error that the check raised."""
    try:
        check()
    except UserError as error:
        return str(error)
    return True
