"""Validates a graph before anything runs: one error with a sentence for each invalid input."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...pipelines.errors import BadGraph, did_you_mean
from .calls import TaskLoop, call_and_wait, is_blocker
from .declarations import Declaration, Input, Registry, constants_of
from .graph import ApiGraph, links_of
from .values import InvalidInput, check_value, convert, error_text, expected

NodeCopy = dict[str, Any]


@dataclass(frozen=True)
class Problem:
    """One problem as a full sentence, with the node and input where there is one."""

    sentence: str
    node_id: str = ""
    class_type: str = ""
    input: str = ""

    def __str__(self) -> str:
        at = f"node {self.node_id} ({self.class_type})" if self.class_type else f"node {self.node_id}"
        return f"{at}: {self.sentence}" if self.node_id else self.sentence


class InvalidGraph(BadGraph):
    """A workflow with its problems, each a sentence."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        lines = [str(problem) for problem in problems]
        many = "\n".join([f"the workflow has {len(lines)} problems:", *(f"- {line}" for line in lines)])
        super().__init__(lines[0] if len(lines) == 1 else many)


@dataclass(frozen=True)
class Checked:
    """A graph that can run, a copy with constants converted, and the nodes to run it for."""

    graph: dict[str, NodeCopy]
    targets: list[str]


def validate(graph: ApiGraph, registry: Registry, targets: Collection[str] | None = None) -> Checked:
    """Return the graph with its constants converted, and its targets (default: all output nodes).

    Only nodes that the targets depend on are validated, but every class must exist. Raises InvalidGraph with all
    problems at once.
    """
    copies = _copied(graph, registry)
    chosen = _targets(copies, registry, targets)
    loop = TaskLoop()
    try:
        check = _Check(copies, registry, loop)
        problems = [p for node_id in _reached(copies, chosen) for p in check.node(node_id)]
        problems += _cycle(copies, chosen)
    finally:
        loop.close()
    if problems:
        raise InvalidGraph(problems)
    return Checked(copies, chosen)


def _copied(graph: ApiGraph, registry: Registry) -> dict[str, NodeCopy]:
    if not isinstance(graph, Mapping) or not graph:
        raise InvalidGraph([Problem("the workflow is empty; it maps node ids to nodes")])
    copies: dict[str, NodeCopy] = {}
    problems: list[Problem] = []
    for node_id, node in graph.items():
        class_type = node.get("class_type") if isinstance(node, Mapping) else None
        if not isinstance(node, Mapping) or not isinstance(class_type, str):
            problems.append(Problem("it has no class_type; every node of an API workflow names its class", node_id))
        elif class_type not in registry:
            near = did_you_mean(class_type, registry.classes)
            remedy = "run this workflow in ComfyUI with the pack that has it, or load that pack with --nodes FOLDER"
            problems.append(Problem(f"{class_type!r} is not part of this pack{near}; {remedy}", node_id))
        elif not isinstance(node.get("inputs", {}), Mapping):
            problems.append(Problem("its inputs are not a mapping of names to values", node_id, class_type))
        else:
            copies[node_id] = {**node, "inputs": dict(node.get("inputs", {}))}
    if problems:
        raise InvalidGraph(problems)
    return copies


def _targets(graph: ApiGraph, registry: Registry, targets: Collection[str] | None) -> list[str]:
    if targets is None:
        chosen = [node_id for node_id, node in graph.items() if registry[node["class_type"]].is_output]
    else:
        chosen = list(dict.fromkeys(targets))
    unknown = [
        Problem(f"target {t!r} is not in the workflow{did_you_mean(t, graph)}") for t in chosen if t not in graph
    ]
    if unknown:
        raise InvalidGraph(unknown)
    if not chosen:
        remedy = "add a node that saves or shows its result" if targets is None else "name at least one"
        raise InvalidGraph([Problem(f"the workflow has no target to run; {remedy}")])
    return chosen


def _reached(graph: ApiGraph, targets: Sequence[str]) -> list[str]:
    """Return the targets and everything that they depend on, in the order of the graph."""
    reached = set(targets)
    stack = list(targets)
    while stack:
        for link in links_of(graph[stack.pop()]):
            if link.source in graph and link.source not in reached:
                reached.add(link.source)
                stack.append(link.source)
    return [node_id for node_id in graph if node_id in reached]


def _cycle(graph: ApiGraph, targets: Sequence[str]) -> list[Problem]:
    """Return the first cycle of links that the targets depend on."""
    finished: set[str] = set()
    for target in targets:
        path: dict[str, list[str]] = {target: _sources(graph, target)}
        while path:
            here, sources = next(reversed(path.items()))
            if not sources:
                finished.add(here)
                del path[here]
                continue
            source = sources.pop()
            if source in path:
                ids = list(path)
                cycle = [*ids[ids.index(source) :], source]
                names = " -> ".join(f"{node_id} ({graph[node_id]['class_type']})" for node_id in reversed(cycle))
                return [Problem(f"the workflow contains a cycle: {names}; cut one of these links")]
            if source not in finished:
                path[source] = _sources(graph, source)
    return []


def _sources(graph: ApiGraph, node_id: str) -> list[str]:
    return [link.source for link in links_of(graph[node_id]) if link.source in graph]


class _Check:
    """The checks of single nodes, in one graph."""

    def __init__(self, graph: dict[str, NodeCopy], registry: Registry, loop: TaskLoop) -> None:
        self.graph = graph
        self.registry = registry
        self.loop = loop

    def node(self, node_id: str) -> list[Problem]:
        """Return the problems of one node; its constants are converted in place."""
        name = self.graph[node_id]["class_type"]
        declared = self.registry[name]
        try:
            visible = declared.visible
        except Exception as error:
            return [Problem(f"INPUT_TYPES failed: {error_text(error)}", node_id, name)]
        own, keywords = _parameters(declared)
        received: dict[str, Any] = {}
        problems = []
        for info in visible:
            checks_itself = keywords or info.name in own
            try:
                self._input(node_id, info, checks_itself, "input_types" in own, received)
            except InvalidInput as invalid:
                problems.append(Problem(str(invalid), node_id, name, info.name))
        for link in links_of(self.graph[node_id]):
            if link.name not in declared.inputs and link.source not in self.graph:
                problems.append(Problem(str(self._no_source(link.name, link.source)), node_id, name, link.name))
        if not problems and (own or keywords):
            problems += self._own_check(node_id, declared, own, keywords, received)
        return problems

    def _input(self, node_id: str, info: Input, checks_itself: bool, any_type: bool, received: dict[str, Any]) -> None:
        inputs = self.graph[node_id]["inputs"]
        if info.name not in inputs:
            if info.group == "required":
                others = [n for n in inputs if n not in self.registry[self.graph[node_id]["class_type"]].inputs]
                raise InvalidInput(
                    f"input {info.name!r} is missing{did_you_mean_one_of(info.name, others)}; {expected(info)}"
                )
        elif isinstance(inputs[info.name], list):
            received[info.name] = self._link(info, inputs[info.name], any_type)
        else:
            inputs[info.name] = convert(info, inputs[info.name])
            if not checks_itself:
                check_value(info, inputs[info.name])

    def _link(self, info: Input, value: list[Any], any_type: bool) -> Any:
        """Return the type that a linked input receives."""
        if len(value) != 2 or not isinstance(value[0], str) or type(value[1]) is not int:
            raise InvalidInput(
                f'input {info.name!r} = {value!r} is not a link; a link is written ["node id", output number], '
                'a list as a value {"__value__": […]}'
            )
        source, slot = value
        if source not in self.graph:
            raise self._no_source(info.name, source)
        declared = self.registry[self.graph[source]["class_type"]]
        outputs = ", ".join(f"{i} ({_type(t)})" for i, t in enumerate(declared.outputs)) or "none"
        if not 0 <= slot < len(declared.outputs):
            raise InvalidInput(
                f"input {info.name!r} is linked to output {slot} of node {source} ({declared.name}), "
                f"whose outputs are: {outputs}; link one of them"
            )
        output = declared.outputs[slot]
        if not any_type and not types_match(output, info.type):
            raise InvalidInput(
                f"input {info.name!r} takes {_type(info.type)}, but output {slot} of node {source} ({declared.name}) "
                f"is {_type(output)}; {expected(info)}"
            )
        return output

    def _no_source(self, name: str, source: str) -> InvalidInput:
        near = did_you_mean(source, self.graph)
        return InvalidInput(
            f"input {name!r} is linked to node {source!r}, which is not in the workflow{near}; link it to another node"
        )

    def _own_check(
        self, node_id: str, declared: Declaration, own: Collection[str], keywords: bool, received: dict[str, Any]
    ) -> list[Problem]:
        """Call the class's VALIDATE_INPUTS with the constants, and None for linked inputs."""
        known = constants_of(self.graph[node_id], node_id, declared)
        inputs = {name: values for name, values in known.items() if keywords or name in own}
        if "input_types" in own:
            inputs["input_types"] = [received]
        try:
            results = call_and_wait(declared.cls.VALIDATE_INPUTS, inputs, declared.takes_lists, self.loop)
        except Exception as error:
            return [Problem(f"VALIDATE_INPUTS failed: {error_text(error)}", node_id, declared.name)]
        invalid = [result for result in results if result is not True and not is_blocker(result)]
        reasons = dict.fromkeys(_refused(inputs) if result is False else str(result) for result in invalid)
        return [Problem(sentence, node_id, declared.name) for sentence in reasons]


def _parameters(declared: Declaration) -> tuple[Collection[str], bool]:
    """Return the parameter names of the class's VALIDATE_INPUTS, and whether it takes any keyword."""
    function = getattr(declared.cls, "VALIDATE_INPUTS", None)
    if function is None:
        return (), False
    spec = inspect.getfullargspec(function)
    return [*spec.args, *spec.kwonlyargs], spec.varkw is not None


def _refused(inputs: Mapping[str, Sequence[Any]]) -> str:
    values = ", ".join(f"{name} = {values[0]!r}" for name, values in inputs.items())
    return f"it rejects its inputs ({values}); see the node's help for the values that it accepts"


def did_you_mean_one_of(name: str, others: Collection[str]) -> str:
    """Return a hint such as " (is 'sed' a misspelling of it?)" if an undeclared input has nearly that name."""
    near = [other for other in others if did_you_mean(name, [other])]
    return f" (is {near[0]!r} a misspelling of it?)" if near else ""


def types_match(given: Any, declared: Any) -> bool:
    """Return whether an output of one type can be linked to an input of another: equal, or one name in common.

    Uses `!=`, which wildcard types override.
    """
    if given != declared:
        if not isinstance(given, str) or not isinstance(declared, str):
            return False
        return not {t.strip() for t in given.split(",")}.isdisjoint(t.strip() for t in declared.split(","))
    return True


def _type(declared: Any) -> str:
    return str(declared) if isinstance(declared, str) else "one of " + ", ".join(map(str, declared))
