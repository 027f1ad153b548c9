"""ComfyUI's ModelPatcher for a network that loads by parameter. Import it only inside ComfyUI."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher

from .streaming import bytes_of, settle, stream


class LayerPatcher(ModelPatcher):  # type: ignore[misc]
    """Loads as many parameters as fit into the given memory, largest first, and streams the others.

    ComfyUI's own way of loading in part relies on its layer classes, which diffusers and transformers do not use.
    """

    on_unload: Callable[[], None]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.resident: set[str] = set()

    def partially_load(self, device_to: torch.device, extra_memory: float = 0, *args: Any, **kwargs: Any) -> int:
        """Load up to `extra_memory` more bytes, or free that many if it is negative. Returns the bytes loaded."""
        if extra_memory < 0:
            self.partially_unload(self.offload_device, -extra_memory)
            return 0
        before: int = self.loaded_size()
        for buffer in self.model.buffers():
            buffer.data = buffer.data.to(device_to)
        room = before + extra_memory - self._count()
        for name, parameter in self._largest_first():
            if name in self.resident:
                continue
            if bytes_of(parameter) <= room:
                settle(parameter, device_to)
                self.resident.add(name)
                room -= bytes_of(parameter)
            else:
                stream(parameter, device_to, self.offload_device)
        self.model.device = device_to
        return self._count() - before

    def partially_unload(self, device_to: torch.device, memory_to_free: float = 0, *args: Any, **kwargs: Any) -> int:
        """Stream parameters, smallest first, until `memory_to_free` bytes are free. Returns the bytes freed."""
        before: int = self.loaded_size()
        freed = 0
        for name, parameter in reversed(self._largest_first()):
            if freed >= memory_to_free:
                break
            if name in self.resident:
                stream(parameter, self.load_device, device_to)
                self.resident.remove(name)
                freed += bytes_of(parameter)
        return before - self._count()

    def unpatch_model(self, device_to: torch.device | None = None, unpatch_weights: bool = True) -> None:
        if unpatch_weights:
            for parameter in self.model.parameters():
                settle(parameter)
            self.resident.clear()
        super().unpatch_model(device_to, unpatch_weights)

    def detach(self, unpatch_all: bool = True) -> Any:
        if unpatch_all:  # not when ComfyUI only replaces its record of a loaded model
            self.on_unload()
        return super().detach(unpatch_all)

    def _largest_first(self) -> list[tuple[str, torch.nn.Parameter]]:
        return sorted(self.model.named_parameters(), key=lambda named: -bytes_of(named[1]))

    def _count(self) -> int:
        """Tell ComfyUI the bytes on the device."""
        settled = (parameter for name, parameter in self.model.named_parameters() if name in self.resident)
        loaded = sum(bytes_of(tensor) for tensor in chain(settled, self.model.buffers()))
        self.model.model_loaded_weight_memory = loaded
        return loaded
