"""Places for the nodes of a graph on ComfyUI's canvas, so that wires run from left to right and not behind nodes.

A node's column is its distance from the end of the graph. Nodes of one role lie together in a block, blocks are packed
below and beside each other, and a hill climb over the order of blocks and nodes keeps wires in the open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import chain, combinations, product

COLUMN_WIDTH, NODE_WIDTH = 400, 300
TITLE_HEIGHT, BADGE_HEIGHT = 30, 24  # above a node's position, and below it where a file is missing
NODE_GAP, BLOCK_GAP = 40, 130  # beside titles, between nodes and between blocks, which have frames and titles too
SLOT_HEIGHT, FIRST_SLOT = 20, 14
SPACES = (0, 60, 120, 240, 360, 480)
HIDDEN, CLIMB = 2500, 10  # cost of a wire behind a node, in units of height; units of climb that cost one unit
SAMPLES = 24  # points of a wire that are checked

Place = tuple[int, int]
"""x, y of a node's upper left corner, below its title."""


@dataclass(frozen=True)
class Box:
    """A node to place: its height without the title, and its role, which names the block that it lies in."""

    height: int
    role: str


@dataclass(frozen=True)
class Wire:
    """From output `slot` of a node to input `target_slot` of another, both counted from the top."""

    source: str
    slot: int
    target: str
    target_slot: int


@dataclass(frozen=True)
class Stacks:
    """An arrangement without coordinates: the roles and each column's nodes from top to bottom, and the space that is
    left free above a node for wires."""

    roles: tuple[str, ...]
    columns: tuple[tuple[str, ...], ...]
    space: Mapping[str, int] = field(default_factory=dict)


Move = Callable[[Stacks], Stacks]
Hides = Callable[[Place, Place, int], bool]
"""(end of a wire from 0, 0; place of a node; its height) -> whether the wire comes behind the node."""


def arrange(boxes: Mapping[str, Box], wires: Sequence[Wire], roles: Sequence[str]) -> dict[str, Place]:
    """Find a place for every node. `roles`: all roles, in their initial order."""
    best = initial_arrangement(boxes, wires, roles)
    known = cache(crosses)  # most of the wires of a candidate run as they did before
    cost = cost_of(packed(best, boxes), boxes, wires, known)
    improved = True
    while improved:
        improved = False
        for move in moves(best):
            candidate = move(best)
            price = cost_of(packed(candidate, boxes), boxes, wires, known)
            if price < cost:
                best, cost, improved = candidate, price, True
    return packed(best, boxes)


def initial_arrangement(boxes: Mapping[str, Box], wires: Sequence[Wire], roles: Sequence[str]) -> Stacks:
    """The initial arrangement: every column's nodes in the order of their roles."""
    columns = columns_of(boxes, wires)
    order = sorted(boxes, key=lambda node: roles.index(boxes[node].role))
    return Stacks(
        tuple(role for role in roles if any(box.role == role for box in boxes.values())),
        tuple(tuple(n for n in order if columns[n] == column) for column in range(max(columns.values()) + 1)),
    )


def columns_of(boxes: Mapping[str, Box], wires: Sequence[Wire]) -> dict[str, int]:
    """The column of each node: the longest path from it to the end of the graph, counted from the right."""
    followers: dict[str, set[str]] = {node: set() for node in boxes}
    for wire in wires:
        followers[wire.source].add(wire.target)
    distance: dict[str, int] = {}

    def to_the_end(node: str) -> int:
        if node not in distance:
            distance[node] = 1 + max(map(to_the_end, followers[node]), default=-1)
        return distance[node]

    last = max(map(to_the_end, boxes), default=0)
    return {node: last - distance[node] for node in boxes}


def packed(stacks: Stacks, boxes: Mapping[str, Box]) -> dict[str, Place]:
    """Coordinates: each block as high as it can lie below those that stand before it in its columns."""
    floor = [0] * len(stacks.columns)
    places: dict[str, Place] = {}
    for role in stacks.roles:
        members = [[n for n in column if boxes[n].role == role] for column in stacks.columns]
        used = [column for column, nodes in enumerate(members) if nodes]
        span = range(used[0], used[-1] + 1)
        top = max(floor[column] for column in span)
        bottom = top
        for column in used:
            y = top
            for node in members[column]:
                y += stacks.space.get(node, 0)
                places[node] = (column * COLUMN_WIDTH, y)
                y += boxes[node].height + TITLE_HEIGHT + NODE_GAP
            bottom = max(bottom, y)
        for column in span:
            floor[column] = bottom + BLOCK_GAP - NODE_GAP
    return places


def moves(stacks: Stacks) -> Iterator[Move]:
    """All single changes: two roles or two nodes of a column change places, or a node gets other space above it."""
    for i, j in combinations(range(len(stacks.roles)), 2):
        yield partial(_exchange_roles, i, j)
    for number, column in enumerate(stacks.columns):
        for i, j in combinations(range(len(column)), 2):
            yield partial(_exchange_nodes, number, i, j)
    for node, space in product(chain.from_iterable(stacks.columns), SPACES):
        yield partial(_leave_space, node, space)


def _exchange_roles(i: int, j: int, stacks: Stacks) -> Stacks:
    return replace(stacks, roles=swapped(stacks.roles, i, j))


def _exchange_nodes(number: int, i: int, j: int, stacks: Stacks) -> Stacks:
    column = swapped(stacks.columns[number], i, j)
    return replace(stacks, columns=(*stacks.columns[:number], column, *stacks.columns[number + 1 :]))


def _leave_space(node: str, space: int, stacks: Stacks) -> Stacks:
    return replace(stacks, space={**stacks.space, node: space})


def swapped(values: tuple[str, ...], i: int, j: int) -> tuple[str, ...]:
    """The values with two of them exchanged."""
    changed = list(values)
    changed[i], changed[j] = changed[j], changed[i]
    return tuple(changed)


def cost_of(places: Mapping[str, Place], boxes: Mapping[str, Box], wires: Sequence[Wire], hides: Hides) -> float:
    """Wires behind nodes count most, then the height of the whole, then the length of wires."""
    hidden = sum(len(behind(wire, places, boxes, hides)) for wire in wires)
    height = max(places[node][1] + boxes[node].height for node in boxes)
    climb = sum(abs(start[1] - end[1]) for start, end in (ends(wire, places) for wire in wires))
    return HIDDEN * hidden + height + climb / CLIMB


def crosses(end: Place, place: Place, height: int) -> bool:
    """True if the wire from 0, 0 to `end` comes behind the node, or its title, at `place`."""
    left, top = place
    return any(left < x < left + NODE_WIDTH and top - TITLE_HEIGHT < y < top + height for x, y in curve(end))


def behind(wire: Wire, places: Mapping[str, Place], boxes: Mapping[str, Box], hides: Hides = crosses) -> list[str]:
    """The nodes that a wire runs behind."""
    (x0, y0), (x3, y3) = ends(wire, places)
    high, low = sorted((y0, y3))
    return [
        node
        for node, (x, y) in places.items()
        if x0 < x + NODE_WIDTH and x < x3 and y - TITLE_HEIGHT < low and high < y + boxes[node].height
        if hides((x3 - x0, y3 - y0), (x - x0, y - y0), boxes[node].height)
    ]


def ends(wire: Wire, places: Mapping[str, Place]) -> tuple[Place, Place]:
    """The two ends of a wire."""
    (x, y), (target_x, target_y) = places[wire.source], places[wire.target]
    return (
        (x + NODE_WIDTH, y + FIRST_SLOT + SLOT_HEIGHT * wire.slot),
        (target_x, target_y + FIRST_SLOT + SLOT_HEIGHT * wire.target_slot),
    )


def curve(end: Place) -> list[tuple[float, float]]:
    """Points of the cubic Bézier curve that the page draws from 0, 0: a quarter of the distance straight on at both
    ends."""
    x3, y3 = end
    reach = (x3**2 + y3**2) ** 0.5 / 4
    points = []
    for step in range(1, SAMPLES):
        t = step / SAMPLES
        b, c, d = 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3
        points.append((b * reach + c * (x3 - reach) + d * x3, (c + d) * y3))
    return points
