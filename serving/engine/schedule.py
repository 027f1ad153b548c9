"""Which node runs next: dependencies first; then outputs and what is nearest to them."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

FAR = 3


class Schedule:
    """The nodes still to finish and what each waits for."""

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
        """Add a node; a low rank goes first among those that are ready. It is not ready before `wait`."""
        self._ranks[node] = (min(rank, FAR), len(self._ranks))
        self._needs[node] = set()

    def wait(self, node: str, needs: Iterable[str] = ()) -> None:
        """Let a node wait for others that are in the schedule; it becomes ready when they are done."""
        for need in needs:
            if need not in self._needs[node]:
                self._needs[node].add(need)
                self._followers.setdefault(need, []).append(node)
        if not self._needs[node]:
            heapq.heappush(self._ready, (*self._ranks[node], node))

    def take(self) -> str | None:
        """The next node that is ready; it stays in the schedule until it is done. None when all wait."""
        return heapq.heappop(self._ready)[2] if self._ready else None

    def done(self, node: str) -> None:
        """Take a node out and free those that waited for it."""
        del self._needs[node]
        for follower in self._followers.pop(node, ()):
            self._needs[follower].discard(node)
            if not self._needs[follower]:
                heapq.heappush(self._ready, (*self._ranks[follower], follower))

    def circle(self) -> list[str]:
        """Nodes that wait for one another, in order; [] when there are none."""
        for start in self._needs:
            path, place = [start], {start: 0}
            while needs := self._needs[path[-1]]:
                following = min(needs)
                if following in place:
                    return path[place[following] :]
                place[following] = len(path)
                path.append(following)
        return []
