"""Calls a node: once per slice of its lists, skipping blocked calls and awaiting coroutines."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from .declarations import Declaration
from .graph import is_link

Inputs = Mapping[str, Sequence[Any]]


class ExecutionBlocker:
    """A value that blocks every call that receives it. `message` is reported once; None blocks silently."""

    def __init__(self, message: str | None = None) -> None:
        self.message = message


def is_blocker(value: Any) -> bool:
    """Return whether a value is a blocker; classes named ExecutionBlocker from other packs count."""
    return isinstance(value, ExecutionBlocker) or type(value).__name__ == "ExecutionBlocker"


def slices(inputs: Inputs, takes_lists: bool) -> Iterator[dict[str, Any]]:
    """Yield the keyword arguments of each call: as many as the longest list has values; shorter ones repeat their last.

    A node that takes lists is called once with whole lists. Without any inputs there is one call without arguments.
    Raises ValueError for an empty list beside others with values.
    """
    if takes_lists:
        yield dict(inputs)
        return
    count = max((len(values) for values in inputs.values()), default=0)
    if not count:
        yield {}
    for name, values in inputs.items():
        if count and not values:
            raise ValueError(f"input {name!r} received an empty list while other inputs have values")
    for i in range(count):
        yield {name: values[min(i, len(values) - 1)] for name, values in inputs.items()}


def blocker_in(arguments: Mapping[str, Any], takes_lists: bool) -> Any:
    """Return the first blocker among the arguments, or inside them if they are lists; None without one."""
    for value in arguments.values():
        for one in value if takes_lists else (value,):
            if is_blocker(one):
                return one
    return None


def call(
    function: Callable[..., Any],
    inputs: Inputs,
    takes_lists: bool,
    loop: TaskLoop,
    on_call: Callable[[int], None] = lambda index: None,
    on_blocked: Callable[[Any], Any] = lambda blocker: blocker,
    into: list[Any] | None = None,
) -> list[Any]:
    """Call a function once per slice and return the results: values, asyncio tasks, or what `on_blocked` returns.

    Results are appended to the list `into` as they arrive, so that a call that fails leaves the earlier ones there.
    """
    returned: list[Any] = [] if into is None else into
    for index, arguments in enumerate(slices(inputs, takes_lists)):
        blocker = blocker_in(arguments, takes_lists)
        if blocker is not None:
            returned.append(on_blocked(blocker))
            continue
        on_call(index)
        value = function(**arguments)
        returned.append(loop.create_task(value) if inspect.iscoroutine(value) else value)
    return returned


def call_and_wait(function: Callable[..., Any], inputs: Inputs, takes_lists: bool, loop: TaskLoop) -> list[Any]:
    """Call a function once per slice and return the values, with all tasks awaited."""
    returned = call(function, inputs, takes_lists, loop)
    loop.wait_all(returned)
    return task_results(returned)


def task_results(returned: Sequence[Any]) -> list[Any]:
    """Replace finished tasks by their results; a failed task raises its exception."""
    return [r.result() if isinstance(r, asyncio.Task) else r for r in returned]


def pending_tasks(returned: Sequence[Any]) -> list[asyncio.Task[Any]]:
    """Return the asyncio tasks among returned values that are not done."""
    return [r for r in returned if isinstance(r, asyncio.Task) and not r.done()]


class TaskLoop:
    """The asyncio event loop of one run, created when the first coroutine function is called."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def create_task(self, coroutine: Any) -> asyncio.Task[Any]:
        """Create a task for a coroutine and run it to its first await."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        task = self._loop.create_task(coroutine)
        self._loop.run_until_complete(asyncio.sleep(0))
        return task

    def wait_any(self, tasks: Sequence[asyncio.Task[Any]]) -> None:
        """Wait until at least one of the tasks is done."""
        if self._loop is not None and tasks:
            self._loop.run_until_complete(asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED))

    def wait_all(self, returned: Sequence[Any]) -> None:
        """Wait until all tasks among the returned values are done."""
        while tasks := pending_tasks(returned):
            self.wait_any(tasks)

    def close(self) -> None:
        """Cancel the remaining tasks and close the loop."""
        if self._loop is None:
            return
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self._loop.run_until_complete(asyncio.wait(tasks))
        self._loop.close()
        self._loop = None


class Returned:
    """The results of the calls of one node: UI outputs, and output values with the graphs that they expand into."""

    def __init__(self, values: Sequence[Any], declared: Declaration) -> None:
        self.ui: dict[str, list[Any]] = {}
        self.parts: list[tuple[Mapping[str, Any] | None, Sequence[Any]]] = []
        self._declared = declared
        for value in values:
            if isinstance(value, dict):
                for key, shown in value.get("ui", {}).items():
                    self.ui.setdefault(key, []).extend(shown)
                if "expand" in value or "result" in value:
                    self.parts.append((value.get("expand"), self._results(value.get("result"))))
            elif value is not None:
                self.parts.append((None, self._results(value)))

    def _results(self, value: Any) -> Sequence[Any]:
        if is_blocker(value):
            return (value,) * len(self._declared.outputs)
        if value is None:
            return ()
        if not isinstance(value, (tuple, list)):
            form = f"a tuple of {len(self._declared.outputs)}"
            raise TypeError(f"{self._declared.cls.FUNCTION}() returned {type(value).__name__}, expected {form}")
        return value

    @property
    def graphs(self) -> list[Mapping[str, Any]]:
        """The graphs that the node expands into."""
        return [graph for graph, _ in self.parts if graph is not None]

    @property
    def links(self) -> list[tuple[str, int]]:
        """The (node id, slot) of the expanded graphs that the node's outputs are taken from."""
        return [(r[0], int(r[1])) for graph, results in self.parts if graph is not None for r in results if is_link(r)]

    def outputs(self, output_of: Callable[[str, int], Sequence[Any]]) -> list[list[Any]]:
        """Merge the calls into one list per output; outputs declared as lists are concatenated."""
        count = len(self.parts[0][1]) if self.parts else 0
        merged: list[list[Any]] = [[] for _ in range(count)]
        lists = self._declared.list_outputs
        for graph, results in self.parts:
            for i in range(count):
                value = results[i]
                if graph is not None and is_link(value):
                    merged[i].extend(output_of(value[0], int(value[1])))
                elif i < len(lists) and lists[i] and not is_blocker(value):
                    merged[i].extend(value)
                else:
                    merged[i].append(value)
        return merged
