"""The only module that imports ComfyUI: `ComfyHost`, and the choice of the current host."""

from __future__ import annotations

import functools
import html
import logging
import sys
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..pipelines.assets.needs import how_to_get
from ..pipelines.host import Host, Kept, LocalHost, Preview, Role, find_file
from ..pipelines.host.model_paths import model_roots
from ..pipelines.host.protocol import Value

if TYPE_CHECKING:
    import torch

log = logging.getLogger("fooocus_stages")
_chosen: ContextVar[Host | None] = ContextVar("fooocus_host", default=None)


def current_host() -> Host:
    """Return the host set by `use_host`, or else ComfyUI's inside ComfyUI, or else a LocalHost on ./models."""
    return _chosen.get() or (_comfy_host() if inside_comfy() else _plain_host())


@contextmanager
def use_host(host: Host) -> Iterator[Host]:
    """Set the host of all nodes called within this context."""
    token = _chosen.set(host)
    try:
        yield host
    finally:
        _chosen.reset(token)


def inside_comfy() -> bool:
    """Return True in ComfyUI's process, which imports its own modules before this pack."""
    return "folder_paths" in sys.modules and "comfy" in sys.modules


@functools.cache
def _comfy_host() -> ComfyHost:
    return ComfyHost()


@functools.cache
def _plain_host() -> LocalHost:
    return LocalHost(models=[Path("models")], hint=how_to_get)


class ComfyHost:
    """ComfyUI's folders, devices, memory manager, progress bar and interrupt button.

    Kept values are freed when ComfyUI unloads one of the pack's networks, for lack of memory or at the user's request.
    """

    def __init__(self) -> None:
        self._kept = Kept()
        self._noticed: tuple[object, tuple[str, ...]] = None, ()  # the node that runs, and its notices so far

    def keep(self, key: Hashable, make: Callable[[], Value]) -> Value:
        return self._kept.get(key, make)

    def names(self, kind: str) -> list[str]:
        import folder_paths

        self._folders(kind)
        return list(folder_paths.get_filename_list(kind))

    def find(self, kind: str, name: str, home: Path | None = None) -> Path:
        at_home = [root / kind for root in model_roots(home)] if home else []
        return find_file(kind, name, at_home + self._folders(kind), how_to_get)

    def _folders(self, kind: str) -> list[Path]:
        import folder_paths

        if kind not in folder_paths.folder_names_and_paths:
            folder_paths.add_model_folder_path(kind, str(Path(folder_paths.models_dir) / kind))
        return [Path(p) for p in folder_paths.get_folder_paths(kind)]

    def load(self, role: Role, *modules: torch.nn.Module, memory: int = 0) -> torch.device:
        from comfy import model_management

        devices = {
            "unet": (model_management.get_torch_device, model_management.unet_offload_device),
            "text": (model_management.text_encoder_device, model_management.text_encoder_offload_device),
            "vae": (model_management.vae_device, model_management.vae_offload_device),
            "upscaler": (model_management.get_torch_device, model_management.unet_offload_device),
        }
        ask_device, ask_offload = devices[role]
        device: torch.device = ask_device()
        offload: torch.device = ask_offload()
        patchers = [_patcher(module, device, offload, self._kept.free) for module in modules]
        model_management.load_models_gpu(patchers, memory_required=memory, force_full_load=True)
        return device

    def dtype(self, role: Role) -> torch.dtype:
        import torch
        from comfy import model_management

        if role == "unet":
            for_unet: torch.dtype = model_management.unet_dtype()
            return for_unet
        if role == "vae":  # SDXL's VAE overflows in float16
            allowed = [torch.bfloat16, torch.float32]
            for_vae: torch.dtype = model_management.vae_dtype(model_management.vae_device(), allowed)
            return for_vae
        return torch.float32

    def check_interrupted(self) -> None:
        from comfy import model_management

        model_management.throw_exception_if_processing_interrupted()

    def progress(self, value: int, total: int, preview: Preview | None = None) -> None:
        from comfy.cli_args import LatentPreviewMethod, args
        from comfy.utils import ProgressBar

        shown = preview is not None and args.preview_method != LatentPreviewMethod.NoPreviews
        ProgressBar(total).update_absolute(value, total, ("JPEG", preview(), 512) if shown and preview else None)

    def notice(self, text: str) -> None:
        """Log a notice and show it on the node, which shows the latest text it was sent: all notices, one a line."""
        from comfy_execution.utils import get_executing_context
        from server import PromptServer

        context = get_executing_context()
        if context is None:
            log.warning(text)
            return
        node, earlier = (context.prompt_id, context.node_id), self._noticed[1]
        if node != self._noticed[0]:
            earlier = ()
        if text not in earlier:
            log.warning(text)
            self._noticed = node, (*earlier, text)
            PromptServer.instance.send_progress_text(html.escape("\n".join(self._noticed[1])), context.node_id)

    def folder(self, kind: Literal["input", "output", "temp"]) -> Path:
        import folder_paths

        return Path(folder_paths.get_directory_by_type(kind))

    @property
    def embeds_metadata(self) -> bool:
        from comfy.cli_args import args

        return not args.disable_metadata


def _patcher(
    module: torch.nn.Module, device: torch.device, offload: torch.device, on_unload: Callable[[], None]
) -> Any:
    """Return ComfyUI's patcher of a module, which lives as long as the module and calls `on_unload`."""
    patcher = module.__dict__.get("comfy_patcher")
    if patcher is None:
        import torch

        # Boxed, since a diffusers model's read-only `device` would stop the patcher; named for ComfyUI's log.
        box = type(type(module).__name__, (torch.nn.Module,), {})()
        box.network = module
        patcher = module.__dict__["comfy_patcher"] = _whole_patcher()(box, device, offload)
        patcher.on_unload = on_unload
    return patcher


@functools.cache
def _whole_patcher() -> type[Any]:
    from comfy.model_patcher import ModelPatcher

    class WholePatcher(ModelPatcher):  # type: ignore[misc]
        """Loads a module as a whole, since layers that are not ComfyUI's can't be loaded one by one."""

        on_unload: Callable[[], None]

        def detach(self, *args: Any, **kwargs: Any) -> Any:
            self.on_unload()
            return super().detach(*args, **kwargs)

        def partially_load(
            self, device_to: torch.device, extra_memory: int = 0, force_patch_weights: bool = False
        ) -> int:
            before = self.loaded_size()
            self.load(device_to, force_patch_weights=force_patch_weights, full_load=True)
            return int(self.loaded_size() - before)

        def partially_unload(self, device_to: torch.device, memory_to_free: int = 0, *args: Any, **kwargs: Any) -> int:
            return 0

    return WholePatcher
