"""The interface through which a stage uses the program it runs in."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from ..types import Latent, SamplingSettings

Role = Literal["unet", "vae", "text", "upscaler"]
Value = TypeVar("Value")
Preview = Callable[[], "Image.Image"]


class Host(Protocol):
    """The program that a stage runs in. Stages take it as an argument; nodes call `nodes.comfy.current_host()`."""

    def names(self, kind: str) -> list[str]:
        """List the relative names of a kind's files ('checkpoints', 'loras', 'vae', 'styles', 'wildcards', …)."""
        ...

    def find(self, kind: str, name: str, home: Path | None = None) -> Path:
        """Find a file by name, in the models folder `home` first. Raises MissingFile."""
        ...

    @property
    def embeds_metadata(self) -> bool:
        """True if generation parameters may be embedded in saved images."""
        ...

    def manage(self, role: Role, *modules: torch.nn.Module) -> None:
        """Put modules under the memory management of the program, before they are first loaded."""
        ...

    def load(
        self, role: Role, *modules: torch.nn.Module, memory: int = 0, patcher: object | None = None
    ) -> torch.device:
        """Load the modules together on the device of a role, with `memory` bytes left free for the work.

        Where memory is short, parameters may stay elsewhere and be copied to the device by each operation that uses
        them. `patcher` is the ModelPatcher of a module that ComfyUI manages already.
        """
        ...

    def dtype(self, role: Role) -> torch.dtype:
        """Return the dtype of networks in that role."""
        ...

    def keep(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return the value kept under the key, or make and keep it.

        The host may drop values at any time, the least recently used first, and all large ones when it needs memory.
        A key identifies everything that the value depends on, such as a file's path, time and size.
        """
        ...

    def keep_networks(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return networks read from files, made if they are not kept; a host may keep some for later graphs.

        They are shared, so nothing may be changed that is not put back. The key is as in `keep`, with dtypes.
        """
        ...

    def adopt(self, value: object) -> object:
        """Return the pack's handle of a model of the program's own, such as ComfyUI's MODEL; other values unchanged.

        Raises BadValue for a model that Fooocus's stages cannot use.
        """
        ...

    def hand_on(self, value: object) -> object:
        """Return the program's own model for a handle that `adopt` made, with what stages set; others unchanged."""
        ...

    def guided(self, model: object, settings: SamplingSettings, latent: Latent | None = None) -> object:
        """Return the program's own model with Fooocus's guidance and ADM scaling. Raises BadValue if there is none.

        An inpaint engine of the model reads what is known around the mask from `latent`.
        """
        ...

    def check_interrupted(self) -> None:
        """Raise Interrupted if the user has requested a stop."""
        ...

    def progress(self, value: int, total: int, preview: Preview | None = None) -> None:
        """Report progress; `preview` is called only if it is shown."""
        ...

    def notice(self, text: str) -> None:
        """Show the user a one-line message that is not an error."""
        ...

    def folder(self, kind: Literal["input", "output", "temp"]) -> Path:
        """Return the folder of input images, of output images, or of temporary previews."""
        ...
