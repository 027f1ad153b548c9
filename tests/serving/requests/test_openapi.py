"""The OpenAPI document, as it is committed and as clients need it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fooocus_stages
import pytest
from fooocus_stages.serving.requests.endpoints import ENDPOINTS
from fooocus_stages.serving.requests.fields import style_names
from fooocus_stages.serving.requests.openapi import COMPONENTS, openapi, write

COMMITTED = Path(fooocus_stages.__file__).parent / "docs" / "openapi.json"
DOCUMENT = openapi(fooocus_stages.__version__)
SCHEMAS = DOCUMENT["components"]["schemas"]
REQUESTS = "/fal/queue/fal-ai/fooocus/requests/{request_id}"


def test_the_committed_document_is_current(tmp_path: Path) -> None:
    written = write(tmp_path, fooocus_stages.__version__)
    assert written == tmp_path / "docs" / "openapi.json"
    assert COMMITTED.read_text(encoding="utf-8") == written.read_text(encoding="utf-8"), "run make workflows"


def test_the_routes() -> None:
    inputs = {f"/fal/{kind}/{endpoint}": "post" for kind in ("run", "queue") for endpoint in ENDPOINTS}
    reads = {REQUESTS: "get", f"{REQUESTS}/status": "get", f"{REQUESTS}/status/stream": "get"}
    routes = {path: method for path, operations in DOCUMENT["paths"].items() for method in operations}
    assert routes == {**inputs, **reads, f"{REQUESTS}/cancel": "put"}
    assert DOCUMENT["openapi"] == "3.1.0"


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_each_endpoint_takes_its_own_input(endpoint: str) -> None:
    for kind in ("run", "queue"):
        operation = DOCUMENT["paths"][f"/fal/{kind}/{endpoint}"]["post"]
        (content,) = operation["requestBody"]["content"].values()
        schema = SCHEMAS[content["schema"]["$ref"].removeprefix(COMPONENTS)]
        assert schema["x-fal-endpoint"] == endpoint
        assert list(schema["properties"]) == list(ENDPOINTS[endpoint].model_fields) == schema["x-fal-order-properties"]
        assert {"422", "401", "200"} <= set(operation["responses"])
        assert schema.get("required", []) == [n for n, f in ENDPOINTS[endpoint].model_fields.items() if f.is_required()]
        for name, field in schema["properties"].items():
            assert field["description"], name
            assert ("default" in field) is (name not in schema.get("required", [])), name


def test_what_is_a_choice_or_has_a_range_says_so() -> None:
    fields = SCHEMAS["TextToImageInput"]["properties"]
    assert (fields["guidance_scale"]["minimum"], fields["guidance_scale"]["maximum"]) == (1, 30)
    assert fields["performance"]["enum"] == ["Speed", "Quality", "Extreme Speed", "Lightning"]
    assert fields["styles"]["items"] == {"$ref": f"{COMPONENTS}Style"}
    assert SCHEMAS["Style"]["enum"] == list(style_names())
    assert fields["loras"]["default"][0]["scale"] == 0.1


def test_every_reference_leads_somewhere() -> None:
    assert {ref.removeprefix(COMPONENTS) for ref in references(DOCUMENT)} <= set(SCHEMAS)


def test_the_document_is_json() -> None:
    assert json.loads(json.dumps(DOCUMENT, allow_nan=False)) == DOCUMENT


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for one in value.values():
            yield from references(one)
    if isinstance(value, list):
        for one in value:
            yield from references(one)
