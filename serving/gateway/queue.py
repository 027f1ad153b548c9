"""The order of waiting requests."""

from __future__ import annotations

from collections.abc import Iterator

NORMAL, LOW = 0, 1
NORMAL_IN_A_ROW = 8


class Queue:
    """Ids of waiting requests: first come, first served within a priority.

    Requests of normal priority go first; after every eighth of them one of low priority has its turn.
    """

    def __init__(self) -> None:
        self._waiting: dict[int, dict[str, None]] = {NORMAL: {}, LOW: {}}
        self._in_a_row = 0
        self._positions: dict[str, int] = {}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def __contains__(self, request: str) -> bool:
        return any(request in ids for ids in self._waiting.values())

    def __iter__(self) -> Iterator[str]:
        """Yield the ids in the order in which they will be taken if none is added."""
        normal, low, in_a_row = iter(self._waiting[NORMAL]), iter(self._waiting[LOW]), self._in_a_row
        turns = {NORMAL: next(normal, None), LOW: next(low, None)}
        while turns[NORMAL] is not None or turns[LOW] is not None:
            lows_turn = turns[LOW] is not None and (turns[NORMAL] is None or in_a_row >= NORMAL_IN_A_ROW)
            request = turns[LOW] if lows_turn else turns[NORMAL]
            assert request is not None
            yield request
            in_a_row = 0 if lows_turn else in_a_row + 1
            turns[LOW if lows_turn else NORMAL] = next(low if lows_turn else normal, None)

    def add(self, request: str, priority: int) -> None:
        """Add an id at the end of its priority."""
        self._waiting[priority][request] = None
        self._positions.clear()

    def take(self, request: str) -> None:
        """Remove an id because its request starts."""
        self._in_a_row = 0 if request in self._waiting[LOW] else self._in_a_row + 1
        self.remove(request)

    def remove(self, request: str) -> None:
        """Remove an id, which may be absent."""
        for ids in self._waiting.values():
            ids.pop(request, None)
        self._positions.clear()

    def position(self, request: str) -> int:
        """Return how many requests will start before this one; 0 for one that does not wait."""
        if not self._positions:
            self._positions = {waiting: number for number, waiting in enumerate(self)}
        return self._positions.get(request, 0)
