"""The host that ComfyUI is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ...pipelines.assets.needs import how_to_get
from ...pipelines.host import Kept, Preview, Role, find_file
from ...pipelines.host.model_paths import model_roots
from ...pipelines.host.protocol import Value
from .folders import files_of, folders_of
from .notices import NoticeBoard
from .patchers import patcher_of

if TYPE_CHECKING:
    import torch

    from ...pipelines.types import Latent, SamplingSettings

log = logging.getLogger("fooocus_stages")


class ComfyHost:
    """ComfyUI's folders, devices, memory manager, progress bar and interrupt button.

    What it keeps is freed when ComfyUI unloads one of our networks, to make room or on the user's request.
    """

    def __init__(self) -> None:
        self._kept = Kept()
        self._notices = NoticeBoard()

    def keep(self, key: Hashable, make: Callable[[], Value]) -> Value:
        return self._kept.get(key, make)

    def keep_networks(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Make the networks: ComfyUI's own cache keeps the outputs of loaders."""
        return make()

    def names(self, kind: str) -> list[str]:
        return files_of(kind)

    def find(self, kind: str, name: str, home: Path | None = None) -> Path:
        at_home = [root / kind for root in model_roots(home)] if home else []
        return find_file(kind, name, at_home + folders_of(kind), how_to_get)

    def manage(self, role: Role, *modules: torch.nn.Module) -> None:
        for module in modules:
            self._patcher(role, module)

    def load(
        self, role: Role, *modules: torch.nn.Module, memory: int = 0, patcher: object | None = None
    ) -> torch.device:
        from comfy import model_management

        if patcher is not None:
            model_management.load_models_gpu([patcher], memory_required=memory, force_full_load=True)
        else:
            patchers = [self._patcher(role, module) for module in modules]
            model_management.load_models_gpu(patchers, memory_required=memory)
        return _devices(role)[0]

    def _patcher(self, role: Role, module: torch.nn.Module) -> Any:
        return patcher_of(module, *_devices(role), self._kept.free)

    def managed(self, module: torch.nn.Module) -> object:
        """Return the ModelPatcher of a module that runs beside a UNet."""
        return self._patcher("unet", module)

    def adopt(self, value: object) -> object:
        from .native import adoption

        return adoption.adopted(value, self)

    def hand_on(self, value: object) -> object:
        from .native import adoption

        return adoption.handed_on(value, self)

    def guided(self, model: object, settings: SamplingSettings, latent: Latent | None = None) -> object:
        from .native import guidance

        return guidance.patched(model, settings, latent)

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

        shown = None
        if preview is not None and args.preview_method != LatentPreviewMethod.NoPreviews:
            shown = ("JPEG", preview(), args.preview_size)
        ProgressBar(total).update_absolute(value, total, shown)

    def notice(self, text: str) -> None:
        """Log a notice once in a run of a node, and show all notices of that run on the node."""
        from comfy_execution.utils import get_executing_context
        from server import PromptServer

        context = get_executing_context()
        if context is None:
            log.warning(text)
        elif shown := self._notices.add((context.prompt_id, context.node_id), text):
            log.warning(text)
            PromptServer.instance.send_progress_text(shown, context.node_id)

    def folder(self, kind: Literal["input", "output", "temp"]) -> Path:
        import folder_paths

        return Path(folder_paths.get_directory_by_type(kind))

    @property
    def embeds_metadata(self) -> bool:
        from comfy.cli_args import args

        return not args.disable_metadata


def _devices(role: Role) -> tuple[torch.device, torch.device]:
    """The devices on which networks of a role run, and to which they are unloaded."""
    from comfy import model_management

    devices = {
        "unet": (model_management.get_torch_device, model_management.unet_offload_device),
        "text": (model_management.text_encoder_device, model_management.text_encoder_offload_device),
        "vae": (model_management.vae_device, model_management.vae_offload_device),
        "upscaler": (model_management.get_torch_device, model_management.unet_offload_device),
    }
    device, offload = devices[role]
    return device(), offload()
