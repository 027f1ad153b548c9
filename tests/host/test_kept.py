"""What a host keeps: made once, bounded, and freed for memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from fooocus_stages.pipelines.files import file_hash, file_state
from fooocus_stages.pipelines.host import Kept, LocalHost
from fooocus_stages.pipelines.host.kept import SMALL, bytes_of
from torch.nn import Linear


def counted(made: list[str], name: str, value: Any = None) -> Callable[[], Any]:
    """Makes a value, and writes its name into a list."""

    def make() -> Any:
        made.append(name)
        return value

    return make


def test_a_value_is_made_once() -> None:
    kept, made = Kept(), list[str]()
    assert [kept.get("a", counted(made, "a", None)) for _ in range(3)] == [None] * 3
    assert kept.get(("a", 1), counted(made, "b", 5)) == 5
    assert made == ["a", "b"]


def test_the_least_recently_used_goes_first() -> None:
    kept, made = Kept(most_values=2), list[str]()
    for name in "abaca":
        kept.get(name, counted(made, name))
    assert made == ["a", "b", "c"]
    kept.get("b", counted(made, "b"))
    assert made == ["a", "b", "c", "b"]
    assert len(kept) == 2


def test_bytes_are_bounded() -> None:
    kept = Kept(most_bytes=1000)
    for i in range(20):
        kept.get(i, lambda: torch.zeros(100, dtype=torch.uint8))
    assert (len(kept), kept.bytes) == (10, 1000)
    large = kept.get("large", lambda: torch.zeros(1001, dtype=torch.uint8))
    assert len(large) == 1001
    assert kept.bytes <= 1000


def test_freeing_drops_what_is_large() -> None:
    kept, made = Kept(), list[str]()
    kept.get("hash", counted(made, "hash", "0123456789"))
    kept.get("keys", counted(made, "keys", (np.zeros(SMALL, np.uint8),)))
    kept.free()
    kept.get("hash", counted(made, "hash"))
    kept.get("keys", counted(made, "keys"))
    assert made == ["hash", "keys", "keys"]


def test_what_fails_is_not_kept() -> None:
    kept = Kept()

    def fail() -> int:
        raise ValueError

    with pytest.raises(ValueError):
        kept.get("a", fail)
    assert kept.get("a", lambda: 1) == 1


def test_making_may_ask_for_other_values_and_for_memory() -> None:
    kept = Kept()

    def outer() -> int:
        kept.free()
        return kept.get("inner", lambda: 1) + 1

    assert kept.get("outer", outer) == 2


def test_threads() -> None:
    kept, wrong = Kept(most_values=3), list[tuple[int, int]]()

    def use(start: int) -> None:
        for i in range(start, start + 500):
            if kept.get(i % 7, lambda i=i: i % 7) != i % 7:  # type: ignore[misc]
                wrong.append((start, i))
            kept.free()

    threads = [Thread(target=use, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(kept) <= 3


@dataclass(frozen=True)
class Pair:
    one: torch.Tensor
    other: dict[str, Any]


def test_memory_of_values() -> None:
    tensor = torch.zeros(10)
    assert bytes_of(Pair(tensor, {"a": [tensor, np.zeros(3, np.uint8)]})) == 83
    assert bytes_of(Linear(4, 5)) == 100


def test_a_local_host_frees_what_it_keeps_when_a_device_is_full() -> None:
    host, made = LocalHost(device="cpu"), list[str]()
    for _ in range(2):
        host.keep("keys", counted(made, "keys", torch.zeros(SMALL)))
    host._offload(keep=())
    host.keep("keys", counted(made, "keys"))
    assert made == ["keys", "keys"]


def test_a_changed_file_is_hashed_again(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    before, keep = file_state(path), LocalHost().keep
    first = file_hash(path, keep)
    path.write_bytes(b"other")
    assert file_state(path) != before
    assert file_hash(path, keep) != first
