"""What callers name by URL: their uploads, which lie on this server's disk, and files of other servers."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from ...pipelines.errors import UserError
from .guard.fetch import Fetcher, Limits
from .guard.images import check_image
from .guard.loras import check_lora
from .ports import InputUrl, Unfetchable
from .storage import Uploads


class OutsideInputs:
    """Takes uploads from the disk and fetches everything else."""

    def __init__(self, fetcher: Fetcher, uploads: Uploads, limits: Limits) -> None:
        self._fetcher, self._uploads, self._limits = fetcher, uploads, limits

    async def fetch(self, url: InputUrl, folder: Path) -> Path:
        """Bring a picture or LoRA into the folder, checked; its name is made of its content's hash or its upload."""
        try:
            uploaded = None if url.value[:5].lower() == "data:" else await self._uploads.local(url.value)
            if uploaded is not None:
                return await asyncio.to_thread(self._take, uploaded, folder, url.kind)
            fetched = await (self._fetcher.image if url.kind == "image" else self._fetcher.lora)(url.value, folder)
            return fetched.path
        except UserError as error:
            raise Unfetchable(str(error)) from error

    async def close(self) -> None:
        """End open connections."""
        await self._fetcher.close()

    def _take(self, uploaded: Path, folder: Path, kind: str) -> Path:
        if kind == "image":
            suffix = check_image(uploaded, self._limits.pixels).suffix
        else:
            check_lora(uploaded)
            suffix = ".safetensors"
        path = folder / f"{uploaded.name}{suffix}"
        shutil.copyfile(uploaded, path)
        return path
