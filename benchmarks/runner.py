"""The time that the runner adds to each node: a chain of nodes that do nothing, run as a graph and called by hand.

    python benchmarks/runner.py [--nodes 300] [--rounds 7]

A full run checks the graph, orders it, calls the nodes and keeps their results; a second run finds all of them.
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

import torch
from fooocus_stages.serving.engine.runner import Runner
from timing import Stopwatch, machine, table


class Pass:
    """A node that gives its number on."""

    FUNCTION = "run"
    CATEGORY = "benchmark"
    RETURN_TYPES = ("INT",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"number": ("INT", {"default": 0}), "step": ("INT", {"default": 1, "min": 0, "max": 9})}}

    def run(self, number: int, step: int) -> tuple[int]:
        return (number + step,)


class Show(Pass):
    """The node that a run is for."""

    OUTPUT_NODE = True


REGISTRY: dict[str, type[Any]] = {"Pass": Pass, "Show": Show}
WATCH: Stopwatch = Stopwatch(torch.device("cpu"))


def chain(length: int) -> dict[str, Any]:
    """`length` nodes, each fed by the one before it, in API form."""
    nodes: dict[str, Any] = {"0": {"class_type": "Pass", "inputs": {"number": 0, "step": 1}}}
    for i in range(1, length):
        kind = "Show" if i == length - 1 else "Pass"
        nodes[str(i)] = {"class_type": kind, "inputs": {"number": [str(i - 1), 0], "step": 1}}
    return nodes


def by_hand(length: int) -> int:
    """The result of the chain."""
    number = 0
    for _ in range(length):
        (number,) = Pass().run(number, 1)
    return number


def milliseconds_a_node(length: int, again: bool) -> float:
    """Of a run over the chain: the first, or the second one, that finds every result."""
    runner, graph = Runner(REGISTRY), chain(length)
    first = WATCH.seconds(lambda: runner.run(graph))
    return (WATCH.seconds(lambda: runner.run(graph)) if again else first) * 1000 / length


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--nodes", type=int, default=300)
    options.add_argument("--rounds", type=int, default=7)
    given = options.parse_args()
    print(machine())
    rows: list[tuple[str, object]] = []
    for length in (max(2, given.nodes // 10), given.nodes):
        for what, again in (("first run", False), ("second run", True)):
            found = sorted(milliseconds_a_node(length, again) for _ in range(given.rounds))
            by = WATCH.seconds(lambda length=length: by_hand(length)) * 1000 / length
            middle = statistics.median(found)
            spread = f"({found[0]:.3f} … {found[-1]:.3f})"
            rows.append((f"{length} nodes, {what}", f"{middle:.3f} ms a node {spread}, {middle / by:.0f} × by hand"))
    print(table(rows))


if __name__ == "__main__":
    main()
