"""Broken copies of good files, the same ones every time: bytes cut, changed and doubled, and headers that lie."""

from __future__ import annotations

import copy
import io
import json
import random
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

Change = Callable[[random.Random, bytes], bytes]

ODD: tuple[Any, ...] = (
    None, True, -1, 0, 2**30, 2**62, 2**64, 1e308, float("nan"), float("inf"), "", "\ud800", "\0", "../..", "x" * 5000,
    [], [[]], {}, {"a": 1}, ["save", 0], ["load", 99], ["nope", 0], ["load", -1], [1, 2, 3], {"__value__": [1]},
)  # fmt: skip


def of_bytes(data: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """Copies with bytes cut off, changed, taken out, doubled or zeroed."""
    chance = random.Random(seed)
    for _ in range(count):
        yield chance.choice((_cut, _flip, _flip_early, _drop, _double, _zero))(chance, data)


def of_safetensors(data: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """Copies whose header says what is not so, or is none."""
    chance = random.Random(seed)
    length = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    for number in range(count):
        text = _WORDS[number](data[8 : 8 + length]) if number < len(_WORDS) else _lie(chance, header)
        claimed = len(text) if chance.random() < 0.9 else chance.choice((0, 1, len(text) - 1, len(text) + 9, 2**63))
        yield claimed.to_bytes(8, "little") + text + body


def of_zip(data: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """Copies of an archive whose parts are broken, lacking, doubled or packed."""
    chance = random.Random(seed)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    for _ in range(count):
        broken = dict(parts)
        name = chance.choice([n for n in parts if n.endswith("data.pkl")] * 4 + list(parts))
        broken[name] = next(of_bytes(parts[name], 1, chance.randrange(2**32))) if parts[name] else b"x"
        if chance.random() < 0.2:
            del broken[chance.choice(list(broken))]
        packed = zipfile.ZIP_DEFLATED if chance.random() < 0.1 else zipfile.ZIP_STORED
        into = io.BytesIO()
        with zipfile.ZipFile(into, "w", packed) as archive:
            for part, content in broken.items():
                archive.writestr(part, content)
        yield into.getvalue()


def of_json(value: Any, count: int, seed: int = 0) -> Iterator[Any]:
    """Copies of a tree of lists and dictionaries with odd values in a few places, or with places gone."""
    chance = random.Random(seed)
    for _ in range(count):
        tree = json.loads(json.dumps(value))
        for _ in range(chance.randint(1, 3)):
            _change(chance, tree)
        yield tree


def _change(chance: random.Random, tree: Any) -> None:
    holder, key = chance.choice(list(_places(tree)))
    if isinstance(holder, dict) and chance.random() < 0.15:
        del holder[key]
    elif isinstance(holder, dict) and chance.random() < 0.1:
        holder["odd \0 name"] = holder.pop(key)
    else:
        holder[key] = copy.deepcopy(chance.choice(ODD))


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in list(items):
        yield tree, key
        yield from _places(value)


def _lie(chance: random.Random, header: dict[str, Any]) -> bytes:
    """A header with one lie: a size, a dtype, a place, a type, or a key that is there twice."""
    lied = json.loads(json.dumps(header))
    key = chance.choice([name for name in lied if name != "__metadata__"])
    entry = lied[key]
    match chance.randrange(7):
        case 0:
            entry["shape"] = [side * 2**30 for side in entry["shape"]] or [2**62]
        case 1:
            entry["dtype"] = chance.choice(("F64", "F16", "I8", "BOOL", "F8_E5M2", "C64", "U64", "X", "", 7, None))
        case 2:
            entry["data_offsets"] = chance.choice(([0, 4], [-4, 0], [4, 0], [0, 2**62], ["0", 4], [0], None))
        case 3:
            entry["shape"] = chance.choice(([], [0], [-1], [1.5], ["1"], [[1]], None, {}, [1] * 5000))
        case 4:
            _change(chance, lied)
        case 5:
            return json.dumps(lied).encode()[:-1] + b"," + json.dumps({key: entry}).encode()[1:]
        case 6:
            lied[chance.choice(("__metadata__", "\ud800", "x" * 100_000))] = chance.choice((entry, {"a": 1}, 7))
    return json.dumps(lied).encode()


_WORDS: tuple[Callable[[bytes], bytes], ...] = (
    lambda text: b"[" * 100_000 + b"]" * 100_000,
    lambda text: b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    lambda text: b'{"a":{"dtype":"F32","shape":[' + b"9" * 100_000 + b'],"data_offsets":[0,4]}}',
    lambda text: b"{" + b" " * 1_000_000 + text[1:],
    lambda text: b"{}",
    lambda text: text.replace(b'"F32"', b'"\xff\xfe"'),
)


def _cut(chance: random.Random, data: bytes) -> bytes:
    return data[: chance.randrange(len(data))]


def _flip(chance: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randint(1, 20)):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def _flip_early(chance: random.Random, data: bytes) -> bytes:
    head = min(len(data), 200)
    return _flip(chance, data[:head]) + data[head:]


def _drop(chance: random.Random, data: bytes) -> bytes:
    start = chance.randrange(len(data))
    return data[:start] + data[start + chance.randint(1, 50) :]


def _double(chance: random.Random, data: bytes) -> bytes:
    start = chance.randrange(len(data))
    return data[: start + 40] + data[start:]


def _zero(chance: random.Random, data: bytes) -> bytes:
    start = chance.randrange(len(data))
    return data[:start] + bytes(min(60, len(data) - start)) + data[start + 60 :]
