"""Orders nodes: dependencies first, then output nodes and what is nearest to them."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

FAR = 3


class Schedule:
    """The unfinished nodes and the dependencies that each waits for."""

    def __init__(self) -> None:
        self._ranks: dict[str, tuple[int, int]] = {}
        self._needs: dict[str, set[str]] = {}
        self._followers: dict[str, list[str]] = {}
        self._ready: list[tuple[int, int, str]] = []

    def __contains__(self, node: object) -> bool:
        return node in self._needs

    def __len__(self) -> int:
        return len(self._needs)

    def add(self, node: str, rank: int) -> None:
        """Add a node; among ready nodes the lowest rank runs first. It is not ready until `wait` is called."""
        self._ranks[node] = (min(rank, FAR), len(self._ranks))
        self._needs[node] = set()

    def wait(self, node: str, needs: Iterable[str] = ()) -> None:
        """Make a node wait for others in the schedule; it is ready once they are done."""
        for need in needs:
            if need not in self._needs[node]:
                self._needs[node].add(need)
                self._followers.setdefault(need, []).append(node)
        if not self._needs[node]:
            heapq.heappush(self._ready, (*self._ranks[node], node))

    def take(self) -> str | None:
        """Return the next ready node, which stays in the schedule until `done`; None if all wait."""
        return heapq.heappop(self._ready)[2] if self._ready else None

    def done(self, node: str) -> None:
        """Remove a node and release those that waited for it."""
        del self._needs[node]
        for follower in self._followers.pop(node, ()):
            self._needs[follower].discard(node)
            if not self._needs[follower]:
                heapq.heappush(self._ready, (*self._ranks[follower], follower))

    def cycle(self) -> list[str]:
        """Return nodes that wait for one another in a cycle, in order; [] without one."""
        for start in self._needs:
            path, place = [start], {start: 0}
            while needs := self._needs[path[-1]]:
                following = min(needs)
                if following in place:
                    return path[place[following] :]
                place[following] = len(path)
                path.append(following)
        return []
