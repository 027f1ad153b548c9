"""Addresses, frames, queues and refusals of a ComfyUI, as data."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from fooocus_stages.pipelines.errors import BadValue
from fooocus_stages.serving.comfyui.protocol import (
    Address,
    Frame,
    Place,
    declared_class,
    place_in,
    read_address,
    read_frame,
    refusal_reasons,
)
from fooocus_stages.serving.engine.declarations import Registry
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://127.0.0.1:8188", Address("http://127.0.0.1:8188")),
        (" https://host/comfy/ ", Address("https://host/comfy")),
        ("http://[::1]:8188/", Address("http://[::1]:8188")),
        ("https://me:a%40b%2F@host:1/x", Address("https://host:1/x", "me", "a@b/")),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert read_address(text) == address
    assert address.password not in repr(address) or not address.password


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("127.0.0.1:8188", "is not an http or https address; write for example http://127.0.0.1:8188"),
        ("localhost:8188", "is not an http or https address"),
        ("ftp://host", "is not an http or https address"),
        ("", "is not an http or https address"),
        ("http://", "is not an http or https address"),
        ("http://a b/", "is not an http or https address"),
        ("http://host:99999", "is not an address (Port out of range"),
        ("http://host:x", "is not an address ("),
        ("http://[::1", "is not an address ("),
        ("http://host/?token=1", "leave out what follows ? or #"),
        ("http://a%3Ab@host", "contains a colon"),
    ],
)
def test_what_is_no_address(text: str, message: str) -> None:
    with pytest.raises(BadValue, match="--comfyui") as raised:
        read_address(text)
    assert message in str(raised.value)


def test_a_password_is_not_shown() -> None:
    with pytest.raises(BadValue) as raised:
        read_address("http://me:secret@host:x")
    assert "secret" not in str(raised.value)
    assert "secret" not in repr(read_address("http://me:secret@host"))


@pytest.mark.parametrize(
    ("payload", "frame"),
    [
        ('{"type": "executing", "data": {"node": null}}', Frame("executing", {"node": None})),
        ('{"type": "executing"}', None),
        ('{"type": 3, "data": {}}', None),
        ('{"type": "x", "data": []}', None),
        ("[1]", None),
        ("{", None),
        (struct.pack(">II", 3, 2) + b"17\xc3\xbcber", Frame("text", {"node": "17", "text": "über"})),
        (struct.pack(">II", 3, 9) + b"17", None),
        (struct.pack(">II", 1, 1) + b"jpeg", None),
        (b"", None),
    ],
)
def test_frames(payload: str | bytes, frame: Frame | None) -> None:
    assert read_frame(payload) == frame


@given(st.one_of(st.text(), st.binary()))
def test_no_message_breaks_the_reader(payload: str | bytes) -> None:
    assert read_frame(payload) is None or isinstance(read_frame(payload), Frame)


def item(number: float, name: str) -> list[Any]:
    return [number, name, {}, {}, []]


@pytest.mark.parametrize(
    ("running", "pending", "place"),
    [
        ([], [], None),
        ([item(1, "x")], [item(2, "y")], None),
        ([item(1, "me")], [item(2, "y")], Place(running=True)),
        ([item(1, "x")], [item(9, "y"), item(3, "me"), item(-2, "z")], Place(running=False, ahead=2)),
        ([], [item(3.5, "me"), "odd", []], Place(running=False)),
    ],
)
def test_the_place_in_a_queue(running: list[Any], pending: list[Any], place: Place | None) -> None:
    assert place_in({"queue_running": running, "queue_pending": pending}, "me") == place


GRAPH = {"1": {"class_type": "Load", "inputs": {}, "_meta": {"title": "Load"}}, "2": {"class_type": "Turn"}}


def refusal(**error: Any) -> list[str]:
    return refusal_reasons({"node_errors": {"1": {"errors": [error]}}}, GRAPH)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            {"message": "Required input is missing", "details": "a", "extra_info": {"input_name": "a"}},
            "node 1 (Load): input 'a': Required input is missing",
        ),
        (
            {"message": "No", "details": "a, received_type(MASK)", "extra_info": {"input_name": "a"}},
            "node 1 (Load): input 'a': No: received_type(MASK)",
        ),
        (
            {"message": "No", "details": "abc is wrong", "extra_info": {"input_name": "a"}},
            "node 1 (Load): input 'a': No: abc is wrong",
        ),
        (
            {"type": "custom_validation_failed", "message": "No", "details": "a", "extra_info": {"input_name": "a"}},
            "node 1 (Load): input 'a': No",
        ),
        (
            {"type": "exception_during_validation", "message": "Exception", "details": "'x'", "extra_info": {}},
            "node 1 (Load): Exception: 'x'",
        ),
    ],
)
def test_each_error_is_a_sentence(error: dict[str, Any], sentence: str) -> None:
    assert refusal(**error) == [sentence]


def test_a_class_has_the_servers_declaration() -> None:
    info = {"input": {"required": {"a": [["x", "y"], {}]}, "optional": {"b": ["INT"]}}, "output": ["INT"]}
    declared = Registry({"Odd": declared_class("Odd", info)})["Odd"]
    assert {name: (i.group, i.choices, i.type) for name, i in declared.inputs.items()} == {
        "a": ("required", ["x", "y"], ["x", "y"]),
        "b": ("optional", None, "INT"),
    }
    assert (declared.outputs, declared.is_output) == (("INT",), False)
