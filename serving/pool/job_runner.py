"""Runs jobs one after another in this process: files in, events and result files out."""

from __future__ import annotations

import io
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ...nodes import NODE_CLASS_MAPPINGS
from ...nodes.comfy import use_host
from ...nodes.headless import HEADLESS_NODES
from ...pipelines.errors import BadValue, Interrupted, MissingFile, UserError
from ...pipelines.host import find_or_pocket
from ...pipelines.host.model_files import MODEL_SUFFIXES
from ...pipelines.settings import DEFAULT_SAFETY_CHECKER, NO_FILE
from ..engine.results import Event as NodeEvent
from ..engine.results import NodeError, Results
from ..engine.runner import Runner
from .settings import WorkerSettings, memory_for_networks
from .types import Cancelled, Done, Ending, Event, Failed, Job, JobResult, Log, Progress, ResultFile
from .types import Preview as PreviewEvent
from .worker_host import WorkerHost

MEDIA_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}
OUT_OF_MEMORY = ("OutOfMemoryError", "MemoryError")
SIGNS_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")
SIGNS_OF_A_BROKEN_DEVICE = ("cuda error", "device-side assert", "cublas_status", "cudnn_status")


class Stop:
    """Tells a running job to stop, and why: because it was cancelled, or because its time is over."""

    def __init__(self) -> None:
        self.reason = ""

    def __call__(self) -> bool:
        return bool(self.reason)


class JobRunner:
    """Runs jobs on one device. The networks that they load are kept for later jobs, within a bound.

    `folder` receives a folder for each job, which `clean` removes. Raises UserError for settings that can't be used,
    MissingFile for a safety checker that is not there, and BadValue for a device that is not available.
    """

    def __init__(self, settings: WorkerSettings, device: str | None, folder: Path, workers_here: int = 1) -> None:
        self._folder = folder
        self._used: list[Path] = []
        self._early_notices: list[str] = []
        self.classes: Mapping[str, type[Any]] = {**NODE_CLASS_MAPPINGS, **HEADLESS_NODES}
        if settings.nodes:
            from ..engine.node_packs import registry_with_packs

            self.classes = registry_with_packs(self.classes, settings.nodes, self._early_notices.append)
        bound = settings.network_bytes
        self._host = WorkerHost(settings, device, memory_for_networks(workers_here) if bound is None else bound)
        self.is_broken = False
        if settings.safety_checker != NO_FILE:
            self._find_checker(settings.safety_checker)
        if settings.preload:
            self._preload()

    def _find_checker(self, name: str) -> None:
        """Find the safety checker now, so that no image is drawn that can't be checked. Raises MissingFile."""
        try:
            find_or_pocket(self._host, "safety_checker", name, DEFAULT_SAFETY_CHECKER)
        except MissingFile as error:
            raise MissingFile(
                f"{error}; requests ask for the safety checker: put its file there, or give --safety-checker off to "
                "leave all images unchecked"
            ) from error

    def _preload(self) -> None:
        from ...pipelines import stages

        _ = self._host.device  # first, since a device that is not available ends the worker
        for stage in stages.__all__:
            getattr(stages, stage)

    def run(self, job: Job, emit: Callable[[Event], None], stop: Stop) -> Ending:
        """Run a job and return its end; `emit` receives the events in between. Call `clean` once the end is reported.

        After a failure of the device itself `is_broken` is True, and the process should end.
        """
        try:
            folder = Path(tempfile.mkdtemp(dir=self._folder))
            self._used.append(folder)
        except OSError as error:
            return Failed(job.id, f"no folder for the job can be made in {self._folder}: {error.strerror}", "node")
        try:
            return Done(job.id, _Run(self, job, folder, emit, stop).result(self._early_notices))
        except Interrupted:
            return self._stopped(job, stop)
        except Exception as error:
            return self._failed(job, error)

    def clean(self) -> None:
        """Remove the folders of the jobs that have ended; nobody waits for that who waits for a result."""
        while self._used:
            shutil.rmtree(self._used.pop(), ignore_errors=True)

    def _stopped(self, job: Job, stop: Stop) -> Ending:
        if stop.reason == "timeout":
            return timed_out(job)
        return Cancelled(job.id) if stop.reason else Failed(job.id, "a node interrupted the job", "node")

    def _failed(self, job: Job, error: Exception) -> Failed:
        cause = error.__cause__ or error
        text = f"{cause}".casefold()
        if type(cause).__name__ in OUT_OF_MEMORY or any(sign in text for sign in SIGNS_OF_MEMORY):
            error.__traceback__ = cause.__traceback__ = None  # frames hold tensors
            self._host.free()
            return Failed(job.id, f"{error}; choose a smaller image or fewer images", "memory")
        if isinstance(error, UserError):
            return Failed(job.id, str(error), "user")
        self.is_broken = any(sign in text for sign in SIGNS_OF_A_BROKEN_DEVICE)
        known = isinstance(error, NodeError | OSError)
        return Failed(job.id, str(error) if known else f"{type(error).__name__}: {error}", "node")


def timed_out(job: Job) -> Failed:
    """Return the end of a job that took longer than it may."""
    return Failed(job.id, f"the job was stopped after its limit of {job.seconds:g} s", "timeout")


class _Run:
    """The run of one job."""

    def __init__(self, runner: JobRunner, job: Job, folder: Path, emit: Callable[[Event], None], stop: Stop) -> None:
        self._classes, self._host = runner.classes, runner._host
        self._job, self._folder, self._emit, self._stop = job, folder, emit, stop
        self._node = ""
        self._notices: list[str] = []
        self._began: dict[str, float] = {}
        self._seconds: dict[str, float] = {}

    def result(self, early_notices: list[str]) -> JobResult:
        start = time.perf_counter()
        for name in ("input", "loras", "output", "temp"):
            (self._folder / name).mkdir()
        for name, path in self._job.files.items():
            place(path, self._folder / ("loras" if is_model(name) else "input"), name)
        self._host.begin(
            self._folder, self._stop, self._notice, self._progress, self._preview if self._job.previews else None
        )
        for notice in early_notices:
            self._notice(notice)
        wanted = self._wanted()
        with use_host(self._host):
            self._host.check_interrupted()
            results = Runner(self._classes, self._event).run(self._job.graph, outputs=wanted)
        files = tuple(self._files(results))
        outputs = {
            node: {name: _plain_values(results.outputs[node][slot]) for name, slot in slots.items()}
            for node, slots in wanted.items()
            if node in results.outputs
        }
        self._seconds["total"] = time.perf_counter() - start
        return JobResult(files, results.ui, outputs, self._seconds, tuple(self._notices))

    def _wanted(self) -> dict[str, dict[str, int]]:
        """Return the slots of the wanted outputs by node and name."""
        wanted: dict[str, dict[str, int]] = {}
        for node_id, node in self._job.graph.items():
            cls = self._classes.get(str(node.get("class_type"))) if isinstance(node, Mapping) else None
            names = getattr(cls, "RETURN_NAMES", None) or ()
            slots = {name: slot for slot, name in enumerate(names) if name in self._job.outputs}
            if slots:
                wanted[node_id] = slots
        return wanted

    def _event(self, event: NodeEvent) -> None:
        self._host.check_interrupted()
        if event.kind == "start":
            self._node = event.shown_at
            self._began[event.node_id] = time.perf_counter()
            self._log("info", f"node {event.shown_at} ({event.class_type})")
        elif event.kind == "done" and event.node_id in self._began:
            seconds = time.perf_counter() - self._began.pop(event.node_id)
            self._seconds[event.shown_at] = self._seconds.get(event.shown_at, 0.0) + seconds
        elif event.kind == "blocked":
            self._notice(f"node {event.shown_at} ({event.class_type}) is blocked: {event.detail}")

    def _notice(self, text: str) -> None:
        if text not in self._notices:
            self._notices.append(text)
            self._log("warning", text)

    def _log(self, level: Any, text: str) -> None:
        self._emit(Log(self._job.id, level, text, time.time()))

    def _progress(self, value: int, total: int) -> None:
        self._emit(Progress(self._job.id, value, total, self._node))

    def _preview(self, image: bytes) -> None:
        self._emit(PreviewEvent(self._job.id, image))

    def _files(self, results: Results) -> list[ResultFile]:
        found: dict[Path, ResultFile] = {}
        for node, ui in results.ui.items():
            for value in (value for values in ui.values() for value in values):
                if isinstance(value, dict) and {"filename", "subfolder", "type"} <= value.keys():
                    path = self._host.folder(value["type"]) / value["subfolder"] / value["filename"]
                    found.setdefault(path, result_file(path, node, value["type"] == "temp"))
        return list(found.values())


def is_model(name: str) -> bool:
    """Return whether a file of a job is a model file, by its name."""
    return PurePosixPath(name).suffix.lower() in MODEL_SUFFIXES


def place(path: Path, folder: Path, name: str) -> None:
    """Put a file under a name below a folder, by a link where the system allows one.

    Raises BadValue for a name that leads out of the folder, and MissingFile.
    """
    target = folder / name
    if target.resolve().parent != folder.resolve() and folder.resolve() not in target.resolve().parents:
        raise BadValue(f"the file name {name!r} leads out of its folder; choose a plain name")
    if not path.is_file():
        raise MissingFile(f"file {path} for {name!r} does not exist; submit the job again with its file")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.symlink_to(path.resolve())
    except (OSError, NotImplementedError):
        shutil.copyfile(path, target)


def result_file(path: Path, node: str, temporary: bool = False) -> ResultFile:
    """Read a saved file, with its size in pixels if it is an image."""
    from PIL import Image, UnidentifiedImageError

    data = path.read_bytes()
    media_type = MEDIA_TYPES.get(path.suffix.lower(), "application/octet-stream")
    try:
        with Image.open(io.BytesIO(data)) as picture:
            width, height = picture.size
            media_type = Image.MIME.get(picture.format or "", media_type)
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        width = height = 0
    return ResultFile(path.name, media_type, data, width, height, node, temporary)


def _plain_values(values: Any) -> list[Any]:
    """Return the numbers, texts and truth values among output values, with lists taken apart."""
    flat = [one for value in values for one in (value if isinstance(value, list | tuple) else [value])]
    return [value for value in flat if isinstance(value, bool | int | float | str)]
