"""The host for scripts and the command line."""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import BadFile, BadValue, MissingFile
from .kept import Kept
from .model_files import POCKET, HowToGet, files_of, find_file
from .model_paths import (
    extra_files,
    folders_of_kind,
    fooocus_files,
    model_roots,
    read_extra_paths,
    read_fooocus_config,
)
from .protocol import Preview, Role, Value

if TYPE_CHECKING:
    import torch

    from ..types import Latent, SamplingSettings

log = logging.getLogger("fooocus_stages")


class LocalHost:
    """A host with model folders, one device, and progress reported to a callback.

    `models`: models folders, or ComfyUI or Fooocus folders that contain one; the pocket model's folder is searched last
    at any position, since its files have the names of published ones. `device`: the best available by default.
    `extra_model_paths`: files in ComfyUI's format, besides those in the folders of `models`. `hint`: returns the advice
    at the end of a MissingFile. `network_bytes`: memory of the networks that are kept for later graphs, the least
    recently used dropped first; by default a network lives as long as a graph refers to it. Raises MissingFile and
    BadFile for a file of extra paths.
    """

    def __init__(
        self,
        models: Sequence[Path] = (),
        output: Path = Path("outputs"),
        input: Path = Path(),
        device: str | None = None,
        on_progress: Callable[[int, int], None] | None = None,
        on_notice: Callable[[str], None] | None = None,
        extra_model_paths: Sequence[Path] = (),
        hint: HowToGet | None = None,
        network_bytes: int = 0,
    ) -> None:
        self.roots = [root for folder in models for root in model_roots(folder)]
        extra_paths = [*extra_files(models), *extra_model_paths]
        self._on_notice = on_notice or log.warning
        self._extras = [extra for path in extra_paths for extra in read_extra_paths(path)]
        for path in fooocus_files(models):
            try:
                self._extras += read_fooocus_config(path)
            except BadFile as error:
                self.notice(f"{error}: the folders that it names are not searched")
        self._hint = hint
        self.folders = {"input": input, "output": output, "temp": output / "temp"}
        self._named_device = device
        self._device: torch.device | None = None
        self._on_progress = on_progress
        self._resident: weakref.WeakSet[torch.nn.Module] = weakref.WeakSet()
        self._kept = Kept()
        self._networks = Kept(network_bytes)

    @property
    def embeds_metadata(self) -> bool:
        return True

    @property
    def device(self) -> torch.device:
        """The named device, or the best available one. Raises BadValue if it is not available."""
        if self._device is None:
            self._device = find_device(self._named_device)
        return self._device

    def names(self, kind: str) -> list[str]:
        return list(dict.fromkeys(name for folder in self.folders_of(kind) for name in files_of(kind, folder)))

    def find(self, kind: str, name: str, home: Path | None = None) -> Path:
        at_home, folders = [home / kind] if home else [], self.folders_of(kind)
        with suppress(MissingFile):  # a file of another folder wins under any spelling of the name
            return find_file(kind, name, [*at_home, *(folder for folder in folders if not _in_pocket(folder))])
        return find_file(kind, name, [*at_home, *folders], self._hint)

    def folders_of(self, kind: str) -> list[Path]:
        """Return the folders searched for files of a kind, in order; they need not exist."""
        return sorted(folders_of_kind(kind, self.roots, self._extras), key=_in_pocket)

    def manage(self, role: Role, *modules: torch.nn.Module) -> None:
        """Do nothing: modules are managed from their first load."""

    def load(
        self, role: Role, *modules: torch.nn.Module, memory: int = 0, patcher: object | None = None
    ) -> torch.device:
        import torch

        device = self.device
        for module in modules:
            if device.type != "cpu" and not _fits(module, device, memory):
                self._offload(keep=modules)
            module.to(device)
        self._resident.update(modules)
        return torch.device(device)

    def _offload(self, keep: Sequence[torch.nn.Module]) -> None:
        import torch

        for module in self._resident:
            if module not in keep:
                module.to("cpu")
        self._resident.clear()
        self._kept.free()
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def free(self) -> None:
        """Drop all networks and large values that are kept, and move the networks in use to the CPU."""
        self._networks.free()
        self._offload(keep=())

    def dtype(self, role: Role) -> torch.dtype:
        import torch

        if self.device.type == "cpu" or role == "text":
            return torch.float32
        if role == "vae":  # SDXL's VAE overflows in float16
            bf16 = self.device.type == "cuda" and torch.cuda.is_bf16_supported()
            return torch.bfloat16 if bf16 else torch.float32
        return torch.float16

    def keep(self, key: Hashable, make: Callable[[], Value]) -> Value:
        return self._kept.get(key, make)

    def keep_networks(self, key: Hashable, make: Callable[[], Value]) -> Value:
        return self._networks.get(key, make)

    def adopt(self, value: object) -> object:
        return value

    def hand_on(self, value: object) -> object:
        return value

    def guided(self, model: object, settings: SamplingSettings, latent: Latent | None = None) -> object:
        raise BadValue("Fooocus Model Patch changes a MODEL of ComfyUI, and this is not ComfyUI: use Fooocus Sampler")

    def check_interrupted(self) -> None:
        """Do nothing: Ctrl-C raises KeyboardInterrupt by itself."""

    def progress(self, value: int, total: int, preview: Preview | None = None) -> None:
        if self._on_progress is not None:
            self._on_progress(value, total)

    def notice(self, text: str) -> None:
        self._on_notice(text)

    def folder(self, kind: Literal["input", "output", "temp"]) -> Path:
        return self.folders[kind]


def _in_pocket(folder: Path) -> bool:
    return POCKET in folder.resolve().parents


def find_device(name: str | None = None) -> torch.device:
    """Return the named device, or the best available one. Raises BadValue if it is not available."""
    import torch

    available = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    available += ["mps"] if torch.backends.mps.is_available() else []
    available += ["cpu"]
    try:
        device = torch.device(name or available[0].removesuffix(":0"))
    except RuntimeError as error:
        raise BadValue(f"{name!r} is not a device: choose one of {', '.join(available)}") from error
    canonical = f"cuda:{device.index or 0}" if device.type == "cuda" else device.type
    if device.type in ("cuda", "mps") and canonical not in available:
        raise BadValue(
            f"device {name!r} is not available, or this build of torch does not support it: "
            f"choose {', '.join(available)}"
        )
    return device


def _fits(module: torch.nn.Module, device: torch.device, memory: int) -> bool:
    import torch

    if device.type != "cuda":
        return True
    needed = sum(p.numel() * p.element_size() for p in module.parameters() if p.device.type == "cpu")
    return needed * 1.1 + memory < torch.cuda.mem_get_info(device)[0]
