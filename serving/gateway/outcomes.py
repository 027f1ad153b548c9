"""Problems as replies: bodies and headers in the platform's form."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..pool.types import FailureKind
from .records import Outcome

_SUFFIX = r"\.(?:safetensors|sft|ckpt|pth?|bin|onnx|gguf|patch|png|jpe?g|webp|gif|json|txt|ya?ml|py|sqlite)\s"
_INSIDE = r"|(?<=\w)'(?=\w)|[,;:](?![\s/\\])"  # punctuation within a name
_POSIX = rf"(?!\s|[^/\n'\",;:]*{_SUFFIX})(?:[^/\n'\",;:]{_INSIDE})+/"
_WINDOWS = rf"(?!\s|[^\\/\n'\",;:]*{_SUFFIX})(?:[^\\/\n'\",;:]{_INSIDE})+[\\/]+"
FOLDERS = re.compile(rf"(?:file:/+|(?<![\w/.\]])/)(?:{_POSIX})+|(?<!\w)(?:[A-Za-z]:[\\/]+|\\\\+(?=\w))(?:{_WINDOWS})*")
"""The folders of a file at an absolute path, on either kind of system; addresses (https://…) have none.

Names of folders may have spaces. A name with the suffix of a file ends a path, so that words after it are no folders.
"""
PATHS = re.compile(rf"(?:{FOLDERS.pattern})[^\s'\",;:]*")
REQUEST_ID, ERROR_TYPE, TIMEOUT_TYPE = "x-fal-request-id", "x-fal-error-type", "x-fal-request-timeout-type"


class Problem(Exception):
    """A request that is answered with an error. `detail` is a sentence, or a list of validation errors."""

    def __init__(
        self,
        status: int,
        detail: str | Sequence[Mapping[str, Any]],
        error_type: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail if isinstance(detail, str) else "invalid request")
        self.outcome = error(status, detail, error_type, headers)


def error(
    status: int,
    detail: str | Sequence[Mapping[str, Any]],
    error_type: str = "",
    headers: Mapping[str, str] | None = None,
) -> Outcome:
    """Return an error as an outcome. Clients show `message` where the status has no reason phrase that they know."""
    body: dict[str, Any] = {"detail": detail}
    if isinstance(detail, str):
        body["message"] = detail
    if error_type:
        body["error_type"] = error_type
    named = {ERROR_TYPE: error_type} if error_type else {}
    return Outcome(status, body, error_type, {**named, **(headers or {})})


def public(text: str) -> str:
    """Return a message with the names of local files alone: callers are not told where they lie."""
    return FOLDERS.sub("", text)


def local_paths(text: str) -> list[str]:
    """Return the folders that `public` leaves out of a message, each with the name that follows it."""
    return [match[0] for match in PATHS.finditer(text)]


def invalid(loc: Sequence[str | int], message: str, kind: str = "value_error") -> Outcome:
    """Return one validation error."""
    return error(422, [{"loc": list(loc), "msg": message, "type": kind}])


def cancelled() -> Outcome:
    """Return the outcome of a cancelled request."""
    return error(499, "Request cancelled by the client.", "client_cancelled")


def not_started(seconds: float) -> Outcome:
    """Return the outcome of a request that did not start in time; its header keeps clients from trying again."""
    sentence = f"the request did not start within {seconds:g} s"
    return error(504, sentence, "request_timeout", {TIMEOUT_TYPE: "user"})


def lost(reason: str) -> Outcome:
    """Return the outcome of a request whose worker ended. 500, as clients repeat a 503 by themselves."""
    return error(500, f"the worker ended before the request did: {public(reason)}", "runner_disconnected")


def failed(kind: FailureKind, reason: str) -> Outcome:
    """Return the outcome of a job that failed."""
    if kind == "user":
        return invalid(["body"], public(reason))
    if kind == "timeout":
        return error(504, public(reason), "request_timeout", {TIMEOUT_TYPE: "server"})
    return error(500, public(reason), "runner_connection_error" if kind == "crash" else "runner_server_error")
