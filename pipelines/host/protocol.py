"""What a stage may ask of the program around it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

if TYPE_CHECKING:
    import torch
    from PIL import Image

Role = Literal["unet", "vae", "text", "upscaler"]
Value = TypeVar("Value")
Preview = Callable[[], "Image.Image"]


class Host(Protocol):
    """The program a stage runs in. Stages take it explicitly; nodes ask `nodes.comfy.current_host()` for it."""

    def names(self, kind: str) -> list[str]:
        """Relative names of the files of a kind ('checkpoints', 'loras', 'vae', 'styles', 'wildcards', …)."""
        ...

    def find(self, kind: str, name: str, home: Path | None = None) -> Path:
        """The file of that name, looked for in the models folder `home` first; MissingFile when there is none."""
        ...

    @property
    def embeds_metadata(self) -> bool:
        """Whether saved pictures may carry how they were made."""
        ...

    def load(self, role: Role, *modules: torch.nn.Module, memory: int = 0) -> torch.device:
        """Bring the modules to the device of that role together, with `memory` bytes free beside them."""
        ...

    def dtype(self, role: Role) -> torch.dtype:
        """The dtype that networks of that role are kept in."""
        ...

    def keep(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return the value kept under the key, or make and keep it.

        The host drops values at any time, the least recently used first, and all large ones when it needs memory. A
        key holds all that the value depends on, such as a file's path, time and size.
        """
        ...

    def check_interrupted(self) -> None:
        """Raise when the user has asked to stop."""
        ...

    def progress(self, value: int, total: int, preview: Preview | None = None) -> None:
        """Tell how far the work is; `preview` is called only when someone looks."""
        ...

    def notice(self, text: str) -> None:
        """Show the user one line that is no error."""
        ...

    def folder(self, kind: Literal["input", "output", "temp"]) -> Path:
        """The folder for pictures coming in, going out, or shown only."""
        ...
