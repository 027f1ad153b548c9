"""The worker on a node of a Ray cluster. Ray makes an actor of this class; the module itself does not need Ray."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import queue
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .frames import Frame
from .settings import WorkerSettings
from .worker import Worker

STORE = "fooocus-stages-ray"
OLD_SECONDS = 24 * 3600
SAMPLE = 2**20
Wire = tuple[str, Mapping[str, Any], Sequence[bytes]]


class RayWorker:
    """Runs jobs in a thread of its own, so that stops and requests for events get through meanwhile.

    Files arrive by the SHA-256 of their content, once for each node: workers of a pool on one node share a folder.
    """

    def __init__(self, settings: Mapping[str, Any], device: str | None, pool: str, workers_here: int) -> None:
        base = Path(tempfile.gettempdir()) / STORE
        self._store = base / pool
        self._store.mkdir(parents=True, exist_ok=True)
        _sweep(base, keep=self._store)
        self._folder = Path(tempfile.mkdtemp(prefix="jobs-", dir=self._store))
        self._frames: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        self._worker = Worker(self._frames.put, self._folder)
        read = WorkerSettings.from_json(settings)
        self._models = read.models
        threading.Thread(target=self._work, args=[read, device, workers_here], daemon=True).start()

    def _work(self, settings: WorkerSettings, device: str | None, workers_here: int) -> None:
        try:
            self._worker.main(settings, device, workers_here)
        except Exception as error:  # the actor itself would live on without a worker
            self._frames.put(Frame("refused", {"reason": f"{type(error).__name__}: {error}"}))

    def about(self) -> dict[str, Any]:
        """Return the process and node of the worker, and a digest of each model file of its folders."""
        return {"pid": os.getpid(), "node": platform.node(), "models": model_digests(self._models)}

    def frames(self, seconds: float) -> list[Wire]:
        """Return what the worker has sent, after a wait of at most so many seconds for the first."""
        found: list[Frame] = []
        with contextlib.suppress(queue.Empty):
            found.append(self._frames.get(timeout=seconds))
            while True:
                found.append(self._frames.get_nowait())
        return [(frame.kind, frame.message, frame.blocks) for frame in found]

    def missing(self, digests: Sequence[str]) -> list[str]:
        """Return those of the contents that this node does not have."""
        return [digest for digest in digests if not (self._store / digest).is_file()]

    def keep(self, digest: str, content: bytes) -> None:
        """Store a content on this node. Raises ValueError if it is not what its digest says."""
        if hashlib.sha256(content).hexdigest() != digest:
            raise ValueError(f"the content of {digest} has arrived damaged")
        temporary = self._store / f".{uuid.uuid4().hex}"
        temporary.write_bytes(content)
        temporary.replace(self._store / digest)

    def receive(self, kind: str, message: Mapping[str, Any], digests: Mapping[str, str]) -> None:
        """Take a job whose files are stored by their digests, or a stop."""
        if kind == "job":
            message = {**message, "files": {name: str(self._store / digest) for name, digest in digests.items()}}
        self._worker.receive(Frame(kind, message))

    def leave(self) -> None:
        """Remove the worker's folder."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _sweep(base: Path, keep: Path) -> None:
    """Remove the folders of pools whose drivers are long gone."""
    for folder in filter(Path.is_dir, base.iterdir()):
        with contextlib.suppress(OSError):
            if folder != keep and time.time() - folder.stat().st_mtime > OLD_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def model_digests(folders: Sequence[Path]) -> dict[str, str]:
    """Return a digest of each model file below the folders: of its size, its first and its last MiB.

    Reading a checkpoint of 7 GB whole would take longer than drawing; files that differ differ there, since the head of
    a safetensors file lists its tensors.
    """
    found: dict[str, str] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix in (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".patch"):
                found.setdefault(path.relative_to(folder).as_posix(), _sampled(path))
    return found


def _sampled(path: Path) -> str:
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(SAMPLE))
        file.seek(max(size - SAMPLE, 0))
        digest.update(file.read(SAMPLE))
    return digest.hexdigest()[:16]
