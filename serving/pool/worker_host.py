"""The host in a worker: models folders, one device, and the progress and interruption of the job that runs."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path

from ...pipelines.assets import needs
from ...pipelines.errors import Interrupted, MissingFile
from ...pipelines.host import LocalHost
from ...pipelines.host.protocol import Preview
from .settings import WorkerSettings

PREVIEW_SECONDS = 0.5
PROGRESS_SECONDS = 0.05
JPEG_QUALITY = 80


class WorkerHost(LocalHost):
    """A local host for one job after another; the networks stay.

    Between `begin` and the next `begin`, `on_progress` and `on_preview` are called at most every few hundredths of a
    second, and stages are interrupted once `stopped` returns True. Raises MissingFile for a folder that does not exist.
    """

    def __init__(self, settings: WorkerSettings, device: str | None, network_bytes: int) -> None:
        named = [*settings.models, *settings.nodes, settings.styles, settings.wildcards]
        for folder in filter(None, named):
            if not folder.exists():
                raise MissingFile(f"folder {folder} does not exist; name an existing folder")
        super().__init__(
            models=settings.models,
            device=device,
            extra_model_paths=settings.extra_model_paths,
            hint=needs.how_to_get,
            network_bytes=network_bytes,
        )
        self._first = {"styles": settings.styles, "wildcards": settings.wildcards}
        self._previews = False
        self._last_preview = self._last_progress = 0.0
        self._stopped: Callable[[], bool] = lambda: False
        self._steps: Callable[[int, int], None] = lambda value, total: None
        self._show: Callable[[bytes], None] = lambda image: None

    def begin(
        self,
        folder: Path,
        stopped: Callable[[], bool],
        on_notice: Callable[[str], None],
        on_progress: Callable[[int, int], None],
        on_preview: Callable[[bytes], None] | None = None,
    ) -> None:
        """Work for another job, whose folder holds `input`, `loras` and `output`."""
        self.folders = {"input": folder / "input", "output": folder / "output", "temp": folder / "temp"}
        self._first["loras"] = folder / "loras"
        self._stopped, self._steps, self._on_notice = stopped, on_progress, on_notice
        self._previews = on_preview is not None
        self._show = on_preview or (lambda image: None)
        self._last_preview = self._last_progress = 0.0

    def folders_of(self, kind: str) -> list[Path]:
        first = self._first.get(kind)
        return [*([first] if first else []), *super().folders_of(kind)]

    def check_interrupted(self) -> None:
        if self._stopped():
            raise Interrupted("the job was stopped")

    def progress(self, value: int, total: int, preview: Preview | None = None) -> None:
        self.check_interrupted()
        now = time.monotonic()
        if value >= total or now - self._last_progress >= PROGRESS_SECONDS:
            self._last_progress = now
            self._steps(value, total)
        if self._previews and preview is not None and now - self._last_preview >= PREVIEW_SECONDS:
            self._last_preview = now
            self._send(preview)

    def _send(self, preview: Preview) -> None:
        """Send a preview; one that fails costs only the previews of the job."""
        try:
            buffer = io.BytesIO()
            preview().convert("RGB").save(buffer, "JPEG", quality=JPEG_QUALITY)
        except Exception as error:
            self._previews = False
            self.notice(f"there are no previews of this job: {error}")
        else:
            self._show(buffer.getvalue())
