"""Calling a node: once per slice of its lists, round blockers, and awaiting what is asynchronous."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from .declarations import Declaration
from .graph import is_link

Inputs = Mapping[str, Sequence[Any]]


class ExecutionBlocker:
    """A value that stops every call it goes into. `message` is told once; None blocks in silence."""

    def __init__(self, message: str | None = None) -> None:
        self.message = message


def is_blocker(value: Any) -> bool:
    """Whether a value blocks; classes of that name from elsewhere count."""
    return isinstance(value, ExecutionBlocker) or type(value).__name__ == "ExecutionBlocker"


def slices(inputs: Inputs, takes_lists: bool) -> Iterator[dict[str, Any]]:
    """The keyword arguments of each call: as many calls as the longest list has values; short ones repeat their last.

    A node that takes lists is called once with all of them; without any value there is one call with no arguments.
    """
    if takes_lists:
        yield dict(inputs)
        return
    count = max((len(values) for values in inputs.values()), default=0)
    if not count:
        yield {}
    for name, values in inputs.items():
        if count and not values:
            raise ValueError(f"input {name!r} got an empty list, while others have values")
    for i in range(count):
        yield {name: values[min(i, len(values) - 1)] for name, values in inputs.items()}


def blocker_in(arguments: Mapping[str, Any], takes_lists: bool) -> Any:
    """The first blocker among the arguments, looked for inside them when they are lists; None without one."""
    for value in arguments.values():
        for one in value if takes_lists else (value,):
            if is_blocker(one):
                return one
    return None


def call(
    function: Callable[..., Any],
    inputs: Inputs,
    takes_lists: bool,
    waiting: Waiting,
    before: Callable[[int], None] = lambda index: None,
    blocked: Callable[[Any], Any] = lambda blocker: blocker,
    into: list[Any] | None = None,
) -> list[Any]:
    """What each call returns: a value, a task still under way, or what `blocked` makes of a blocker in its way.

    It is put into the list `into` as it comes, so that a call that fails does not take the earlier ones with it.
    """
    returned: list[Any] = [] if into is None else into
    for index, arguments in enumerate(slices(inputs, takes_lists)):
        blocker = blocker_in(arguments, takes_lists)
        if blocker is not None:
            returned.append(blocked(blocker))
            continue
        before(index)
        value = function(**arguments)
        returned.append(waiting.start(value) if inspect.iscoroutine(value) else value)
    return returned


def call_now(function: Callable[..., Any], inputs: Inputs, takes_lists: bool, waiting: Waiting) -> list[Any]:
    """The same, with tasks awaited."""
    returned = call(function, inputs, takes_lists, waiting)
    waiting.finish(returned)
    return results_of(returned)


def results_of(returned: Sequence[Any]) -> list[Any]:
    """Returned values with finished tasks replaced by their results; a failed task raises."""
    return [r.result() if isinstance(r, asyncio.Task) else r for r in returned]


def under_way(returned: Sequence[Any]) -> list[asyncio.Task[Any]]:
    """The tasks among returned values that have not ended."""
    return [r for r in returned if isinstance(r, asyncio.Task) and not r.done()]


class Waiting:
    """The event loop of one run, made when the first asynchronous function is called."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, coroutine: Any) -> asyncio.Task[Any]:
        """Begin a coroutine: it runs to its first wait."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        task = self._loop.create_task(coroutine)
        self._loop.run_until_complete(asyncio.sleep(0))
        return task

    def any_of(self, tasks: Sequence[asyncio.Task[Any]]) -> None:
        """Wait until one of the tasks has ended."""
        if self._loop is not None and tasks:
            self._loop.run_until_complete(asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED))

    def finish(self, returned: Sequence[Any]) -> None:
        """Wait until none of the returned values is under way."""
        while tasks := under_way(returned):
            self.any_of(tasks)

    def close(self) -> None:
        """Cancel what is still under way."""
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
    """What the calls of one node returned, sorted: UI output, and results with the graphs they stand for."""

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
            wanted = f"a tuple of {len(self._declared.outputs)}"
            raise TypeError(f"{self._declared.cls.FUNCTION}() returned {type(value).__name__}, expected {wanted}")
        return value

    @property
    def graphs(self) -> list[Mapping[str, Any]]:
        """The graphs that the node expands into."""
        return [graph for graph, _ in self.parts if graph is not None]

    @property
    def links(self) -> list[tuple[str, int]]:
        """The outputs of those graphs that stand for outputs of the node."""
        return [(r[0], int(r[1])) for graph, results in self.parts if graph is not None for r in results if is_link(r)]

    def outputs(self, output_of: Callable[[str, int], Sequence[Any]]) -> list[list[Any]]:
        """Every output as one list over the calls: appended, or extended where the class declares a list."""
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
