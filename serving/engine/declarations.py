"""Reads node classes in ComfyUI's V1 form: their inputs, outputs and calling convention."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from .graph import Node, links_of

Group = Literal["required", "optional", "hidden"]


@dataclass(frozen=True)
class Input:
    """A declared input. `type` is a socket name or a list of choices; for a hidden input, the value it requests."""

    name: str
    type: Any
    options: Mapping[str, Any]
    group: Group

    @property
    def choices(self) -> Sequence[Any] | None:
        """The choices of a combo; None for other types or unknown choices."""
        if isinstance(self.type, list):
            return self.type
        return self.options.get("options") if self.type == "COMBO" else None

    @property
    def lazy(self) -> bool:
        """True if the linked node runs only when this one requests it."""
        return bool(self.options.get("lazy"))


class Declaration:
    """A node class as the server reads it. INPUT_TYPES is called once."""

    def __init__(self, name: str, cls: type[Any]) -> None:
        self.name = name
        self.cls = cls

    @cached_property
    def inputs(self) -> dict[str, Input]:
        """The declared inputs by name, in order; hidden ones last."""
        groups = self.cls.INPUT_TYPES()
        read: dict[str, Input] = {}
        for group in ("required", "optional", "hidden"):
            for name, spec in groups.get(group, {}).items():
                if group == "hidden":
                    read[name] = Input(name, spec, {}, group)
                else:
                    read[name] = Input(name, spec[0], spec[1] if len(spec) > 1 else {}, group)
        return read

    @cached_property
    def visible(self) -> list[Input]:
        """The inputs that a workflow sets."""
        return [i for i in self.inputs.values() if i.group != "hidden"]

    @cached_property
    def hidden(self) -> dict[str, str]:
        """The value that each hidden input requests."""
        return {i.name: i.type for i in self.inputs.values() if i.group == "hidden"}

    @property
    def outputs(self) -> Sequence[Any]:
        """The types of the outputs."""
        return getattr(self.cls, "RETURN_TYPES", ()) or ()

    @property
    def takes_lists(self) -> bool:
        """True if a single call receives every input as a list."""
        return bool(getattr(self.cls, "INPUT_IS_LIST", False))

    @property
    def list_outputs(self) -> Sequence[bool]:
        """For each output, True if it is a list of values."""
        return getattr(self.cls, "OUTPUT_IS_LIST", ()) or ()

    @property
    def is_output(self) -> bool:
        """True for an output node, which a run of the whole workflow executes."""
        return getattr(self.cls, "OUTPUT_NODE", False) is True

    @property
    def is_async(self) -> bool:
        """True if its function is a coroutine function, so that other nodes can run while it awaits."""
        return inspect.iscoroutinefunction(getattr(self.cls, self.cls.FUNCTION, None))

    @property
    def keeps_identity(self) -> bool:
        """True if equal nodes must not share one result."""
        return bool(getattr(self.cls, "NOT_IDEMPOTENT", False)) or "UNIQUE_ID" in self.hidden.values()


class Registry:
    """The declarations of a mapping of node classes, each read once on first use."""

    def __init__(self, classes: Mapping[str, type[Any]]) -> None:
        self.classes = classes
        self._read: dict[str, Declaration] = {}

    def __contains__(self, name: object) -> bool:
        return name in self.classes

    def __getitem__(self, name: str) -> Declaration:
        if name not in self._read:
            self._read[name] = Declaration(name, self.classes[name])
        return self._read[name]


def constants_of(
    node: Node, node_id: str, declared: Declaration, graph: Any = None, extra_pnginfo: Any = None
) -> dict[str, list[Any]]:
    """Return the inputs that are known before anything runs, each as a list of one value; None stands for a link."""
    inputs: dict[str, list[Any]] = {}
    linked = {link.name for link in links_of(node)}
    for name, value in node.get("inputs", {}).items():
        info = declared.inputs.get(name)
        if name in linked and not (info and info.options.get("rawLink")):
            inputs[name] = [None]
        elif info is not None:
            inputs[name] = [value]
    known = {
        "PROMPT": graph.get_original_prompt() if graph is not None else {},
        "DYNPROMPT": graph,
        "EXTRA_PNGINFO": extra_pnginfo,
        "UNIQUE_ID": node_id,
    }
    for name, requested in declared.hidden.items():
        if requested in known:
            inputs[name] = [known[requested]]
    return inputs
