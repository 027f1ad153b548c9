"""Reads the data of a ComfyUI server: addresses, websocket frames, the queue, and validation errors."""

from __future__ import annotations

import json
import re
import struct
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from ...pipelines.errors import BadGraph, BadValue
from ..engine.graph import ApiGraph
from ..engine.overrides import title_of

EXAMPLE = "write for example http://127.0.0.1:8188"
TEXT_KIND = 3  # of the binary frames; the others are previews
JsonObject = Mapping[str, Any]


@dataclass(frozen=True)
class Address:
    """The address of a ComfyUI. `base` has no user, password or trailing slash, so it can be shown."""

    base: str
    user: str = ""
    password: str = field(default="", repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """The header of basic authentication (RFC 7617)."""
        if not self.user and not self.password:
            return {}
        return {"Authorization": "Basic " + b64encode(f"{self.user}:{self.password}".encode()).decode()}


def read_address(text: str) -> Address:
    """Parse an http or https address, with or without user and path. Raises BadValue."""
    shown = re.sub(r"//[^/]*@", "//", text)
    try:
        parts = urlsplit(text.strip())
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError as error:
        raise BadValue(f"--comfyui {shown!r} is not an address ({error}); {EXAMPLE}") from error
    if not usable or re.search(r"\s", parts.netloc):
        raise BadValue(f"--comfyui {shown!r} is not an http or https address; {EXAMPLE}")
    if parts.query or parts.fragment:
        raise BadValue(f"--comfyui {shown!r} has a query or fragment; leave out what follows ? or #")
    user = unquote(parts.username or "")
    if ":" in user:
        raise BadValue(
            "the user name in the address of --comfyui contains a colon, which basic authentication can't send"
        )
    host = parts.netloc.rpartition("@")[2]
    return Address(f"{parts.scheme}://{host}{parts.path.rstrip('/')}", user, unquote(parts.password or ""))


@dataclass(frozen=True)
class Frame:
    """A message of the websocket."""

    type: str
    data: Mapping[str, Any]


def read_frame(payload: str | bytes) -> Frame | None:
    """Parse a message; None for a preview or an invalid message. A node's text has the type `text`."""
    if isinstance(payload, bytes):
        return _read_text(payload)
    try:
        message = json.loads(payload)
        kind, data = message["type"], message["data"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return Frame(kind, data) if isinstance(kind, str) and isinstance(data, dict) else None


def _read_text(payload: bytes) -> Frame | None:
    """Parse kind, length of the node id, node id and text; the numbers are 32-bit big-endian."""
    if len(payload) < 8:
        return None
    kind, length = struct.unpack_from(">II", payload)
    if kind != TEXT_KIND or len(payload) < 8 + length:
        return None
    node, text = payload[8 : 8 + length], payload[8 + length :]
    return Frame("text", {"node": node.decode("utf-8", "replace"), "text": text.decode("utf-8", "replace")})


@dataclass(frozen=True)
class Place:
    """The place of a run in the server's queue: running, or with `ahead` runs before it."""

    running: bool
    ahead: int = 0


def place_in(queue: JsonObject, prompt_id: str) -> Place | None:
    """Return the place of a run in the response of /queue; its items start with a priority number and the run's id."""
    running, pending = _items(queue, "queue_running"), _items(queue, "queue_pending")
    if any(item[1] == prompt_id for item in running):
        return Place(running=True)
    for number, item in enumerate(sorted(pending, key=lambda item: item[0])):
        if item[1] == prompt_id:
            return Place(running=False, ahead=len(running) + number)
    return None


def _items(queue: JsonObject, name: str) -> list[Sequence[Any]]:
    items = queue.get(name, []) if isinstance(queue, Mapping) else []
    return [item for item in items if isinstance(item, list) and len(item) > 1 and isinstance(item[0], (int, float))]


class Refused(BadGraph):
    """A workflow that the server refuses, with a sentence for each reason."""

    def __init__(self, sentences: Sequence[str]) -> None:
        many = "\n".join([f"the server finds {len(sentences)} problems:", *(f"- {s}" for s in sentences)])
        super().__init__(sentences[0] if len(sentences) == 1 else many)


def refusal_reasons(response: JsonObject, graph: ApiGraph) -> list[str]:
    """Return a sentence with node, title and input for each error in the response of /prompt."""
    reasons = [
        f"{named(node_id, graph)}: {reason}"
        for node_id, about in mapping(response.get("node_errors")).items()
        for reason in _reasons(mapping(about).get("errors", []))
    ]
    error = response.get("error")
    return reasons or [_whole(error) if isinstance(error, Mapping) else str(error or "the server gives no reason")]


def named(node_id: str, graph: ApiGraph) -> str:
    """Return the id of a node with its class, and its title if the user gave it one."""
    node = graph.get(node_id, {})
    name, title = str(node.get("class_type", "")), title_of(node)
    words = [word for word in (name, repr(title) if title and title != name else "") if word]
    return f"node {node_id} ({', '.join(words)})" if words else f"node {node_id}"


def _reasons(errors: Any) -> Iterator[str]:
    """Yield the problems of a node, each once; the server repeats those of VALIDATE_INPUTS for each of its inputs."""
    seen = set()
    for error in errors if isinstance(errors, list) else []:
        name = str(mapping(error.get("extra_info")).get("input_name") or "")
        message, details = str(error.get("message", "")).strip(), str(error.get("details", "")).strip()
        rest = re.sub(rf"^{re.escape(name)}\s*(-|:|,|$)\s*", "", details) if name else details
        if error.get("type") == "custom_validation_failed" and rest:
            reason = rest
        else:
            sentence = ": ".join(part for part in (message, rest) if part)
            reason = f"input {name!r}: {sentence}" if name else sentence
        if reason not in seen:
            seen.add(reason)
            yield reason


def _whole(error: JsonObject) -> str:
    words = [str(error.get(part, "")).strip() for part in ("message", "details")]
    return "the server refuses the workflow: " + ": ".join(dict.fromkeys(word for word in words if word))


def declared_class(name: str, info: JsonObject) -> type[Any]:
    """Build a class with the declaration that /object_info returns for a node."""
    inputs = {group: specs for group, specs in mapping(info.get("input")).items() if isinstance(specs, dict)}
    members = {
        "INPUT_TYPES": classmethod(lambda cls: inputs),
        "RETURN_TYPES": tuple(info.get("output") or ()),
        "RETURN_NAMES": tuple(info.get("output_name") or ()),
        "OUTPUT_NODE": info.get("output_node") is True,
    }
    return type(name, (), members)


def mapping(value: Any) -> Mapping[str, Any]:
    """Return a mapping unchanged, and an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}
