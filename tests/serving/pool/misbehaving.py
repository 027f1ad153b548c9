"""A node pack whose nodes work in steps, crash, hang, run out of memory, and read the files of their job."""

import os
import signal
import time
from typing import Any

from fooocus_stages.nodes.comfy import current_host
from fooocus_stages.pipelines.errors import BadValue


class Act:
    """A node that does something to the worker and shows the worker's pid."""

    RETURN_TYPES: tuple[str, ...] = ()
    FUNCTION = "run"
    CATEGORY = "test"
    OUTPUT_NODE = True
    inputs: dict[str, Any] = {}

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"optional": cls.inputs}

    def run(self, **values: Any) -> dict[str, Any]:
        return {"ui": {"pid": [os.getpid()], "values": [self.act(**values)]}}

    def act(self, **values: Any) -> Any:
        raise NotImplementedError


class Work(Act):
    inputs = {"steps": ("INT", {"default": 1, "min": 0}), "seconds": ("FLOAT", {"default": 0.0, "min": 0.0})}

    def act(self, steps: int = 1, seconds: float = 0.0) -> int:
        print("a library prints to stdout")
        for step in range(steps):
            time.sleep(seconds / steps)
            current_host().progress(step + 1, steps)
        current_host().notice("the work is done")
        return steps


class Numbered(Act):
    inputs = {"seed": ("INT", {"default": 0})}
    RETURN_TYPES = ("INT", "IMAGE")
    RETURN_NAMES = ("seed", "image")

    def run(self, seed: int) -> dict[str, Any]:
        return {"ui": {"pid": [os.getpid()]}, "result": (seed, object())}


class Crash(Act):
    def act(self) -> None:
        os.write(2, b"the last words of the worker\n")
        os.kill(os.getpid(), signal.SIGKILL)


class Exit(Act):
    def act(self) -> None:
        os._exit(7)


class Hang(Act):
    def act(self) -> None:
        current_host().progress(1, 2)
        time.sleep(600)


class Fail(Act):
    inputs = {"how": (["user", "node", "memory", "device"], {})}

    def act(self, how: str) -> None:
        if how == "user":
            raise BadValue("choose something else")
        if how == "memory":
            raise MemoryError("cannot allocate memory")
        raise RuntimeError("CUDA error: an illegal memory access" if how == "device" else "broken")


class Read(Act):
    inputs = {"kind": (["input", "loras"], {}), "name": ("STRING", {})}

    def act(self, kind: str, name: str) -> str:
        host = current_host()
        path = host.find("loras", name) if kind == "loras" else host.folder("input") / name
        return path.read_text("utf-8")


def by_name(*classes: type[Act]) -> dict[str, type[Act]]:
    """Map nodes by their names, where no tool that reads sources takes them for nodes of this pack."""
    return {cls.__name__: cls for cls in classes}


NODE_CLASS_MAPPINGS = by_name(Work, Numbered, Crash, Exit, Hang, Fail, Read)
