"""Runs graphs in API form without ComfyUI, by its rules for order, lists, lazy inputs, blockers and caching."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ...pipelines.errors import Interrupted, UserError
from .cache import Cache, Entry, Signatures
from .calls import Returned, TaskLoop, call, call_and_wait, pending_tasks, task_results
from .declarations import Declaration, Registry, constants_of
from .graph import ApiGraph, GrowingGraph, links_of
from .results import CircularExpansion, Event, EventKind, NodeError, NodeUserError, Results
from .schedule import FAR, Schedule
from .validate import validate
from .values import comfyui_module, error_text


class Runner:
    """Runs graphs of the node classes in `registry`, and caches results and instances between runs.

    `on_event` is called with every event; its exceptions end the run, and `Interrupted` is passed through.
    `results` are those of the latest run so far, also after a failure.
    """

    def __init__(self, registry: Mapping[str, type[Any]], on_event: Callable[[Event], None] | None = None) -> None:
        self.classes = registry
        self.on_event = on_event
        self.cache = Cache()
        self.results = Results()

    def run(
        self,
        graph: ApiGraph,
        targets: Collection[str] | None = None,
        extra_pnginfo: Mapping[str, Any] | None = None,
        outputs: Collection[str] = (),
    ) -> Results:
        """Run the targets (default: all output nodes) and what they depend on; the graph itself is not changed.

        `outputs`: ids of the nodes whose output values `Results.outputs` shall hold. Raises BadGraph with every invalid
        input before anything runs, NodeError, and NodeUserError for an error that the user can fix.
        """
        registry = Registry(self.classes)
        self.results = Results()
        checked = validate(graph, registry, targets)
        return _Run(self, registry, checked.graph, extra_pnginfo, outputs).run(checked.targets)

    def notice(self, text: str) -> None:
        """Record a notice in the results of the current run, once; hosts pass theirs on."""
        if text not in self.results.notices:
            self.results.notices.append(text)


class _Run:
    """The state of one run: the growing graph, the schedule, and the finished nodes."""

    def __init__(
        self,
        runner: Runner,
        registry: Registry,
        graph: ApiGraph,
        extra_pnginfo: Mapping[str, Any] | None,
        output_ids: Collection[str],
    ) -> None:
        self.on_event = runner.on_event
        self.cache = runner.cache
        self.registry = registry
        self.graph = GrowingGraph(graph)
        self.extra_pnginfo = extra_pnginfo
        self.output_ids = output_ids
        self.loop = TaskLoop()
        self.signatures = Signatures(self.graph, registry, self.loop)
        self.schedule = Schedule()
        self.finished: dict[str, Entry] = {}
        self.running: dict[str, list[Any]] = {}
        self.expanding: dict[str, Returned] = {}
        self.cached: dict[str, bool] = {}
        self.results = runner.results

    def run(self, targets: Sequence[str]) -> Results:
        try:
            with _inference_mode():
                self._find_cached()
                for target in targets:
                    self._schedule(target, 0)
            while self.schedule:
                self._advance()
        finally:
            self._record_unfinished()
            self.results.cached = list(self.cached)
            self.loop.close()
        return self.results

    def _find_cached(self) -> None:
        nodes = self.graph.original
        keys = {(node_id, node["class_type"]): self.signatures.of(node_id) for node_id, node in nodes.items()}
        self.cache.keep(keys)
        for (node_id, _), key in keys.items():
            if self.cache.get(key) is not None:
                self.cached[node_id] = True

    def _declared(self, node_id: str) -> Declaration:
        if not self.graph.has_node(node_id):
            raise UserError(f"the expansion has a link to node {node_id!r}, which is not in the workflow")
        name = self.graph.get_node(node_id)["class_type"]
        if name not in self.registry:
            raise UserError(f"the expansion contains a node {name!r}, which does not exist")
        return self.registry[name]

    def _schedule(self, target: str, rank: int) -> None:
        """Schedule a node and its dependencies, except those that are finished or cached."""
        added: list[str] = []
        stack = [(target, rank)]
        while stack:
            node_id, rank = stack.pop()
            if node_id in self.finished or node_id in self.schedule or self._use_cached(node_id):
                continue
            declared = self._declared(node_id)
            first = 0 if declared.is_output or declared.is_async else rank
            self.schedule.add(node_id, first)
            added.append(node_id)
            stack += [(source, min(first, rank) + 1) for source in reversed(self._needs(node_id, declared))]
        for node_id in added:
            needs = self._needs(node_id, self._declared(node_id))
            self.schedule.wait(node_id, [need for need in needs if need in self.schedule])

    def _needs(self, node_id: str, declared: Declaration) -> list[str]:
        links = links_of(self.graph.get_node(node_id))
        lazy = {info.name for info in declared.visible if info.lazy}
        return [link.source for link in links if link.name not in lazy]

    def _use_cached(self, node_id: str) -> bool:
        entry = self.cache.get(self.signatures.of(node_id))
        if entry is None:
            return False
        self.cached[node_id] = True
        self._emit("cached", node_id)
        self._record(node_id, entry)
        return True

    def _advance(self) -> None:
        node_id = self.schedule.take()
        if node_id is not None:
            self._with_node_error(self._start, node_id)
        elif self.running:
            self.loop.wait_any([task for returned in self.running.values() for task in pending_tasks(returned)])
        else:
            cycle = self.schedule.cycle()
            blamed = next((node for node in cycle if self.graph.get_parent_node_id(node)), cycle[0])
            self._with_node_error(self._raise_cycle, blamed)
        for ended in [node for node, returned in self.running.items() if not pending_tasks(returned)]:
            self._with_node_error(self._collect, ended)

    def _with_node_error(self, act: Callable[[str], None], node_id: str) -> None:
        """Act on a node; any exception becomes a NodeError with the node's id and class."""
        try:
            with _inference_mode():
                act(node_id)
        except (Interrupted, NodeError):
            raise
        except Exception as error:
            real = self.graph.get_real_node_id(node_id)
            by_user = isinstance(error, UserError) or comfyui_module(error)
            kind = NodeUserError if by_user else NodeError
            sentence = error_text(error)
            if node_id != real:
                sentence = f"in its part {node_id} ({self.graph.get_node(node_id)['class_type']}): {sentence}"
            raise kind(real, self.graph.get_node(real)["class_type"], sentence, self.results) from error

    def _raise_cycle(self, node_id: str) -> None:
        raise CircularExpansion("nodes wait for one another: " + " -> ".join(self.schedule.cycle()))

    def _start(self, node_id: str) -> None:
        if node_id in self.expanding:
            self._finish(node_id, self.expanding.pop(node_id))
            return
        if self._use_cached(node_id):
            self.schedule.done(node_id)
            return
        declared = self._declared(node_id)
        inputs, missing = self._gather_inputs(node_id, declared)
        instance = self.cache.instance(node_id, declared)
        requested = self._requested_inputs(instance, inputs, missing, declared)
        if requested:
            self._wait_for(node_id, [self._source(node_id, name) for name in requested])
            return
        self._emit("start", node_id)
        self.results.executed.append(node_id)
        self.running[node_id] = []
        call(
            getattr(instance, declared.cls.FUNCTION),
            inputs,
            declared.takes_lists,
            self.loop,
            on_call=lambda index: self._emit("call", node_id, index),
            on_blocked=lambda blocker: self._blocked(node_id, blocker),
            into=self.running[node_id],
        )

    def _gather_inputs(self, node_id: str, declared: Declaration) -> tuple[dict[str, Sequence[Any]], set[str]]:
        """Return every input as a list of values, and the names of those that are not known yet and hold None."""
        node = self.graph.get_node(node_id)
        inputs: dict[str, Sequence[Any]] = {}
        inputs.update(constants_of(node, node_id, declared, self.graph, self.extra_pnginfo))
        missing = set()
        for link in links_of(node):
            info = declared.inputs.get(link.name)
            if info is not None and info.options.get("rawLink"):
                continue
            entry = self.finished.get(link.source) or self.cache.get(self.signatures.of(link.source))
            if entry is None or link.slot >= len(entry.outputs):
                missing.add(link.name)
            else:
                inputs[link.name] = entry.outputs[link.slot]
        return inputs, missing

    def _requested_inputs(
        self, instance: Any, inputs: Mapping[str, Sequence[Any]], missing: set[str], declared: Declaration
    ) -> list[str]:
        function = getattr(instance, "check_lazy_status", None)
        if function is None:
            return []
        returned = call_and_wait(function, inputs, declared.takes_lists, self.loop)
        names = [name for value in returned if isinstance(value, list) for name in value]
        return list(dict.fromkeys(n for n in names if isinstance(n, str) and (n not in inputs or n in missing)))

    def _source(self, node_id: str, name: str) -> str:
        for link in links_of(self.graph.get_node(node_id)):
            if link.name == name:
                return link.source
        raise UserError(f"check_lazy_status() requests input {name!r}, which is not linked; link it")

    def _wait_for(self, node_id: str, sources: Sequence[str]) -> None:
        for source in sources:
            self._schedule(source, FAR)
        self.schedule.wait(node_id, [source for source in sources if source in self.schedule])

    def _blocked(self, node_id: str, blocker: Any) -> Any:
        if blocker.message is None:
            return blocker
        self.results.blocked[node_id] = blocker.message
        self._emit("blocked", node_id, blocker.message)
        return type(blocker)(None)

    def _collect(self, node_id: str) -> None:
        """Finish a node whose calls have all returned, or schedule the nodes that it expands into."""
        returned = Returned(task_results(self.running.pop(node_id)), self._declared(node_id))
        if not returned.graphs:
            self._finish(node_id, returned)
            return
        parts = {part: node for graph in returned.graphs for part, node in graph.items()}
        for graph in returned.graphs:
            for part, node in graph.items():
                self.graph.add(part, node, node_id)
        signed = [((part, node["class_type"]), self.signatures.of(part)) for part, node in parts.items()]
        self.cache.expanded((node_id, self._declared(node_id).name), signed)
        for part in parts:
            if self._declared(part).is_output:
                self._schedule(part, 0)
        self.expanding[node_id] = returned
        self._wait_for(node_id, [source for source, _ in returned.links])

    def _finish(self, node_id: str, returned: Returned) -> None:
        outputs = returned.outputs(lambda source, slot: self.finished[source].outputs[slot])
        entry = Entry(outputs, returned.ui)
        self.cache.put(self.signatures.of(node_id), entry)
        self.schedule.done(node_id)
        self._record(node_id, entry)
        self._emit("done", node_id, entry.ui)

    def _record(self, node_id: str, entry: Entry) -> None:
        self.finished[node_id] = entry
        if entry.ui:
            self.results.ui[node_id] = entry.ui
        if node_id in self.output_ids:
            self.results.outputs[node_id] = entry.outputs

    def _record_unfinished(self) -> None:
        """Record the UI outputs of finished calls of nodes that did not finish."""
        for node_id, values in self.running.items():
            shown: dict[str, list[Any]] = {}
            for ui in (value["ui"] for value in values if isinstance(value, dict) and "ui" in value):
                for key, more in ui.items():
                    shown.setdefault(key, []).extend(more)
            if shown:
                self.results.ui[node_id] = shown

    def _emit(self, kind: EventKind, node_id: str, detail: Any = None) -> None:
        if self.on_event is not None:
            class_type = self.graph.get_node(node_id)["class_type"]
            self.on_event(Event(kind, node_id, class_type, self.graph.get_display_node_id(node_id), detail))


def _inference_mode() -> AbstractContextManager[Any]:
    """Return torch.inference_mode() if torch is imported; the runner itself never imports it."""
    torch = sys.modules.get("torch")
    return torch.inference_mode() if torch is not None else nullcontext()
