"""Our networks under ComfyUI's memory manager."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

PATCHER = "patcher"  # the attribute in which ComfyUI's caches look for a value's ModelPatcher


def patcher_of(
    module: torch.nn.Module, device: torch.device, offload: torch.device, on_unload: Callable[[], None]
) -> Any:
    """Return the ModelPatcher of a module, which the module holds and which ends with it; make a missing one.

    `on_unload` is called when ComfyUI unloads the module.
    """
    patcher = vars(module).get(PATCHER)
    if patcher is None:
        from .layer_patcher import LayerPatcher
        from .streaming import bytes_of

        size = sum(bytes_of(tensor) for tensor in chain(module.parameters(), module.buffers()))
        patcher = LayerPatcher(_boxed(module), device, offload, size=size)
        patcher.on_unload = on_unload
        vars(module)[PATCHER] = patcher
    return patcher


def _boxed(module: torch.nn.Module) -> torch.nn.Module:
    """Return a plain module with the parameters, buffers and children of `module`, and the name of its class.

    ComfyUI writes to `device`, which is read-only on a diffusers model. The box shares the tables of the module without
    holding the module: a cycle would keep its weights in memory until a garbage collection.
    """
    import torch

    box: torch.nn.Module = type(type(module).__name__, (torch.nn.Module,), {})()
    for table in ("_parameters", "_buffers", "_non_persistent_buffers_set", "_modules"):
        vars(box)[table] = vars(module)[table]
    return box
