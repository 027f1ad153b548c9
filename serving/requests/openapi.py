"""The OpenAPI document of the endpoints: their inputs and output, and the routes of run and queue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema

from ...pipelines.files import replace_whole
from ..bundled.write_workflows import as_text
from .endpoints import ENDPOINTS, TEXT_TO_IMAGE
from .models import default_loras
from .results import Output

QUEUE, RUN = "/fal/queue", "/fal/run"
COMPONENTS = "#/components/schemas/"
ID = {"name": "request_id", "in": "path", "required": True, "schema": {"type": "string"}}
LOGS = {
    "name": "logs",
    "in": "query",
    "description": "Whether to give the log: 1 or true.",
    "schema": {"type": "string", "enum": ["0", "1", "false", "true"], "default": "0"},
}
WEBHOOK = {
    "name": "fal_webhook",
    "in": "query",
    "description": "URL to which the result is posted.",
    "schema": {"type": "string", "format": "uri"},
}
Answers = Mapping[int, tuple[str, type[BaseModel]]]
TITLES = dict(zip(ENDPOINTS, ("text to image", "image prompt", "inpaint", "upscale or vary"), strict=True))


class LogEntry(BaseModel):
    """A line of the log."""

    message: str
    level: Literal["STDERR", "STDOUT", "ERROR", "INFO", "WARN", "DEBUG"]
    source: Literal["USER"]
    timestamp: str = Field(description="Time in ISO 8601.")


class Queued(BaseModel):
    """A request that was accepted."""

    status: Literal["IN_QUEUE"]
    queue_position: int = Field(description="Number of requests before it.", ge=0)
    request_id: str
    gateway_request_id: str
    response_url: str
    status_url: str
    cancel_url: str


class Metrics(BaseModel):
    """Measurements of a request."""

    inference_time: float | None = Field(None, description="Seconds of the run.")


class Status(BaseModel):
    """The state of a request. One that failed or was cancelled is COMPLETED too, and its result is an error."""

    status: Literal["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]
    request_id: str
    response_url: str
    status_url: str
    cancel_url: str
    queue_position: int | None = Field(None, description="Number of requests before it, while it is IN_QUEUE.")
    logs: list[LogEntry] = Field(description="The log; empty where it was not asked for.")
    metrics: Metrics | None = None
    error: str | None = None
    error_type: str | None = None


class Cancellation(BaseModel):
    """The outcome of a cancellation."""

    status: Literal["OK", "CANCELLATION_REQUESTED", "ALREADY_COMPLETED", "NOT_FOUND"]


class Mistake(BaseModel):
    """A field that the endpoint does not take."""

    model_config = ConfigDict(title="ValidationError")

    loc: list[str | int] = Field(description="Where it is: 'body', and the names and numbers that lead to it.")
    msg: str = Field(description="What is wrong with it.")
    type: str = Field(description="The kind of mistake.")
    input: Any = Field(None, description="The value, unless it is long.")
    ctx: dict[str, Any] | None = Field(None, description="The limits that it breaks.")


class Mistakes(BaseModel):
    """The mistakes in a request."""

    model_config = ConfigDict(title="HTTPValidationError")

    detail: list[Mistake]


class Problem(BaseModel):
    """An error that is not about a field."""

    detail: str
    error_type: str | None = None


def openapi(version: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document. `version`: that of the pack."""
    models: tuple[type[BaseModel], ...] = (*ENDPOINTS.values(), Output, Queued, Status, Cancellation, Mistakes, Problem)
    defined = models_json_schema([(model, "validation") for model in models], ref_template=COMPONENTS + "{model}")[1]
    schemas: dict[str, Any] = _settled(defined["$defs"])
    for endpoint, model in ENDPOINTS.items():
        described = schemas[model.__name__]
        described["x-fal-order-properties"] = list(described["properties"])
        described["x-fal-endpoint"] = endpoint
        described["properties"]["loras"]["default"] = [lora.model_dump(mode="json") for lora in default_loras()]
        schemas["Style"] = described["properties"]["styles"]["items"]
        described["properties"]["styles"]["items"] = {"$ref": f"{COMPONENTS}Style"}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Fooocus Stages",
            "version": version,
            "summary": "The hosted Fooocus endpoints, served on a machine of your own.",
            "license": {"name": "GPL-3.0-or-later", "identifier": "GPL-3.0-or-later"},
        },
        "paths": dict(_paths()),
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "key": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "The word Key, a space, and the key.",
                }
            },
        },
        "security": [{"key": []}],
    }


def _settled(schema: Any) -> Any:
    """A schema as every version of pydantic gives it: whole bounds as integers, and nothing said twice."""
    if isinstance(schema, list):
        return [_settled(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    said = {name: _settled(value) for name, value in schema.items()}
    for bound in ("minimum", "maximum"):
        if isinstance(said.get(bound), float) and said[bound].is_integer():
            said[bound] = int(said[bound])
    if "const" in said:
        said.pop("enum", None)
    if said.get("additionalProperties") is True:
        del said["additionalProperties"]
    if isinstance(whole := said.get("allOf"), list) and len(whole) == 1:
        del said["allOf"]
        said = dict(sorted({**said, **whole[0]}.items()))
    return said


def write(root: Path, version: str) -> Path:
    """Write the document below the folder `root`, and return its path. Raises UserError."""
    return replace_whole(root / "docs" / "openapi.json", as_text(openapi(version)).encode(), "the OpenAPI document")


def _paths() -> Iterator[tuple[str, dict[str, Any]]]:
    for endpoint, model in ENDPOINTS.items():
        body = {"required": True, "content": _json(model)}
        yield f"{RUN}/{endpoint}", {"post": _run(endpoint, body)}
        yield f"{QUEUE}/{endpoint}", {"post": _submit(endpoint, body)}
    yield from _request_paths()


def _run(endpoint: str, body: dict[str, Any]) -> dict[str, Any]:
    answers: Answers = {
        200: ("The output.", Output),
        422: ("A field is wrong.", Mistakes),
        504: ("Too late.", Problem),
    }
    return _operation(f"Run {TITLES[endpoint]} and wait for the result", answers, requestBody=body)


def _submit(endpoint: str, body: dict[str, Any]) -> dict[str, Any]:
    answers: Answers = {
        200: ("The request is queued.", Queued),
        422: ("A field is wrong.", Mistakes),
        429: ("The queue is full.", Problem),
    }
    return _operation(f"Queue {TITLES[endpoint]}", answers, parameters=[WEBHOOK], requestBody=body)


def _request_paths() -> Iterator[tuple[str, dict[str, Any]]]:
    request = f"{QUEUE}/{TEXT_TO_IMAGE}/requests/{{request_id}}"
    unknown: Answers = {404: ("There is no such request.", Problem)}
    done: Answers = {
        200: ("The output.", Output),
        400: ("The request is still in progress.", Problem),
        **unknown,
        422: ("A field is wrong.", Mistakes),
        499: ("The request was cancelled.", Problem),
    }
    states: Answers = {
        200: ("The request is done.", Status),
        202: ("The request is queued or runs.", Status),
        **unknown,
    }
    yield request, {"get": _operation("Get the result of a request", done, parameters=[ID])}
    yield f"{request}/status", {"get": _operation("Get the state of a request", states, parameters=[ID, LOGS])}
    yield f"{request}/status/stream", {"get": _stream(unknown)}
    cancelled: Answers = {
        200: ("The request is taken out of the queue.", Cancellation),
        202: ("The request is told to stop.", Cancellation),
        400: ("The request is done.", Cancellation),
        404: ("There is no such request.", Cancellation),
    }
    yield f"{request}/cancel", {"put": _operation("Cancel a request", cancelled, parameters=[ID])}


def _stream(others: Answers) -> dict[str, Any]:
    operation = _operation("Follow the state of a request", others, parameters=[ID, LOGS])
    events = {"text/event-stream": {"schema": {"$ref": f"{COMPONENTS}{Status.__name__}"}}}
    described = (
        "Server-sent events: the state at each change, with the log since the one before, until it is COMPLETED."
    )
    operation["responses"] = {"200": {"description": described, "content": events}, **operation["responses"]}
    return operation


def _operation(summary: str, answers: Answers, **more: Any) -> dict[str, Any]:
    answers = {**answers, 401: ("The key is missing or wrong.", Problem)}
    responses = {
        str(status): {"description": words, "content": _json(model)} for status, (words, model) in answers.items()
    }
    return {"summary": summary, **more, "responses": dict(sorted(responses.items()))}


def _json(model: type[BaseModel]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"{COMPONENTS}{model.__name__}"}}}
