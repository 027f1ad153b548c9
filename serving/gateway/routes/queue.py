"""The queue service: submit, status, stream, result and cancel."""

from __future__ import annotations

import json
import math
from typing import Any
from urllib.parse import quote

from aiohttp import web

from ..addresses import REQUEST_PATH, Call, app_of, own_address, queue_address
from ..gateway import Gateway, json_reply, outcome_reply, read_json
from ..live import Live
from ..outcomes import REQUEST_ID, Problem
from ..queue import LOW, NORMAL
from ..records import Accepted, Finished, Options
from ..results import presented
from ..stream import Stream

START_HEADERS = ("x-fal-request-start-timeout", "x-fal-request-timeout")
LIFECYCLE_HEADERS = ("x-fal-object-lifecycle-preference", "x-fal-object-lifecycle")
HEARTBEAT = 15.0


async def handle(gateway: Gateway, call: Call) -> web.StreamResponse:
    """Answer a call to the queue service. Raises Problem."""
    match = REQUEST_PATH.fullmatch(call.path)
    if match is None:
        if call.http.method != "POST":
            raise Problem(405, "submit a request with POST", headers={"Allow": "POST"})
        return await submit(gateway, call)
    id, rest = match["id"], match["rest"]
    allowed = "PUT" if rest == "/cancel" else "GET"
    if call.http.method not in (allowed, "POST" if rest == "/cancel" else allowed):
        raise Problem(405, f"use {allowed} here", headers={"Allow": allowed, REQUEST_ID: id})
    if rest == "/cancel":
        return await cancel(gateway, call, id)
    found = await find(gateway, call, id)
    if rest == "/status":
        return status(gateway, call, found)
    if rest in ("/status/stream", "/stream"):
        return await stream(gateway, call, found)
    return await result(gateway, call, found)


async def submit(gateway: Gateway, call: Call) -> web.Response:
    """Accept a request and return where to ask for it."""
    endpoint = endpoint_of(gateway, call.path)
    value, body = await read_json(call.http, gateway.settings)
    live = await accept(gateway, call, endpoint, value, body)
    base = queue_address(call.http, gateway.settings.public_url)
    id = live.accepted.id
    state = {"status": "IN_QUEUE", "queue_position": gateway.dispatcher.queue.position(id), "request_id": id}
    return json_reply({**state, "gateway_request_id": id, **_urls(base, live.accepted)}, headers={REQUEST_ID: id})


def endpoint_of(gateway: Gateway, path: str) -> str:
    """Return the endpoint of a path. Raises Problem 404."""
    endpoint = path.strip("/")
    if endpoint not in gateway.endpoints.ids():
        known = ", ".join(sorted(gateway.endpoints.ids()))
        raise Problem(404, f"there is no endpoint {endpoint!r} here; there are {known}", "not_found")
    return endpoint


async def accept(
    gateway: Gateway, call: Call, endpoint: str, value: dict[str, Any], body: bytes, fingerprint: str = ""
) -> Live:
    """Accept a request with the wishes in the headers and the query of its call. Raises Problem.

    `fingerprint`: a call with the same one may join the request when its caller has gone.
    """
    headers = call.http.headers
    priority = LOW if headers.get("x-fal-queue-priority", "").lower() == "low" else NORMAL
    longest = call.query.get("fal_max_queue_length")
    limit = int(_number("fal_max_queue_length", longest)) if longest else None
    options = Options(
        webhook=gateway.webhooks.checked(call.query.get("fal_webhook", "")),
        start_by=_start_by(gateway, call),
        lifetime=lifetime_of(call),
        base=own_address(call.http, gateway.settings.public_url),
        fingerprint=fingerprint,
    )
    accepted = Accepted("", endpoint, call.owner, priority, options, gateway.clock.now())
    return await gateway.dispatcher.accept(accepted, value, body, limit)


def _start_by(gateway: Gateway, call: Call) -> float | None:
    for name in START_HEADERS:
        if name in call.http.headers:
            return gateway.clock.now() + _number(name, call.http.headers[name])
    return None


def lifetime_of(call: Call) -> float | None:
    """Return how long the caller wants files to be kept, in seconds; None if that isn't said. Raises Problem."""
    for name in LIFECYCLE_HEADERS:
        if name in call.http.headers:
            try:
                wishes = json.loads(call.http.headers[name])
                seconds = wishes.get("expiration_duration_seconds")
            except (ValueError, AttributeError, RecursionError) as error:
                raise Problem(400, f"header {name} is not a JSON object", "bad_request") from error
            return None if seconds is None else _number(name, seconds)
    return None


def _number(name: str, text: Any) -> float:
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = math.nan
    if not 0 <= value < math.inf:
        raise Problem(400, f"{name} is {str(text)[:40]!r}, which is not a number of 0 or more", "bad_request")
    return value


async def find(gateway: Gateway, call: Call, id: str) -> Live | Finished:
    """Return a request by its id. Raises Problem 404, also for the request of another key."""
    found = gateway.dispatcher.live.get(id) or await gateway.dispatcher.finished(id)
    found = found or gateway.dispatcher.live.get(id)
    accepted = found.accepted if isinstance(found, Live) else found.request if found else None
    if found is None or accepted is None or accepted.owner != call.owner:
        raise Problem(404, f"there is no request {id[:64]!r}; it may have expired", "not_found", {REQUEST_ID: id[:64]})
    return found


def wants_logs(call: Call) -> bool:
    """Return whether a status call asks for logs."""
    return call.query.get("logs", "0").lower() in ("1", "true")


def state_of(gateway: Gateway, base: str, found: Live | Finished, logs: Any) -> dict[str, Any]:
    """Return the status object of a request with these logs."""
    if isinstance(found, Live) and found.result.done():
        found = found.result.result()
    if isinstance(found, Finished):
        outcome = found.outcome
        state = {"status": "COMPLETED", "logs": logs, "metrics": {"inference_time": outcome.seconds}}
        if not outcome.ok:
            state |= {"error": _sentence(outcome.body), "error_type": outcome.error_type or "validation_error"}
        accepted = found.request
    else:
        accepted = found.accepted
        if found.state == "waiting":
            state = {"status": "IN_QUEUE", "queue_position": gateway.dispatcher.queue.position(accepted.id)}
        else:
            state = {"status": "IN_PROGRESS", "logs": logs}
    return {**state, "request_id": accepted.id, **_urls(base, accepted)}


def _sentence(body: Any) -> str:
    detail = body.get("detail")
    return detail if isinstance(detail, str) else "; ".join(str(one.get("msg")) for one in detail or ())


def _urls(base: str, accepted: Accepted) -> dict[str, str]:
    url = f"{base}/{app_of(accepted.endpoint)}/requests/{quote(accepted.id)}"
    return {"response_url": url, "status_url": f"{url}/status", "cancel_url": f"{url}/cancel"}


def status(gateway: Gateway, call: Call, found: Live | Finished) -> web.Response:
    """Return the state of a request, with its whole log so far if asked for."""
    base = queue_address(call.http, gateway.settings.public_url)
    state = state_of(gateway, base, found, list(found.logs) if wants_logs(call) else [])
    code = 200 if state["status"] == "COMPLETED" else 202
    return json_reply(state, code, {REQUEST_ID: state["request_id"]})


async def stream(gateway: Gateway, call: Call, found: Live | Finished) -> web.StreamResponse:
    """Send the state of a request whenever it changes, each time with the new log entries, until it is completed."""
    base = queue_address(call.http, gateway.settings.public_url)
    sent, last, logs_wanted = 0, None, wants_logs(call)
    id = found.accepted.id if isinstance(found, Live) else found.request.id
    async with Stream(call.http, {REQUEST_ID: id}) as events:
        while True:
            logs = found.logs[sent:] if logs_wanted else []
            state = state_of(gateway, base, found, logs)
            if state["status"] == "IN_QUEUE":
                logs = []
            if state != last or logs:
                await events.send(state)
                sent += len(logs)
                last = {**state, **({"logs": []} if "logs" in state else {})}
            if state["status"] == "COMPLETED":
                break
            assert isinstance(found, Live)
            await found.changed.wait(0.5 if found.state == "waiting" else HEARTBEAT)
            await events.beat(HEARTBEAT)
    return events.response


async def result(gateway: Gateway, call: Call, found: Live | Finished) -> web.Response:
    """Return the output or the error of a finished request. Raises Problem 400 for one that isn't finished."""
    if isinstance(found, Live):
        if not found.result.done():
            raise Problem(400, "Request is still in progress", headers={REQUEST_ID: found.accepted.id})
        found = found.result.result()
    return await finished_reply(gateway, call, found)


async def finished_reply(gateway: Gateway, call: Call, found: Finished) -> web.Response:
    """Return a finished request's output, with URLs under the address that the caller used, or its error."""
    if not found.outcome.ok:
        return outcome_reply(found.outcome, found.request.id)
    base = own_address(call.http, gateway.settings.public_url)
    try:
        body = await presented(found.outcome.body, base, gateway.settings.results)
    except OSError as error:
        raise Problem(404, "the images of this request have expired", "not_found") from error
    return json_reply(body, headers={REQUEST_ID: found.request.id})


async def cancel(gateway: Gateway, call: Call, id: str) -> web.Response:
    """Cancel a request."""
    try:
        found = await find(gateway, call, id)
    except Problem as problem:
        return json_reply({"status": "NOT_FOUND", **problem.outcome.body}, 404, {REQUEST_ID: id[:64]})
    if isinstance(found, Finished) or found.ending:
        return json_reply({"status": "ALREADY_COMPLETED", "detail": "the request is finished"}, 400, {REQUEST_ID: id})
    if await gateway.dispatcher.cancel(found):
        return json_reply({"status": "OK"}, headers={REQUEST_ID: id})
    return json_reply({"status": "CANCELLATION_REQUESTED"}, 202, {REQUEST_ID: id})
