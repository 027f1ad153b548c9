"""The requests in tests/requests, one for each mode of the endpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fooocus_stages.serving.requests.endpoints import (
    IMAGE_PROMPT,
    INPAINT,
    TEXT_TO_IMAGE,
    UPSCALE_OR_VARY,
    Request,
    parse,
)

FOLDER = Path(__file__).resolve().parents[2] / "requests"
ENDPOINT_OF = {"B": TEXT_TO_IMAGE, "P": IMAGE_PROMPT, "I": INPAINT, "U": UPSCALE_OR_VARY}
MODES = sorted(path.stem for path in FOLDER.glob("*.json"))
PICTURE = {
    TEXT_TO_IMAGE: {},
    IMAGE_PROMPT: {"image_prompt_1": {"image_url": "a.png"}},
    INPAINT: {"inpaint_image_url": "a.png"},
    UPSCALE_OR_VARY: {"uov_image_url": "a.png"},
}
"""What each endpoint requires."""


def endpoint_of(mode: str) -> str:
    return ENDPOINT_OF[mode[0]]


def body_of(mode: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((FOLDER / f"{mode}.json").read_text(encoding="utf-8"))
    return body


def example(mode: str, **changed: Any) -> Request:
    return parse(endpoint_of(mode), {**body_of(mode), **changed})


def request_to(endpoint: str, **fields: Any) -> Request:
    """A request with what the endpoint requires, and these fields."""
    return parse(endpoint, {**PICTURE[endpoint], **fields})
