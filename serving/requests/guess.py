"""The endpoint of a request that does not say which it is for."""

from __future__ import annotations

from typing import Any

from ...pipelines.errors import BadValue
from ..bundled.request import TextToImage
from .endpoints import ENDPOINTS, InvalidRequest, Request, parse
from .graphs import mode_request, urls_of


def request_in(body: Any, endpoint: str | None = None) -> Request:
    """Check a request to an endpoint, without one to that whose fields it has. Several must give the same workflow.

    Raises UnknownName, InvalidRequest, and BadValue where the endpoints give different workflows.
    """
    if endpoint is not None:
        return parse(endpoint, body)
    read = [_read(one, body) for one in reversed(tuple(ENDPOINTS))]
    taken = [one for one in read if isinstance(one, Request)]
    if not taken:
        raise next(one for one in read[::-1] if isinstance(one, InvalidRequest))
    fewest = min(len(request.unknown) for request in taken)
    nearest = [request for request in taken if len(request.unknown) == fewest]
    if any(_mode(request) != _mode(nearest[0]) for request in nearest):
        names = " or ".join(request.endpoint for request in nearest)
        raise BadValue(f"the request may be for {names}, which give different workflows: say which with --endpoint")
    return nearest[0]


def _read(endpoint: str, body: Any) -> Request | InvalidRequest:
    try:
        return parse(endpoint, body)
    except InvalidRequest as error:
        return error


def _mode(request: Request) -> TextToImage:
    return mode_request(request, {one.value: one.value for one in urls_of(request)})
