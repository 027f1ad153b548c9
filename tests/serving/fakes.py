"""A handful of nodes to run graphs with: numbers, sums, lists, lazy choices, blockers, expansions."""

from __future__ import annotations

import asyncio
from typing import Any

from fooocus_stages.pipelines.errors import BadValue, Interrupted
from fooocus_stages.serving.engine.calls import ExecutionBlocker

Inputs = dict[str, Any]


def number(**options: Any) -> tuple[str, dict[str, Any]]:
    return ("INT", options)


class Wild(str):
    """A type that goes with every other."""

    __hash__ = str.__hash__

    def __ne__(self, other: object) -> bool:
        return False


ANY = Wild("*")


class Fake:
    """A node with one output, whose calls are counted."""

    RETURN_TYPES: tuple[Any, ...] = ("INT",)
    FUNCTION = "run"
    calls: list[Any] = []
    inputs: Inputs = {}

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        return cls.inputs


class Num(Fake):
    inputs = {"required": {"value": number(default=0, min=-100, max=100)}}

    def run(self, value: int) -> tuple[int]:
        Fake.calls.append(("Num", value))
        return (value,)


class Add(Fake):
    inputs = {"required": {"a": number(), "b": number()}}

    def run(self, a: int, b: int) -> tuple[int]:
        Fake.calls.append(("Add", a, b))
        return (a + b,)


class Mixed(Fake):
    """One input of each kind."""

    inputs = {
        "required": {
            "count": number(default=1, min=1, max=9),
            "share": ("FLOAT", {"min": 0.0}),
            "text": ("STRING", {}),
            "on": ("BOOLEAN", {}),
            "mode": (["fast", "slow"], {}),
        },
        "optional": {
            "kind": ("COMBO", {"options": ["red", "green"]}),
            "several": ("COMBO", {"multi_select": True, "options": ["x", "y"]}),
            "picture": ("IMAGE,MASK",),
            "switch": ("SWITCH", {"default": False}),
        },
    }

    def run(self, **values: Any) -> tuple[Any]:
        return (values,)


class Show(Fake):
    inputs = {"required": {"value": (ANY, {})}}
    RETURN_TYPES = ()
    OUTPUT_NODE = True

    def run(self, value: Any, **others: Any) -> dict[str, Any]:
        Fake.calls.append(("Show", value))
        return {"ui": {"values": [value]}}


class Picture(Fake):
    RETURN_TYPES = ("IMAGE", "MASK")

    def run(self) -> tuple[str, str]:
        return ("picture", "mask")


class Range(Fake):
    """0 … count - 1 as a list."""

    inputs = {"required": {"count": number(min=0)}}
    OUTPUT_IS_LIST = (True,)

    def run(self, count: int) -> tuple[list[int]]:
        return (list(range(count)),)


class Sum(Fake):
    """All values of a list in one call."""

    inputs = {"required": {"values": number(), "scale": number(default=1)}}
    INPUT_IS_LIST = True

    def run(self, values: list[int], scale: list[int]) -> tuple[int]:
        Fake.calls.append(("Sum", tuple(values), tuple(scale)))
        return (sum(values) * scale[0],)


class Choose(Fake):
    """One of two, asking for no more than it needs."""

    inputs = {
        "required": {"first": ("BOOLEAN,INT", {}), "a": (ANY, {"lazy": True}), "b": (ANY, {"lazy": True})},
    }
    RETURN_TYPES = (ANY,)

    def check_lazy_status(self, first: bool, a: Any = None, b: Any = None) -> list[str]:
        return (["a"] if a is None else []) if first else (["b"] if b is None else [])

    def run(self, first: bool, a: Any = None, b: Any = None) -> tuple[Any]:
        return (a if first else b,)


class NeverAsks(Choose):
    check_lazy_status = None  # type: ignore[assignment]


class Block(Fake):
    """Blocks the values that are odd."""

    inputs = {"required": {"value": number()}, "optional": {"message": ("STRING", {})}}

    def run(self, value: int, message: str | None = None) -> Any:
        return ExecutionBlocker(message) if value % 2 else (value,)


class Foreign:
    def __init__(self, message: str | None) -> None:
        self.message = message


Foreign.__name__ = "ExecutionBlocker"


class ForeignBlock(Block):
    """Blocks with another program's class of that name."""

    def run(self, value: int, message: str | None = None) -> Any:
        return Foreign(message) if value % 2 else (value,)


class Countdown(Fake):
    """A loop written as an expansion: value + (value - 1) + … + 1."""

    inputs = {"required": {"value": number(min=-100, max=100)}, "hidden": {"me": "UNIQUE_ID"}}

    def run(self, value: int, me: str) -> Any:
        Fake.calls.append(("Countdown", value))
        if value <= 0:
            return (0,)
        again, total = f"{me}.{value}.again", f"{me}.{value}.sum"
        graph = {again: node("Countdown", value=value - 1), total: node("Add", a=value, b=[again, 0])}
        return {"expand": graph, "result": ([total, 0],)}


class ExpandsTo(Fake):
    """Expands into whatever graph it is given."""

    inputs = {"required": {"graph": ("GRAPH", {}), "result": ("GRAPH", {})}}

    def run(self, graph: dict[str, Any], result: list[Any]) -> Any:
        return {"expand": graph, "result": tuple(result)}


class Later(Fake):
    """An asynchronous sum; `together` is how many waited at once."""

    inputs = {"required": {"value": number()}}
    waiting = 0
    together = 0

    async def run(self, value: int) -> tuple[int]:
        Later.waiting += 1
        Later.together = max(Later.together, Later.waiting)
        await asyncio.sleep(0.01)
        Later.waiting -= 1
        if value == 13:
            raise RuntimeError("thirteen")
        return (value,)


class Changing(Fake):
    """Runs again whenever its state has changed."""

    inputs = {"required": {"value": number()}}
    state: Any = 0

    @classmethod
    def IS_CHANGED(cls, value: int) -> Any:
        if cls.state == "raise":
            raise OSError("gone")
        return cls.state

    def run(self, value: int) -> tuple[int]:
        Fake.calls.append(("Changing", value))
        return (value,)


class Own(Fake):
    """A node with an identity: never shares a result."""

    NOT_IDEMPOTENT = True
    inputs = {"required": {"value": number()}}

    def __init__(self) -> None:
        self.count = 0

    def run(self, value: int) -> tuple[int]:
        self.count += 1
        return (self.count,)


class Hidden(Fake):
    inputs = {"hidden": {"graph": "PROMPT", "extra": "EXTRA_PNGINFO", "me": "UNIQUE_ID", "live": "DYNPROMPT"}}

    def run(self, graph: Any, extra: Any, me: str, live: Any) -> tuple[Any]:
        return ((graph, extra, me, live.get_node(me)["class_type"]),)


class Checks(Fake):
    """Checks its inputs itself."""

    inputs = {"required": {"value": number(min=0, max=10)}, "optional": {"other": ("INT,FLOAT", {})}}

    @classmethod
    def VALIDATE_INPUTS(cls, value: int, input_types: dict[str, str]) -> bool | str:
        if input_types.get("other") == "IMAGE":
            return "pictures are not added"
        if value == 6:
            raise BadValue("six is taken")
        if value == 7:
            raise KeyError("seven")
        return "13 is unlucky" if value == 13 else value != 14

    def run(self, value: int, other: Any = None) -> tuple[int]:
        return (value,)


class ChecksAll(Fake):
    inputs = {"required": {"value": number(min=0, max=10)}}

    @classmethod
    async def VALIDATE_INPUTS(cls, **values: Any) -> bool:
        await asyncio.sleep(0)
        return bool(values["value"] != 11)

    def run(self, value: int) -> tuple[int]:
        return (value,)


class Variadic(Fake):
    """Takes any number of inputs that it does not declare."""

    def run(self, **values: Any) -> tuple[Any]:
        return (values,)


class Fails(Fake):
    inputs = {"required": {"value": number(default=0)}}

    def run(self, value: int) -> tuple[int]:
        if value == 1:
            raise BadValue("choose another value than 1")
        if value == 2:
            raise Interrupted
        if value == 3:
            return 3  # type: ignore[return-value]
        raise RuntimeError("broken")


CLASSES: dict[str, type[Any]] = {
    cls.__name__: cls
    for cls in (
        Num, Add, Mixed, Show, Picture, Range, Sum, Choose, NeverAsks, Block, ForeignBlock, Countdown, ExpandsTo,
        Later, Changing, Own, Hidden, Checks, ChecksAll, Variadic, Fails,
    )
}  # fmt: skip


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}
